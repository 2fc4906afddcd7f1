"""Every backbone satisfies the same conditions; the tests of each add only correctness.

Batch norms, frozen or folded: test_folding.py.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf import build_model
from aacf_tf.backbones import BACKBONES, build_backbone
from aacf_tf.serving.export import export
from tfrecords.utils.errors import UsageError

# A part of each that holds every kind of layer below its top, and an earlier end.
PARTS = {
    "small": ({"width": 12, "residual": True}, "space1"),
    "i3d": ({"end_point": "Mixed_3b"}, "Conv3d_2b_1x1"),
    "resnet3d34": ({"end_point": "layer2"}, "layer1"),
    "densenet161": ({"end_point": "features.transition1"}, "features.pool0"),
    "efficientnet_lite0": ({"end_point": "stage2", "shift": 0.125}, "stage1"),
    "efficientnet_lite2": ({"end_point": "stage2"}, "stem"),
}
every_backbone = pytest.mark.parametrize("name", PARTS)


@pytest.fixture(scope="module")
def part(weight_tools):
    """Gives the part of a backbone with random weights, built once; no test changes it."""
    built = {}

    def get(name):
        if name not in built:
            model = build_backbone(name, **PARTS[name][0])
            built[name] = weight_tools.randomize(model, np.random.default_rng(0))
        return built[name]

    return get


def test_every_backbone_is_here():
    assert tuple(PARTS) == BACKBONES


@every_backbone
def test_any_size_and_uint8_like_float(part, rng, name):
    model = part(name)
    for shape in ((2, 3, 29, 40, 3), (1, 1, 20, 33, 3)):
        pixels = rng.integers(0, 256, size=shape, dtype=np.uint8)
        features = model(pixels)
        assert model.compute_output_shape(shape) == features.shape
        np.testing.assert_allclose(model(pixels.astype("float32")), features, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in PARTS if name != "small"])
def test_an_early_exit_is_the_beginning_of_the_network(part, name):
    beginning = build_backbone(name, end_point=PARTS[name][1], all_end_points=True)
    assert list(beginning.output)[-1] == PARTS[name][1]
    names = [variable.name for variable in beginning.weights]
    assert names == [variable.name for variable in part(name).weights][: len(names)]


@every_backbone
def test_a_saved_model_loads_without_custom_objects(part, rng, tmp_path, name):
    part(name).save(tmp_path / "backbone.keras")
    loaded = keras.models.load_model(tmp_path / "backbone.keras")
    pixels = rng.integers(0, 256, size=(1, 4, 32, 45, 3), dtype=np.uint8)
    np.testing.assert_array_equal(loaded(pixels), part(name)(pixels))


@every_backbone
def test_training_in_mixed_bfloat16_reaches_every_variable(rng, name):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build_backbone(name, **PARTS[name][0])
    finally:
        keras.mixed_precision.set_global_policy("float32")
    before = [variable.numpy() for variable in model.non_trainable_variables]
    # 12 frames leave 3 to the deepest map here. With exactly 2, TensorFlow 2.15's bfloat16 gradient
    # of a 3x3x3 filter is wrong on most processors, and on some of them zero (docs/backbones.md).
    pixels = rng.integers(0, 256, size=(2, 12, 32, 40, 3), dtype=np.uint8)
    with tf.GradientTape() as tape:
        features = model(pixels, training=True)
        loss = tf.reduce_mean(tf.cast(features, tf.float32) ** 2)
    assert features.dtype == tf.bfloat16
    gradients = zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables))
    sizes = {variable.name: np.abs(gradient).max() for variable, gradient in gradients}
    assert [name for name, size in sizes.items() if not 0 < size < np.inf] == []
    after = zip(model.non_trainable_variables, before)
    assert [v.name for v, old in after if (v.numpy() == old).all()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "size", "strides"),
    [
        ("resnet3d34", {"end_point": "maxpool"}, (8, 40, 33), (2, 4, 4)),
        # A photograph is a clip of one frame.
        ("densenet161", {"end_point": "features.pool0"}, (1, 40, 50), (1, 4, 4)),
    ],
)
def test_it_learns_pairs_and_is_served(tiny_recipe, rng, tmp_path, name, options, size, strides):
    frames, height, width = size
    data = dataclasses.replace(tiny_recipe.data, frames=frames, height=height, width=width)
    recipe = dataclasses.replace(tiny_recipe, backbone=name, backbone_options=options, data=data)
    model = build_model(recipe, 2)
    assert model.strides() == strides
    clips = rng.integers(0, 255, (2, 2, *size, 3)).astype(np.uint8)
    inputs = {"clip": clips[0], "conjugate": clips[1], "has_conjugate": np.array([True, True])}
    model.compile(keras.optimizers.SGD(1e-4))
    history = model.fit(inputs, np.array([0, 1]), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    version = export(model, recipe, ["a", "b"], tmp_path / "export")
    served = tf.saved_model.load(str(version)).signatures["serve_tensor"](
        frames=tf.constant(clips[0])
    )["action_attention"]
    direct = model(clips[0], training=False)["action_attention"]
    np.testing.assert_allclose(served, direct, atol=1e-4)
    assert served.shape == (2, *(-(-side // stride) for side, stride in zip(size, strides)))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("i3d", {"end_point": "Mixed_6a"}, "end_point to be one of .*'Mixed_6a'"),
        ("i3d", {"end_point": "Mixed_5c", "include_top": True}, "include_top .*'Mixed_5c'"),
        ("resnet3d34", {"end_point": "layer5"}, "end_point to be one of .*'layer5'"),
        ("resnet3d34", {"end_point": "layer2", "include_top": True}, "include_top .*'layer2'"),
        ("resnet3d34", {"end_point": "maxpool", "no_max_pool": True}, "end_point .*'maxpool'"),
        ("resnet3d34", {"shortcut": "C"}, "shortcut to be A or B. Received 'C'"),
        ("resnet3d34", {"scaling": "vgg"}, "scaling to be one of .*imagenet, .*'vgg'"),
        ("resnet3d34", {"conv1_t_size": 4}, "conv1_t_size to be odd. Received 4"),
        ("densenet161", {"end_point": "pool0"}, "end_point to be one of .*'pool0'"),
        ("densenet161", {"end_point": "features.pool0", "include_top": True}, "include_top"),
    ],
)
def test_wrong_arguments_are_named(name, arguments, message):
    with pytest.raises(UsageError, match=f"backbone_options: Expected .*{message}"):
        build_backbone(name, **arguments)
