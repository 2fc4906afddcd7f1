"""I3D: names and shapes of the official checkpoint, shapes of the paper, values of plain TF ops."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.networks.common import chosen_end_point
from aacf_tf.backbones.networks.i3d import END_POINTS, I3DLogits, i3d


@pytest.fixture(scope="module")
def whole(weight_tools):
    """The whole network with random weights, built once; no test changes it."""
    model = i3d("Predictions", include_top=True, all_end_points=True)
    return weight_tools.randomize(model, np.random.default_rng(0))


@pytest.fixture(scope="module")
def flow():
    """The flow network, in mixed precision."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        return i3d("Predictions", channels=2, all_end_points=True)
    finally:
        keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize(
    ("stream", "network", "count"),
    [
        ("RGB", "whole", 12_704_544),
        pytest.param("Flow", "flow", 12_682_592, marks=pytest.mark.slow),
    ],
)
def test_variables_are_those_of_the_official_checkpoint(
    weight_tools, shared_data, request, stream, network, count
):
    file = shared_data / f"i3d/i3d_{stream.lower()}_imagenet_variables.json"
    listing = json.loads(file.read_text())["variables"]
    official = {name: tuple(v["shape"]) for name, v in listing.items()}
    model = request.getfixturevalue(network)
    assert official == {
        f"{stream}/inception_i3d/{weight_tools.official_name(name)}": value.shape
        for name, value in weight_tools.by_name(model).items()
    }
    assert model.count_params() == count


def test_the_ends_by_default():
    ends = [chosen_end_point(None, END_POINTS, top, top=2) for top in (False, True)]
    assert ends == ["Mixed_5c", "Logits"]
    assert chosen_end_point("Predictions", END_POINTS, True, top=2) == "Predictions"


def test_parameters_as_the_document_has_them(whole):
    assert sum(np.prod(v.shape) for v in whole.trainable_weights) == 12_689_984


def test_shapes_of_the_paper(whole):
    shapes = whole.compute_output_shape((2, 128, 256, 352, 3))
    assert list(shapes) == list(END_POINTS)
    assert shapes["Conv3d_1a_7x7"] == (2, 64, 128, 176, 64)
    assert shapes["MaxPool3d_3a_3x3"] == (2, 64, 32, 44, 192)
    assert shapes["Mixed_3c"] == (2, 64, 32, 44, 480)
    assert shapes["Mixed_4f"] == (2, 32, 16, 22, 832)
    assert shapes["Mixed_5c"] == (2, 16, 8, 11, 1024)


def plain_i3d(weights, pixels):
    """The network written down once more with tf.nn alone: end points by name.

    The top takes maps of at least two time steps.
    """

    def unit(x, scope, stride=1):
        x = tf.nn.conv3d(x, weights[f"{scope}/conv_3d/kernel"], [1, *[stride] * 3, 1], "SAME")
        mean, variance, beta = (
            weights[f"{scope}/batch_norm/{name}"]
            for name in ("moving_mean", "moving_variance", "beta")
        )
        return tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, beta, None, 1e-3))

    def pool(x, size, stride):
        return tf.nn.max_pool3d(x, size, stride, "SAME")

    def mixed(x, scope):
        second = "0a" if scope == "Mixed_5b" else "0b"
        branch_1 = unit(x, f"{scope}/Branch_1/Conv3d_0a_1x1")
        branch_2 = unit(x, f"{scope}/Branch_2/Conv3d_0a_1x1")
        return tf.concat(
            [
                unit(x, f"{scope}/Branch_0/Conv3d_0a_1x1"),
                unit(branch_1, f"{scope}/Branch_1/Conv3d_0b_3x3"),
                unit(branch_2, f"{scope}/Branch_2/Conv3d_{second}_3x3"),
                unit(pool(x, 3, 1), f"{scope}/Branch_3/Conv3d_0b_1x1"),
            ],
            -1,
        )

    x = tf.cast(pixels, tf.float32) / 127.5 - 1
    ends = {}
    ends["Conv3d_1a_7x7"] = x = unit(x, "Conv3d_1a_7x7", 2)
    ends["MaxPool3d_2a_3x3"] = x = pool(x, [1, 3, 3], [1, 2, 2])
    ends["Conv3d_2b_1x1"] = x = unit(x, "Conv3d_2b_1x1")
    ends["Conv3d_2c_3x3"] = x = unit(x, "Conv3d_2c_3x3")
    ends["MaxPool3d_3a_3x3"] = x = pool(x, [1, 3, 3], [1, 2, 2])
    ends["Mixed_3b"] = x = mixed(x, "Mixed_3b")
    ends["Mixed_3c"] = x = mixed(x, "Mixed_3c")
    ends["MaxPool3d_4a_3x3"] = x = pool(x, 3, 2)
    for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"):
        ends[name] = x = mixed(x, name)
    ends["MaxPool3d_5a_2x2"] = x = pool(x, 2, 2)
    ends["Mixed_5b"] = x = mixed(x, "Mixed_5b")
    ends["Mixed_5c"] = x = mixed(x, "Mixed_5c")
    x = tf.nn.avg_pool3d(x, [2, *x.shape[2:4]], 1, "VALID")
    top = "Logits/Conv3d_0c_1x1/conv_3d"
    x = tf.nn.conv3d(x, weights[f"{top}/kernel"], [1] * 5, "SAME") + weights[f"{top}/bias"]
    ends["Logits"] = x = tf.reduce_mean(x, [1, 2, 3])
    ends["Predictions"] = tf.exp(x) / tf.reduce_sum(tf.exp(x), -1, keepdims=True)
    return ends


