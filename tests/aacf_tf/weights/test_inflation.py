"""I3D from 2-D Inception-v1: kernels repeated in time, activations of a still image kept."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.backbones.networks.i3d import i3d
from aacf_tf.weights import load_weights


def plain_inception(values, images):
    """2-D Inception-v1 by tf.nn alone: images in [-1, 1] to the Mixed_5c map."""

    def unit(x, scope, stride=1):
        x = tf.nn.conv2d(x, values[f"{scope}/weights"], stride, "SAME")
        norm = (
            values[f"{scope}/BatchNorm/{end}"] for end in ("moving_mean", "moving_variance", "beta")
        )
        return tf.nn.relu(tf.nn.batch_normalization(x, *norm, None, 1e-3))

    def mixed(x, scope):
        second = "0a" if scope.endswith("5b") else "0b"
        branches = [
            unit(x, f"{scope}/Branch_0/Conv2d_0a_1x1"),
            unit(unit(x, f"{scope}/Branch_1/Conv2d_0a_1x1"), f"{scope}/Branch_1/Conv2d_0b_3x3"),
            unit(
                unit(x, f"{scope}/Branch_2/Conv2d_0a_1x1"),
                f"{scope}/Branch_2/Conv2d_{second}_3x3",
            ),
            unit(tf.nn.max_pool2d(x, 3, 1, "SAME"), f"{scope}/Branch_3/Conv2d_0b_1x1"),
        ]
        return tf.concat(branches, -1)

    x = unit(images, "InceptionV1/Conv2d_1a_7x7", 2)
    x = unit(tf.nn.max_pool2d(x, 3, 2, "SAME"), "InceptionV1/Conv2d_2b_1x1")
    x = tf.nn.max_pool2d(unit(x, "InceptionV1/Conv2d_2c_3x3"), 3, 2, "SAME")
    for modules, size in (("3b 3c", 3), ("4b 4c 4d 4e 4f", 2), ("5b 5c", None)):
        for module in modules.split():
            x = mixed(x, f"InceptionV1/Mixed_{module}")
        x = tf.nn.max_pool2d(x, size, 2, "SAME") if size else x
    return x


@pytest.fixture(scope="module")
def slim_values(weight_tools):
    """Names and shapes of TF-slim's 2-D network, 1001 classes."""
    rng, values = np.random.default_rng(1), {}
    for name, value in weight_tools.random_values(rng, i3d()).items():
        scope, part, end = name.rsplit("/", 2)
        scope = "InceptionV1/" + scope.replace("Conv3d", "Conv2d")
        if end == "kernel":
            value = value[0] * np.sqrt(value.shape[0])
        if part == "batch_norm":
            end = f"BatchNorm/{end}"
        values[f"{scope}/{ {'kernel': 'weights', 'bias': 'biases'}.get(end, end) }"] = value
    top = "InceptionV1/Logits/Conv2d_0c_1x1"
    values[f"{top}/weights"] = rng.standard_normal((1, 1, 1024, 1001), "float32")
    values[f"{top}/biases"] = rng.standard_normal(1001, "float32")
    return {**values, "global_step": np.array(5, "int64")}


def test_inflation_keeps_the_activations_of_a_still_image(tmp_path, rng, slim_values):
    """The whole network agrees in the one cell of 13 in time that sees no zero padding.

    A cell of Mixed_5c sees 99 frames; the cell 6 of 104 frames sees the frames 4 to 102.
    """
    model = i3d()
    path = tmp_path / "inception_v1.ckpt"  # one file: the first version of the format
    names = list(slim_values)
    data = [tf.constant(slim_values[name]) for name in names]
    tf.raw_ops.Save(filename=str(path), tensor_names=names, data=data)
    assert path.is_file()
    loaded = load_weights(model, path)
    assert "inflated" in loaded.format
    assert set(loaded.ignored.values()) == {"the top", "counts steps"}
    image = rng.integers(0, 256, (1, 1, 33, 33, 3), np.uint8)
    features = model(np.repeat(image, 104, axis=1))
    expected = plain_inception(slim_values, tf.cast(image[0], tf.float32) / 127.5 - 1)
    assert features.shape == (1, 13, 2, 2, 1024)
    scale = np.abs(expected).max()
    assert np.abs(features[0, 6] - expected[0]).max() < 1e-4 * scale
    assert np.abs(features[0, 0] - expected[0]).max() > 1e-2 * scale  # where the padding is seen


