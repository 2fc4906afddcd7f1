"""I3D: names and shapes of the official checkpoint, shapes of the paper, values of plain TF ops."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.i3d import END_POINTS, I3DLogits, i3d


def official_names(model):
    """Variables by their names in the official checkpoints, without the model's prefix."""
    ends = {"kernel": "w", "bias": "b"}
    names = {}
    for variable in model.weights:
        scope, name = variable.name.split(":")[0].rsplit("/", 1)
        names[f"{scope}/{ends.get(name, name)}"] = variable
    return names


def randomize(model, rng):
    """Random weights that keep activations near 1, so that no layer's error can hide."""
    for name, variable in official_names(model).items():
        if name.endswith("/w"):
            scale = np.sqrt(2 / np.prod(variable.shape[:-1]))
            variable.assign(rng.normal(0, scale, variable.shape))
        elif name.endswith("moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        else:
            variable.assign(rng.normal(0, 0.2, variable.shape))


@pytest.fixture
def mixed_bfloat16():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize(("stream", "channels"), [("RGB", 3), ("Flow", 2)])
def test_variables_are_those_of_the_official_checkpoint(shared_data, stream, channels):
    file = shared_data / f"i3d/i3d_{stream.lower()}_imagenet_variables.json"
    listing = json.loads(file.read_text())
    prefix = f"{stream}/inception_i3d/"
    official = {
        name.replace(prefix, "", 1): tuple(v["shape"]) for name, v in listing["variables"].items()
    }
    model = i3d(include_top=True, channels=channels)
    ours = {name: tuple(v.shape) for name, v in official_names(model).items()}
    assert ours == official
    assert model.count_params() == listing["total_elements"]


def test_shapes_of_the_paper():
    shapes = {
        name: tuple(x.shape[1:])
        for name, x in i3d(input_shape=(128, 256, 352, 3), all_end_points=True).output.items()
    }
    assert list(shapes) == list(END_POINTS[:-2])
    assert shapes["Conv3d_1a_7x7"] == (64, 128, 176, 64)
    assert shapes["MaxPool3d_3a_3x3"] == (64, 32, 44, 192)
    assert shapes["Mixed_3c"] == (64, 32, 44, 480)
    assert shapes["Mixed_4f"] == (32, 16, 22, 832)
    assert shapes["Mixed_5c"] == (16, 8, 11, 1024)
    assert i3d().compute_output_shape((2, 128, 256, 352, 3)) == (2, 16, 8, 11, 1024)


def plain_i3d(weights, pixels):
    """The network written down once more with tf.nn alone: end points by name."""

    def unit(x, scope, stride=1):
        x = tf.nn.conv3d(x, weights[f"{scope}/conv_3d/w"], [1, *[stride] * 3, 1], "SAME")
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
    return ends


def test_every_end_point_equals_a_plain_implementation_at_odd_sizes(rng):
    model = i3d(all_end_points=True)
    randomize(model, rng)
    pixels = rng.integers(0, 256, size=(2, 17, 65, 97, 3), dtype=np.uint8)
    expected = plain_i3d(official_names(model), pixels)
    outputs = model(pixels)
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        error = np.abs(outputs[name] - value).max() / np.abs(value).max()
        assert error < 1e-4, name
    assert outputs["Mixed_5c"].shape == (2, 3, 3, 4, 1024)


def test_early_exit_is_the_beginning_of_the_whole_network():
    part, whole = i3d("Mixed_4c"), i3d()
    assert part.output_shape == (None, None, None, None, 512)
    assert [w.name for w in part.weights] == [w.name for w in whole.weights][: len(part.weights)]


def test_any_size_and_uint8_like_float(rng):
    model = i3d()
    for shape, expected in (
        ((1, 1, 20, 33, 3), (1, 1, 1, 2, 1024)),
        ((1, 9, 40, 32, 3), (1, 2, 2, 1, 1024)),
    ):
        pixels = rng.integers(0, 256, size=shape, dtype=np.uint8)
        features = model(pixels)
        assert features.shape == expected
        np.testing.assert_allclose(model(pixels.astype("float32")), features, rtol=1e-6)


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


def test_mixed_bfloat16_features_and_float32_logits(mixed_bfloat16, rng):
    model = i3d("Predictions", classes=7, all_end_points=True)
    outputs = model(rng.integers(0, 256, size=(1, 9, 32, 32, 3), dtype=np.uint8))
    assert outputs["Mixed_5c"].dtype == tf.bfloat16
    assert outputs["Logits"].dtype == outputs["Predictions"].dtype == tf.float32
    assert outputs["Logits"].shape == (1, 7)
    np.testing.assert_allclose(outputs["Predictions"], tf.nn.softmax(outputs["Logits"]), rtol=1e-5)


def test_training_step_under_mixed_bfloat16_reaches_every_variable(mixed_bfloat16, rng):
    model = i3d(include_top=True, classes=4)
    before = [w.numpy() for w in model.weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    clips = rng.integers(0, 256, size=(2, 16, 48, 48, 3), dtype=np.uint8)
    history = model.fit(clips, np.array([1, 3]), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    same = [w.name for w, old in zip(model.weights, before) if (w.numpy() == old).all()]
    assert same == []


def test_frozen_backbone_runs_in_inference_mode(rng):
    model = i3d("Mixed_3b")
    randomize(model, rng)
    model.trainable = False
    before = [w.numpy() for w in model.weights]
    pixels = rng.integers(0, 256, size=(2, 4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model(pixels, training=True), model(pixels, training=False))
    assert all((w.numpy() == old).all() for w, old in zip(model.weights, before))


def test_saved_model_loads_without_custom_objects(rng, tmp_path):
    model = i3d("Mixed_3c")
    randomize(model, rng)
    model.save(tmp_path / "i3d.keras")
    loaded = keras.models.load_model(tmp_path / "i3d.keras")
    pixels = rng.integers(0, 256, size=(1, 4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(loaded(pixels), model(pixels))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"end_point": "Mixed_6a"}, "Expected end_point to be one of .*'Mixed_6a'"),
        ({"end_point": "Mixed_4f", "include_top": True}, "include_top .*'Mixed_4f'"),
        ({"input_shape": (16, 64, 64, 2)}, r"Expected input_shape .*3\). Received \(16, 64, 64, 2"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        i3d(**arguments)
