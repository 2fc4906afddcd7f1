"""DenseNet-161: values of plain TF ops padded as PyTorch does, names and counts of torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.backbones.networks.densenet import END_POINTS, densenet161

BLOCKS = {1: 6, 2: 12, 3: 36, 4: 24}


def plain_densenet161(weights, images):
    """The network written down once more with tf.nn alone: end points of images `[N, H, W, 3]`.

    Weights are taken out of `weights` as they are used.
    """

    def pad(x, before, value=0.0):
        return tf.pad(x, [[0, 0], [before] * 2, [before] * 2, [0, 0]], constant_values=value)

    def conv(x, name, stride=1):
        kernel = weights.pop(f"{name}/kernel")
        return tf.nn.conv2d(pad(x, kernel.shape[0] // 2), kernel, stride, "VALID")

    def norm_relu(x, name):
        gamma, beta, mean, variance = (
            weights.pop(f"{name}/{part}")
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return tf.nn.relu((x - mean) / tf.sqrt(variance + 1e-5) * gamma + beta)

    x = (tf.cast(images, tf.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = norm_relu(conv(x, "features.conv0", 2), "features.norm0")
    ends = {}
    ends["features.pool0"] = x = tf.nn.max_pool2d(pad(x, 1, -np.inf), 3, 2, "VALID")
    for block, layers in BLOCKS.items():
        parts = [x]
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            new = conv(norm_relu(tf.concat(parts, -1), f"{name}.norm1"), f"{name}.conv1")
            parts.append(conv(norm_relu(new, f"{name}.norm2"), f"{name}.conv2"))
        ends[f"features.denseblock{block}"] = x = tf.concat(parts, -1)
        if block < 4:
            name = f"features.transition{block}"
            x = conv(norm_relu(x, f"{name}.norm"), f"{name}.conv")
            ends[name] = x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
    ends["features.norm5"] = x = norm_relu(x, "features.norm5")
    mean = tf.reduce_mean(x, [1, 2])
    ends["classifier"] = mean @ weights.pop("classifier/kernel") + weights.pop("classifier/bias")
    return ends


@pytest.fixture(scope="module")
def whole(weight_tools):
    """The whole network with random weights, built once; no test changes it."""
    model = densenet161(include_top=True, classes=1000, all_end_points=True)
    return weight_tools.randomize(model, np.random.default_rng(0))


@pytest.mark.parametrize("size", [(1, 2, 65, 97), (2, 1, 64, 79)], ids=["clip", "images"])
def test_every_end_point_equals_a_plain_implementation(weight_tools, rng, whole, size):
    batch, frames = size[:2]
    clips = rng.integers(0, 256, size=(*size, 3), dtype=np.uint8)
    weights = weight_tools.by_name(whole)
    expected = plain_densenet161(weights, clips.reshape([-1, *clips.shape[2:]]))
    assert weights == {}, "weights that the plain network has no use for"
    outputs = whole(clips)
    assert list(outputs) == list(expected) == list(END_POINTS)
    for name, value in expected.items():
        value = tf.reshape(value, [batch, frames, *value.shape[1:]])
        if name == "classifier":
            value = tf.reduce_mean(value, 1)  # a clip's logits are the mean of its images'
        assert outputs[name].shape == value.shape, name
        error = np.abs(outputs[name] - value).max() / np.abs(value).max()
        assert error < 1e-4, name
    assert outputs["features.norm5"].shape == (batch, frames, 2, 3 if size[3] == 97 else 2, 2208)


def test_parameters_are_those_of_torchvision(whole):
    assert sum(np.prod(v.shape) for v in whole.trainable_weights) == 28_681_000


def test_shapes_of_a_photograph(whole):
    shapes = whole.compute_output_shape((8, 1, 224, 224, 3))
    assert [shapes[name][-1] for name in END_POINTS] == [
        *(96, 384, 192, 768, 384, 2112, 1056, 2208, 2208, 1000)
    ]
    assert [shapes[name][2] for name in END_POINTS[:-1]] == [56, 56, 28, 28, 14, 14, 7, 7, 7]
    assert shapes["features.norm5"] == (8, 1, 7, 7, 2208) and shapes["classifier"] == (8, 1000)


def test_layers_with_weights_bear_the_names_of_the_pytorch_modules(whole):
    expected = {"features.conv0", "features.norm0", "features.norm5", "classifier"}
    for block, layers in BLOCKS.items():
        for layer in range(1, layers + 1):
            for part in ("norm1", "conv1", "norm2", "conv2"):
                expected.add(f"features.denseblock{block}.denselayer{layer}.{part}")
    for block in (1, 2, 3):
        expected |= {f"features.transition{block}.{part}" for part in ("norm", "conv")}
    assert {layer.name for layer in whole.layers if layer.weights} == expected