@pytest.mark.parametrize(
    ("size", "last"),
    [((17, 33, 65), (3, 2, 3)), ((16, 64, 48), (2, 2, 2))],
    ids=["odd", "even"],  # of which even ones are padded more behind than in front
)
def test_every_end_point_equals_a_plain_implementation(weight_tools, rng, whole, size, last):
    pixels = rng.integers(0, 256, size=(2, *size, 3), dtype=np.uint8)
    expected = plain_i3d(weight_tools.by_name(whole), pixels)
    outputs = whole(pixels)
    assert list(outputs) == list(expected) == list(END_POINTS)
    for name, value in expected.items():
        assert outputs[name].shape == value.shape, name
        error = np.abs(outputs[name] - value).max() / np.abs(value).max()
        assert error < 1e-4, name
    assert outputs["Mixed_5c"].shape == (2, *last, 1024)


def test_scaling_maps_pixels_to_minus_one_and_one():
    scale = i3d("Conv3d_1a_7x7").get_layer("scale")
    np.testing.assert_allclose(scale(np.array([0, 127.5, 255])), [-1, 0, 1], atol=1e-6)


@pytest.mark.parametrize(("steps", "size"), [(8, (7, 7)), (1, (4, 3)), (2, (8, 11))])
def test_logits_by_hand(rng, steps, size):
    features = rng.normal(size=(2, steps, *size, 6)).astype("float32")
    top = I3DLogits(5, dropout=0.5)
    logits = top(features)
    pooled = features.mean((2, 3))
    if steps > 1:
        pooled = np.stack([pooled[:, i : i + 2].mean(1) for i in range(steps - 1)], 1)
    kernel = top.unit.conv_3d.kernel.numpy()[0, 0, 0]
    np.testing.assert_allclose(logits, (pooled @ kernel).mean(1), rtol=1e-4, atol=1e-5)
    assert not np.allclose(top(features, training=True), logits)  # dropout acts


def test_logits_equal_the_official_pooling_at_its_own_size(rng):
    features = rng.normal(size=(1, 8, 7, 7, 6)).astype("float32")
    top = I3DLogits(5)
    logits = top(features)
    pooled = tf.nn.avg_pool3d(features, [2, 7, 7], 1, "VALID")
    expected = tf.reduce_mean(tf.nn.conv3d(pooled, top.unit.conv_3d.kernel, [1] * 5, "SAME"), 1)
    np.testing.assert_allclose(logits, expected[:, 0, 0], rtol=1e-4, atol=1e-5)


def test_the_top_is_a_layer_as_every_other(check_layer, rng):
    features = rng.normal(size=(2, 3, 2, 4, 6)).astype("float32")
    check_layer(I3DLogits, {"classes": 3, "dropout": 0.0}, features, "float32")


def test_the_top_is_in_float32_whatever_the_policy(flow):
    assert flow.output["Mixed_5c"].dtype == tf.bfloat16
    assert flow.output["Logits"].dtype == flow.output["Predictions"].dtype == tf.float32