@pytest.mark.slow
def test_inflation_for_flow_and_with_a_top(weight_tools, tmp_path, slim_values):
    path = weight_tools.write_checkpoint(tmp_path / "inception", slim_values)
    model = i3d("Conv3d_2c_3x3", channels=2)
    load_weights(model, path)
    values, first = weight_tools.by_name(model), slim_values["InceptionV1/Conv2d_1a_7x7/weights"]
    for t in (0, 6):
        for channel in (0, 1):
            kernel = values["Conv3d_1a_7x7/conv_3d/kernel"][t, :, :, channel]
            np.testing.assert_allclose(kernel, first.mean(2) / 7, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        values["Conv3d_2c_3x3/conv_3d/kernel"][1],
        slim_values["InceptionV1/Conv2d_2c_3x3/weights"] / 3,
        rtol=1e-6,
    )
    top = i3d(include_top=True, classes=1001)
    load_weights(top, path)
    np.testing.assert_array_equal(
        weight_tools.by_name(top)["Logits/Conv3d_0c_1x1/conv_3d/kernel"][0],
        slim_values["InceptionV1/Logits/Conv2d_0c_1x1/weights"],
    )
    other = i3d(include_top=True, classes=7)
    own = weight_tools.by_name(other)["Logits/Conv3d_0c_1x1/conv_3d/kernel"]
    loaded = load_weights(other, path)
    reason = "the top, of other classes than the model's"
    kept = {f"Logits/Conv3d_0c_1x1/conv_3d/{end}": reason for end in ("kernel", "bias")}
    assert reason in loaded.ignored.values() and loaded.kept == kept
    np.testing.assert_array_equal(
        weight_tools.by_name(other)["Logits/Conv3d_0c_1x1/conv_3d/kernel"], own
    )
    without = {name: v for name, v in slim_values.items() if "/Logits/" not in name}
    loaded = load_weights(other, weight_tools.write_checkpoint(tmp_path / "without", without))
    assert set(loaded.kept) == set(kept)
    assert str(loaded).endswith("2 kept as they were: the top, which the file does not have")


def test_inflation_of_googlenet(weight_tools, torch_files, tmp_path, rng):
    """Scales of 2 go into kernels and means."""
    branches = {"0a": "branch1", "1a": "branch2.0", "1b": "branch2.1"}
    branches.update({"2a": "branch3.0", "2b": "branch3.1", "3b": "branch4.1"})
    stems = {"Conv3d_1a_7x7": "conv1", "Conv3d_2b_1x1": "conv2", "Conv3d_2c_3x3": "conv3"}

    def module(layer):
        scope, part = layer.rsplit("/", 1)
        branch = re.fullmatch(r"Mixed_3b/Branch_(\d)/Conv3d_0([ab])_.*", scope)
        theirs = f"inception3a.{branches[branch[1] + branch[2]]}" if branch else stems[scope]
        return f"{theirs}.{ {'conv_3d': 'conv', 'batch_norm': 'bn'}[part] }"

    model = i3d("Mixed_3b")
    given = weight_tools.random_values(rng, model)
    given = {name: v[0] if name.endswith("kernel") else v for name, v in given.items()}
    state = weight_tools.torch_state(given, module)
    for name in [name for name in state if name.endswith("running_mean")]:
        state[name.replace("running_mean", "weight")] = np.full(state[name].shape, 2, "f4")
    for name in ("aux1.conv.bn.weight", "aux2.fc2.bias", "fc.bias", "inception5b.branch1.bn.bias"):
        state[name] = np.zeros(8, "f4")
    loaded = load_weights(model, torch_files.save(tmp_path / "googlenet.pth", state))
    expected = dict(given)
    for name, old in weight_tools.by_name(model).items():
        if name.endswith("kernel"):
            expected[name] = np.stack([given[name] * 2 / len(old)] * len(old))
        elif name.endswith("moving_mean"):
            expected[name] = given[name] * 2
    weight_tools.assert_has(model, expected, rtol=1e-6)
    assert loaded.ignored["aux2.fc2.bias"] == "an auxiliary classifier"
    assert len(loaded.ignored) == 4
