"""DenseNet-161: values of plain TF ops padded as PyTorch does, names and counts of torchvision."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf import build_model, serving
from aacf_tf.backbones.densenet import END_POINTS, densenet161

BLOCKS = {1: 6, 2: 12, 3: 36, 4: 24}


def named(model):
    return {variable.name.split(":")[0]: variable for variable in model.weights}


def randomize(model, rng):
    """Random weights that keep activations near 1, so that no layer's error can hide."""
    for name, variable in named(model).items():
        values = rng.standard_normal(variable.shape, dtype=np.float32)
        if name.endswith("kernel"):
            values *= np.sqrt(2 / np.prod(variable.shape[:-1]))
        elif name.endswith(("variance", "gamma")):
            values = rng.uniform(0.5, 1.5, variable.shape)
        else:
            values *= 0.2
        variable.assign(values)


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
def whole():
    """The whole network with random weights, built once; no test changes it."""
    model = densenet161(include_top=True, classes=1000, all_end_points=True)
    randomize(model, np.random.default_rng(0))
    return model


@pytest.mark.parametrize("size", [(1, 2, 65, 97), (2, 1, 64, 79)], ids=["clip", "images"])
def test_every_end_point_equals_a_plain_implementation(rng, whole, size):
    batch, frames = size[:2]
    clips = rng.integers(0, 256, size=(*size, 3), dtype=np.uint8)
    weights = named(whole)
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


def test_any_size_and_uint8_like_float(rng):
    model = densenet161("features.transition1")
    for shape, expected in (((1, 3, 29, 40, 3), (1, 3, 4, 5, 192)), ((2, 1, 33, 32, 3), None)):
        pixels = rng.integers(0, 256, size=shape, dtype=np.uint8)
        features = model(pixels)
        assert features.shape == (expected or (2, 1, 4, 4, 192))
        assert model.compute_output_shape(shape) == features.shape
        np.testing.assert_allclose(model(pixels.astype("float32")), features, rtol=1e-6)


def test_frames_and_sizes_can_be_fixed():
    model = densenet161("features.transition1", input_shape=(5, 224, 96, 3))
    assert model.output_shape == (None, 5, 28, 12, 192)


def test_training_step_under_mixed_bfloat16_reaches_every_variable(rng):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        features = densenet161("features.transition1")
        assert features.output.dtype == tf.bfloat16
        logits = keras.layers.Dense(4, dtype="float32")(
            keras.layers.GlobalAveragePooling3D(dtype="float32")(features.output)
        )
        model = keras.Model(features.input, logits)
        before = [w.numpy() for w in model.weights]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss)
        clips = rng.integers(0, 256, size=(2, 2, 32, 40, 3), dtype=np.uint8)
        history = model.fit(clips, np.array([1, 3]), batch_size=2, verbose=0)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert np.isfinite(history.history["loss"]).all()
    assert [w.name for w, old in zip(model.weights, before) if (w.numpy() == old).all()] == []


def test_frozen_it_runs_in_inference_mode(rng):
    model = densenet161("features.transition1")
    randomize(model, rng)
    model.trainable = False
    before = [w.numpy() for w in model.weights]
    pixels = rng.integers(0, 256, size=(2, 2, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model(pixels, training=True), model(pixels, training=False))
    assert all((w.numpy() == old).all() for w, old in zip(model.weights, before))


def test_saved_model_loads_without_custom_objects(rng, tmp_path):
    model = densenet161("features.transition1")
    randomize(model, rng)
    model.save(tmp_path / "densenet.keras")
    loaded = keras.models.load_model(tmp_path / "densenet.keras")
    pixels = rng.integers(0, 256, size=(1, 2, 32, 45, 3), dtype=np.uint8)
    np.testing.assert_array_equal(loaded(pixels), model(pixels))


def test_photographs_learn_as_pairs_and_are_served(tiny_recipe, rng, tmp_path):
    """As a backbone of the whole model: clips of one frame go through the very same heads."""
    data = dataclasses.replace(tiny_recipe.data, frames=1, height=40, width=50)
    options = {"end_point": "features.transition1"}
    recipe = dataclasses.replace(
        tiny_recipe, backbone="densenet161", backbone_options=options, data=data
    )
    model = build_model(recipe, 2)
    assert model.strides() == (1, 8, 8)
    clips = rng.integers(0, 255, (2, 2, 1, 40, 50, 3)).astype(np.uint8)
    inputs = {"clip": clips[0], "conjugate": clips[1], "has_conjugate": np.array([True, True])}
    model.compile(keras.optimizers.SGD(1e-4))
    history = model.fit(inputs, np.array([0, 1]), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    version = serving.export(model, recipe, ["a", "b"], tmp_path / "export")
    served = tf.saved_model.load(str(version)).signatures["serve_tensor"](
        frames=tf.constant(clips[0])
    )
    direct = model(clips[0], training=False)
    np.testing.assert_allclose(served["action_attention"], direct["action_attention"], atol=1e-4)
    assert served["action_attention"].shape == (2, 1, 5, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"end_point": "features.conv9"}, "Expected end_point to be one of .*'features.conv9'"),
        ({"end_point": "features.pool0", "include_top": True}, "include_top .*'features.pool0'"),
        ({"input_shape": (1, 64, 64, 1)}, r"Expected input_shape .*3\). Received \(1, 64, 64, 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        densenet161(**arguments)
