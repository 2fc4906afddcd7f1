"""3D-ResNet-34: values of plain TF ops padded as PyTorch does, names and counts of the authors'."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf import build_model, serving
from aacf_tf.backbones.resnet3d import END_POINTS, ShortcutA, resnet3d34

BLOCKS = {1: 3, 2: 4, 3: 6, 4: 3}
# 0..1, as in the authors' mean.py of 2020; of 2017/18: 0..255, without a deviation.
KINETICS = ([0.4345, 0.4051, 0.3775], [0.2768, 0.2713, 0.2737])
ACTIVITYNET = [114.7748, 107.7354, 99.4750]


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


def plain_resnet3d34(weights, x, t_stride=1, max_pool=True, shortcut="B"):
    """The network written down once more with tf.nn alone: end points of the scaled pixels.

    Weights are taken out of `weights` as they are used.
    """

    def pad(x, before, value=0.0):
        edges = [[0, 0], *([n, n] for n in before), [0, 0]]
        return tf.pad(x, edges, constant_values=value)

    def conv(x, name, strides):
        kernel = weights.pop(f"{name}/kernel")
        x = pad(x, [side // 2 for side in kernel.shape[:3]])
        return tf.nn.conv3d(x, kernel, [1, *strides, 1], "VALID")

    def norm(x, name):
        gamma, beta, mean, variance = (
            weights.pop(f"{name}/{part}")
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / tf.sqrt(variance + 1e-5) * gamma + beta

    def block(x, name, stride):
        y = tf.nn.relu(norm(conv(x, f"{name}.conv1", [stride] * 3), f"{name}.bn1"))
        y = norm(conv(y, f"{name}.conv2", [1] * 3), f"{name}.bn2")
        if stride == 1:
            return tf.nn.relu(y + x)
        if shortcut == "B":
            x = conv(x, f"{name}.downsample.0", [stride] * 3)
            return tf.nn.relu(y + norm(x, f"{name}.downsample.1"))
        x = tf.nn.avg_pool3d(x, 1, stride, "VALID")
        return tf.nn.relu(y + tf.concat([x, tf.zeros_like(x)], -1))

    ends = {}
    ends["conv1"] = x = tf.nn.relu(norm(conv(x, "conv1", [t_stride, 2, 2]), "bn1"))
    if max_pool:
        padded = pad(x, [1] * 3, -np.inf)
        ends["maxpool"] = x = tf.nn.max_pool3d(padded, 3, 2, "VALID")
    for stage, blocks in BLOCKS.items():
        for index in range(blocks):
            x = block(x, f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1)
        ends[f"layer{stage}"] = x
    mean = tf.reduce_mean(x, [1, 2, 3])
    ends["fc"] = mean @ weights.pop("fc/kernel") + weights.pop("fc/bias")
    return ends


def parameters(shortcut="B", t_size=7):
    """Counted by hand, with 400 classes."""
    kernels = 49 * t_size * 3 * 64 + 27 * (6 * 64**2 + 64 * 128 + 7 * 128**2)
    kernels += 27 * (128 * 256 + 11 * 256**2 + 256 * 512 + 5 * 512**2)
    norms = 2 * (7 * 64 + 8 * 128 + 12 * 256 + 6 * 512)
    # Kernel and batch norm of the three 1x1x1 convolutions.
    shortcuts = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    return kernels + norms + (shortcuts if shortcut == "B" else 0) + 512 * 400 + 400


def test_parameters_as_the_document_has_them():
    assert (parameters("A"), parameters("B")) == (63_544_912, 63_718_736)


@pytest.mark.parametrize(
    ("options", "plain", "size", "last"),
    [
        ({"shortcut": "A", "scaling": "activitynet"}, {"shortcut": "A"}, (9, 33, 41), (1, 2, 2)),
        ({"scaling": "kinetics", "conv1_t_stride": 2}, {"t_stride": 2}, (34, 32, 50), (2, 1, 2)),
        ({"no_max_pool": True, "conv1_t_size": 3}, {"max_pool": False}, (5, 17, 20), (1, 2, 2)),
    ],
    ids=["2018", "2020", "no_max_pool"],
)
def test_every_end_point_equals_a_plain_implementation(rng, options, plain, size, last):
    model = resnet3d34(include_top=True, all_end_points=True, **options)
    count = parameters(options.get("shortcut", "B"), options.get("conv1_t_size", 7))
    assert sum(np.prod(v.shape) for v in model.trainable_weights) == count
    randomize(model, rng)
    pixels = rng.integers(0, 256, size=(2, *size, 3), dtype=np.uint8)
    x = tf.cast(pixels, tf.float32)
    if options.get("scaling") == "activitynet":
        x = x - ACTIVITYNET
    else:
        imagenet = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        mean, deviation = KINETICS if options.get("scaling") == "kinetics" else imagenet
        x = (x / 255 - mean) / deviation
    weights = named(model)
    expected = plain_resnet3d34(weights, x, **plain)
    assert weights == {}, "weights that the plain network has no use for"
    outputs = model(pixels)
    assert list(outputs) == list(expected)
    for name, value in expected.items():
        assert outputs[name].shape == value.shape, name
        error = np.abs(outputs[name] - value).max() / np.abs(value).max()
        assert error < 1e-4, name
    assert outputs["layer4"].shape == (2, *last, 512)
    assert model.compute_output_shape(pixels.shape)["layer4"] == (2, *last, 512)


def test_layers_with_weights_bear_the_names_of_the_pytorch_modules():
    expected = {"conv1", "bn1"}
    for stage, blocks in ((1, 3), (2, 4)):
        for block in range(blocks):
            for part in ("conv1", "bn1", "conv2", "bn2"):
                expected.add(f"layer{stage}.{block}.{part}")
    expected |= {"layer2.0.downsample.0", "layer2.0.downsample.1"}
    model = resnet3d34("layer2")
    assert {layer.name for layer in model.layers if layer.weights} == expected


def test_shapes_of_the_authors_input():
    model = resnet3d34("layer2", input_shape=(16, 112, 112, 3), all_end_points=True)
    shapes = {name: tuple(x.shape[1:]) for name, x in model.output.items()}
    assert shapes == {
        "conv1": (16, 56, 56, 64),
        "maxpool": (8, 28, 28, 64),
        "layer1": (8, 28, 28, 64),
        "layer2": (4, 14, 14, 128),
    }


def test_early_exit_is_the_beginning_of_the_whole_network():
    part, further = resnet3d34("layer1"), resnet3d34("layer2")
    assert part.output_shape == (None, None, None, None, 64)
    assert list(named(part)) == list(named(further))[: len(part.weights)]


def test_flow_has_two_channels(rng):
    model = resnet3d34("maxpool", channels=2, scaling="kinetics")
    pixels = np.array([110.7975, 103.3005 + 69.1815]) * np.ones((1, 4, 16, 16, 2))
    assert model(pixels).shape == (1, 2, 4, 4, 64)
    np.testing.assert_allclose(model.get_layer("scale")(pixels)[0, 0, 0, 0], [0, 1], atol=1e-6)


def test_the_shortcut_is_a_layer_as_every_other(check_layer, rng):
    features = rng.normal(size=(2, 3, 5, 4, 2)).astype("float32")
    check_layer(ShortcutA, {"filters": 5, "stride": 2}, features, "bfloat16")
    shortcut = ShortcutA(5, 2)(features)
    np.testing.assert_array_equal(shortcut[..., :2], features[:, ::2, ::2, ::2])
    assert not np.any(shortcut[..., 2:])
    assert ShortcutA(5, 2).compute_output_shape((2, None, 5, 4, 2)) == (2, None, 3, 2, 5)


def test_training_step_under_mixed_bfloat16_reaches_every_variable(rng):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        features = resnet3d34("layer2")
        assert features.output.dtype == tf.bfloat16
        logits = keras.layers.Dense(4, dtype="float32")(
            keras.layers.GlobalAveragePooling3D(dtype="float32")(features.output)
        )
        model = keras.Model(features.input, logits)
        before = [w.numpy() for w in model.weights]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss)
        clips = rng.integers(0, 256, size=(2, 8, 32, 40, 3), dtype=np.uint8)
        history = model.fit(clips, np.array([1, 3]), batch_size=2, verbose=0)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert np.isfinite(history.history["loss"]).all()
    assert [w.name for w, old in zip(model.weights, before) if (w.numpy() == old).all()] == []


def test_frozen_it_runs_in_inference_mode(rng):
    model = resnet3d34("layer1")
    randomize(model, rng)
    model.trainable = False
    before = [w.numpy() for w in model.weights]
    pixels = rng.integers(0, 256, size=(2, 4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model(pixels, training=True), model(pixels, training=False))
    assert all((w.numpy() == old).all() for w, old in zip(model.weights, before))


def test_saved_model_loads_without_custom_objects(rng, tmp_path):
    model = resnet3d34("layer2", shortcut="A", scaling="activitynet")
    randomize(model, rng)
    model.save(tmp_path / "resnet.keras")
    loaded = keras.models.load_model(tmp_path / "resnet.keras")
    pixels = rng.integers(0, 256, size=(1, 4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(loaded(pixels), model(pixels))


def test_it_learns_pairs_and_is_served(tiny_recipe, rng, tmp_path):
    """As a backbone of the whole model: strides, a training step, the export at another size."""
    data = dataclasses.replace(tiny_recipe.data, frames=8, height=40, width=33)
    recipe = dataclasses.replace(
        tiny_recipe, backbone="resnet3d34", backbone_options={"end_point": "layer1"}, data=data
    )
    model = build_model(recipe, 2)
    assert model.strides() == (2, 4, 4)
    clips = rng.integers(0, 255, (2, 2, 8, 40, 33, 3)).astype(np.uint8)
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
    assert served["action_attention"].shape == (2, 4, 10, 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"end_point": "layer5"}, "Expected end_point to be one of .*'layer5'"),
        ({"end_point": "layer2", "include_top": True}, "include_top .*'layer2'"),
        ({"end_point": "maxpool", "no_max_pool": True}, "end_point .*'maxpool'"),
        ({"shortcut": "C"}, "shortcut to be A or B. Received 'C'"),
        ({"scaling": "vgg"}, "scaling to be one of imagenet, .*'vgg'"),
        ({"conv1_t_size": 4}, "conv1_t_size to be odd. Received 4"),
        ({"input_shape": (16, 64, 64, 2)}, r"Expected input_shape .*3\). Received \(16, 64, 64, 2"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        resnet3d34(**arguments)


def test_end_points_are_in_order():
    model = resnet3d34("maxpool", all_end_points=True)
    assert tuple(model.output) == END_POINTS[:2]
