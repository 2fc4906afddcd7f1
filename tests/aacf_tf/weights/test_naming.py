"""Weights of networks other than I3D, in the names of the files that exist."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones import build_backbone
from aacf_tf.weights import load_weights
from aacf_tf.weights.naming import NAMINGS
from tfrecords.utils.errors import UsageError


@pytest.mark.parametrize(
    ("backbone", "families"),
    [
        ("resnet3d34", 1),
        pytest.param("densenet161", 4, marks=pytest.mark.slow),
        ("efficientnet_lite2", 1),
    ],
)
def test_namings_lead_to_every_layer_of_the_network(backbone, families):
    names = {v.name.partition(":")[0] for v in build_backbone(backbone, include_top=True).weights}
    layers = {name.rpartition("/")[0] for name in names}
    norms = {layer for layer in layers if f"{layer}/moving_mean" in names}
    # Networks share names such as fc and bn1.
    namings = [naming for naming in NAMINGS if len(set(naming.layers.values()) & layers) > 2]
    assert len(namings) == families
    for naming in namings:
        assert set(naming.layers.values()) == layers, naming.title
        assert set(naming.scales.values()) in (set(), norms), naming.title


def test_names_of_densenet():
    """Literal names, as the repositories have them."""
    names = {theirs: ours for naming in NAMINGS for theirs, ours in naming.layers.items()}
    dense = "features.denseblock4.denselayer24"
    assert names[f"{dense}.norm.2"] == names["conv5_24_x2_bn"] == f"{dense}.norm2"
    assert names["conv5_block24_1_bn"] == f"{dense}.norm2"
    assert names["conv5_block24_0_bn"] == f"{dense}.norm1"
    assert names["pool4_bn"] == names["conv4_blk_bn"] == "features.transition3.norm"
    assert names["bn"] == names["conv5_blk_bn"] == "features.norm5"


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_resnet3d34(weight_tools, torch_files, tmp_path, rng, shortcut):
    model = build_backbone("resnet3d34", end_point="layer2", shortcut=shortcut)
    values = weight_tools.random_values(rng, model)
    state = weight_tools.torch_state(values)
    assert ("layer2.0.downsample.1.running_var" in state) == (shortcut == "B")
    state["layer4.2.conv2.weight"] = np.zeros((5, 5, 3, 3, 3), "f4")
    state["fc.weight"], state["fc.bias"] = np.zeros((7, 5), "f4"), np.zeros(7, "f4")
    content = {"arch": "resnet-34", "state_dict": {f"module.{n}": v for n, v in state.items()}}
    path = torch_files.save(tmp_path / "resnet-34-kinetics.pth", content, "legacy")
    loaded = load_weights(model, path)
    weight_tools.assert_has(model, values)
    assert loaded.ignored == {
        "layer4.2.conv2.weight": "beyond the model's last layer",
        "fc.weight": "the top",
        "fc.bias": "the top",
    }
    other = "B" if shortcut == "A" else "A"
    another = build_backbone("resnet3d34", end_point="layer2", shortcut=other)
    option = {"A": "shortcut='A', scaling='activitynet'", "B": "shortcut='B'"}[shortcut]
    message = rf"arch 'resnet-34'.*layer2\.0\.downsample.*shortcut type {shortcut}.*{option}\."
    with pytest.raises(UsageError, match=message):
        load_weights(another, path)


def test_resnet3d34_with_its_top(weight_tools, torch_files, tmp_path, rng):
    """A dense layer is transposed."""
    model = keras.Sequential([keras.Input((512,)), keras.layers.Dense(5, name="fc")])
    values = weight_tools.random_values(rng, model)
    load_weights(model, torch_files.save(tmp_path / "fc.pth", weight_tools.torch_state(values)))
    weight_tools.assert_has(model, values)


@pytest.fixture(scope="module")
def part_densenet():
    return build_backbone("densenet161", end_point="features.transition1")


@pytest.mark.parametrize("dot", ["", "."])
def test_densenet161_from_torchvision(weight_tools, torch_files, tmp_path, rng, part_densenet, dot):
    values = weight_tools.random_values(rng, part_densenet)
    state = {
        re.sub(r"(denselayer\d\.\w{4})(\d)", rf"\1{dot}\2", name): value
        for name, value in weight_tools.torch_state(values).items()
    }
    assert f"features.denseblock1.denselayer6.conv{dot}2.weight" in state
    state["classifier.bias"] = np.zeros(1000, "f4")
    loaded = load_weights(part_densenet, torch_files.save(tmp_path / "d.pth", state, "legacy"))
    weight_tools.assert_has(part_densenet, values)
    assert loaded.ignored == {"classifier.bias": "the top"}


def densenet_h5(values, layer_name):
    layers = {}
    for name, value in values.items():
        layer, _, end = name.rpartition("/")
        layers.setdefault(layer_name(layer), {})[f"{layer_name(layer)}/{end}:0"] = value
    return layers


@pytest.mark.parametrize("slash", ["/", "_"])
def test_densenet161_from_keras_applications(weight_tools, tmp_path, rng, part_densenet, slash):
    parts = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}

    def layer_name(ours):
        stem = re.fullmatch(r"features\.(conv|norm)0", ours)
        if stem:
            return f"conv1{slash}{ {'conv': 'conv', 'norm': 'bn'}[stem[1]] }"
        dense = re.fullmatch(r"features\.denseblock(\d)\.denselayer(\d+)\.(\w+)", ours)
        if dense:
            return f"conv{int(dense[1]) + 1}_block{dense[2]}_{parts[dense[3]]}"
        return "pool2_bn" if ours.endswith("norm") else "pool2_conv"

    values = weight_tools.random_values(rng, part_densenet)
    path = weight_tools.write_h5(tmp_path / "weights.h5", densenet_h5(values, layer_name))
    loaded = load_weights(part_densenet, path)
    assert "keras.applications" in loaded.format
    for name in values:  # epsilon is 1.001e-5 there, 1e-5 here
        if name.endswith("variance"):
            values[name] = values[name] + 1e-8
    weight_tools.assert_has(part_densenet, values, rtol=1e-6)


def test_densenet161_with_scale_layers(weight_tools, tmp_path, rng):
    """Epsilon 1.1e-5, a layer that scales behind the batch norm, BGR pixels scaled by 0.017."""
    model = build_backbone("densenet161", end_point="features.pool0")
    kernel = (rng.standard_normal((7, 7, 3, 96)) * 0.1).astype("float32")
    gamma, beta, mean, scale, shift = rng.standard_normal((5, 96), "float32")
    variance = rng.uniform(1e-5, 2e-5, 96).astype("float32")  # so small that epsilon counts
    layers = {
        "conv1": {"conv1_W:0": kernel},
        "conv1_bn": {
            "conv1_bn_gamma:0": gamma,
            "conv1_bn_beta:0": beta,
            "conv1_bn_running_mean:0": mean,
            "conv1_bn_running_std:0": variance,
        },
        "conv1_scale": {"conv1_scale_gamma:0": scale, "conv1_scale_beta:0": shift},
        "fc6": {"fc6_W:0": np.zeros((2208, 1000), "f4"), "fc6_b:0": np.zeros(1000, "f4")},
    }
    loaded = load_weights(
        model, weight_tools.write_h5(tmp_path / "densenet161_weights_tf.h5", layers)
    )
    assert loaded.loaded == 5 and set(loaded.ignored) == {"fc6_W:0", "fc6_b:0"}
    pixels = rng.integers(0, 256, (1, 1, 33, 33, 3), np.uint8)
    x = (pixels[0, ..., ::-1].astype("float32") - (103.94, 116.78, 123.68)) * 0.017
    x = tf.nn.conv2d(x.astype("float32"), kernel, 2, [[0, 0], [3, 3], [3, 3], [0, 0]])
    x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1.1e-5) * scale + shift
    x = tf.nn.max_pool2d(tf.nn.relu(x), 3, 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
    expected, received = x[0].numpy(), model(pixels)[0, 0].numpy()
    inner = slice(2, -2)  # at the edge, zeros of the padding are another colour
    limit = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(received[inner, inner], expected[inner, inner], atol=limit)
    # Without the scale, or with one of another size, the same network would compute otherwise.
    kept = model.get_weights()
    scale_layer = layers.pop("conv1_scale")
    path = weight_tools.write_h5(tmp_path / "without.h5", layers)
    with pytest.raises(UsageError, match=r"the file lacks \(1\): conv1_scale\."):
        load_weights(model, path)
    layers["conv1_scale"] = {**scale_layer, "conv1_scale_gamma:0": np.ones(95, "f4")}
    path = weight_tools.write_h5(tmp_path / "other.h5", layers)
    with pytest.raises(UsageError, match=r"shapes \(1\): conv1_scale_gamma \[95\] for conv1_bn"):
        load_weights(model, path)
    assert all((a == b).all() for a, b in zip(model.get_weights(), kept))
