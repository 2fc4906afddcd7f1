"""Networks of Keras and keras_cv as backbones: values, places, weights; small, at random."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf import build_model, recipes
from aacf_tf.backbones import build_backbone, table
from aacf_tf.backbones.adapters import VideoSwin
from aacf_tf.backbones.batch_norm import fold_batch_norm
from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.backbones.two_stream import copy_weights
from aacf_tf.serving.export import export
from aacf_tf.weights import load_weights
from tfrecords.utils.errors import UsageError, UserError

applications = keras.applications
SWIN = {"embed_dim": 8, "depths": [2, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
# One of each way in which networks differ: operators, gates, stored scales, a stem of patches. Only
# the beginning of each, and its stride.
NETWORKS = {
    "keras:MobileNetV2": ({"alpha": 0.35, "end_point": "block_2_add"}, 4),
    "keras:MobileNetV3Small": ({"end_point": "expanded_conv_3/project/BatchNorm"}, 16),
    "keras:EfficientNetB0": ({"end_point": "block2a_project_bn"}, 4),
    "keras_cv:videoswin_tiny": ({"input_shape": (5, 40, 64, 3), **SWIN}, 32),
}
needs_keras_cv = pytest.mark.skipif(
    not importlib.util.find_spec("keras_cv"), reason="from Python 3.12 on there is no keras-cv"
)
GET_FILE = f"{keras.Model.__module__.partition('.')[0]}.src.utils.data_utils.get_file"
FAMILIES = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB1", "EfficientNetV2B0", "EfficientNetV2S"),
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV3Large", "NASNetMobile"),
    *("RegNetX002", "RegNetY002", "ResNet50", "ResNet50V2", "ResNetRS50", "VGG19", "Xception"),
)
every_network = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_keras_cv) if ":video" in n else n for n in NETWORKS]
)


@pytest.fixture(scope="module")
def network(weight_tools):
    """Gives a backbone with random weights, built once; no test changes it."""
    built = {}

    def get(name):
        if name not in built:
            model = build_backbone(name, **NETWORKS[name][0])
            built[name] = weight_tools.randomize(model, np.random.default_rng(0))
        return built[name]

    return get


@pytest.fixture
def clips(rng):
    return rng.integers(0, 256, (2, 5, 40, 64, 3), dtype=np.uint8)


@every_network
def test_maps_are_as_the_geometry_says(network, clips, name):
    model = network(name)
    features = model(clips)
    axes = receptive_field(model, clips.shape[1:4])
    assert tuple(axis.size for axis in axes) == tuple(features.shape[1:4])
    assert [axis.stride for axis in axes[1:]] == [NETWORKS[name][1]] * 2
    np.testing.assert_allclose(model(clips.astype("float32")), features, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "mode"),
    [
        ("VGG16", {"end_point": "block1_pool"}, "caffe"),
        ("MobileNetV2", {"alpha": 0.35, "end_point": "Conv1"}, "tf"),
        ("EfficientNetB0", {"end_point": "stem_conv"}, "torch"),
    ],
)
def test_frames_go_through_keras_s_own_model_and_scaling(clips, name, options, mode):
    """The EfficientNets scale inside, by statistics that come with their weights: torch's."""
    backbone = build_backbone(f"keras:{name}", **options)
    end_point = options.pop("end_point")
    build = getattr(applications, name)
    plain = build(include_top=False, weights=None, input_shape=(40, 64, 3), **options)
    first = plain.input
    if mode == "torch":
        first = plain.get_layer("stem_conv_pad").input
    plain = keras.Model(first, plain.get_layer(end_point).output)
    plain.set_weights(backbone.get_weights())
    images = clips.reshape(10, 40, 64, 3).astype(np.float32)
    scaled = applications.imagenet_utils.preprocess_input(images.copy(), mode=mode)
    expected = plain(scaled)
    actual = tf.reshape(backbone(clips), expected.shape)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_places_by_hand():
    """Stride 2 on even sizes pads behind alone: one place more at each of the five strides."""
    for name in ("MobileNetV2", "MobileNetV3Small"):
        backbone = build_backbone(f"keras:{name}", alpha=0.35 if name == "MobileNetV2" else 1.0)
        _, height, width = receptive_field(backbone, (1, 64, 96))
        assert height.start == width.start == 1 + 2 + 4 + 8 + 16, name
        assert (height.stride, height.size, width.size) == (32, 2, 3)


@needs_keras_cv
def test_places_of_video_swin_by_hand():
    """A patch of 4 pixels, then three merges of two."""
    layer = VideoSwin((4, 64, 96, 3), SWIN)
    pixels = keras.Input((4, 64, 96, 3))
    axes = receptive_field(keras.Model(pixels, layer(pixels)), (4, 64, 96))
    assert [axis.start for axis in axes] == [0.5, 15.5, 15.5]
    assert [axis.size for axis in axes] == [2, 2, 3]


def test_a_cell_of_an_early_layer_sees_what_the_geometry_says():
    """Of a network with crops, branches and separable convolutions."""
    model = build_backbone("keras:Xception", end_point="block2_pool")
    for variable in model.variables:
        if "kernel" in variable.name:
            variable.assign(tf.abs(variable))
    geometry = receptive_field(model, (1, 71, 71))[1]
    seen = []
    for row in range(71):
        clip = np.full((1, 1, 71, 71, 3), 127.5, np.float32)  # scaled to 0
        clip[:, :, row] += 40
        seen.append(model(clip).numpy().any(axis=(0, 1, 3, 4)))
    offset = np.arange(71)[:, None] - geometry.stride * np.arange(geometry.size)
    expected = (geometry.first <= offset) & (offset <= geometry.last)
    np.testing.assert_array_equal(np.array(seen), expected)


@every_network
def test_folded_copies_give_the_same_numbers(network, clips, name):
    folded = fold_batch_norm(network(name))
    left = [part for part in folded.submodules if type(part).__name__ == "BatchNormalization"]
    assert left == []
    wanted = network(name)(clips, training=False).numpy()
    np.testing.assert_allclose(folded(clips), wanted, atol=1e-4 * np.abs(wanted).max())


@every_network
def test_nothing_is_drawn_in_training_and_weights_are_copied(network, clips, name):
    copy = build_backbone(name, **NETWORKS[name][0])
    network(name).trainable = False
    copy_weights(network(name), copy)
    network(name).trainable = True
    np.testing.assert_array_equal(copy(clips), network(name)(clips))
    np.testing.assert_array_equal(copy(clips, training=True), copy(clips, training=True))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if "V3Small" in name else pytest.mark.slow) for name in NETWORKS],
)
def test_it_trains_in_bfloat16_and_is_saved(network, clips, tmp_path, name):
    network(name).save(tmp_path / "backbone.keras")
    loaded = keras.models.load_model(tmp_path / "backbone.keras")
    np.testing.assert_array_equal(loaded(clips), network(name)(clips))
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build_backbone(name, **NETWORKS[name][0])
    finally:
        keras.mixed_precision.set_global_policy("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.cast(model(clips, training=True), tf.float32) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["keras:MobileNetV2", pytest.param("keras_cv:videoswin_tiny", marks=needs_keras_cv)],
)
def test_it_learns_pairs_and_is_served(tiny_recipe, rng, tmp_path, name):
    options, stride = {**NETWORKS[name][0]}, NETWORKS[name][1]
    options.pop("input_shape", None)  # the recipe's
    data = dataclasses.replace(tiny_recipe.data, frames=4, height=40, width=64, crop=1.0)
    recipe = dataclasses.replace(tiny_recipe, backbone=name, backbone_options=options, data=data)
    recipes.check(recipe)
    model = build_model(recipe, 2)
    assert model.strides()[1:] == (stride, stride)
    clips = rng.integers(0, 255, (2, 2, 4, 40, 64, 3)).astype(np.uint8)
    inputs = {"clip": clips[0], "conjugate": clips[1], "has_conjugate": np.array([True, True])}
    model.compile(keras.optimizers.SGD(1e-4))
    history = model.fit(inputs, np.array([0, 1]), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    version = export(model, recipe, ["a", "b"], tmp_path / "export")
    served = tf.saved_model.load(str(version)).signatures["serve_tensor"](
        frames=tf.constant(clips[0])
    )["action_probabilities"]
    direct = tf.nn.softmax(model(clips[0], training=False)["action_scores"])
    np.testing.assert_allclose(served, direct, atol=1e-4)


@pytest.mark.slow
def test_imagenet_weights_of_keras(monkeypatch, tmp_path):
    """The EfficientNets with ImageNet weights have statistics and a scaling that ours lacks."""
    source = applications.EfficientNetB0(include_top=False, weights=None)
    source.save_weights(tmp_path / "weights.h5")
    file = str(tmp_path / "weights.h5")
    monkeypatch.setattr(GET_FILE, lambda *args, **kwargs: file)
    backbone = build_backbone("keras:EfficientNetB0", end_point="block1a_project_bn")
    loaded = load_weights(backbone, "imagenet")
    assert str(loaded) == f"{len(backbone.weights)} variables from a download of imagenet"
    (network,) = (part for part in backbone.layers if isinstance(part, keras.Model))
    for name in ("stem_conv", "block1a_project_conv"):
        (wanted,) = source.get_layer(name).get_weights()
        np.testing.assert_array_equal(network.get_layer(name).get_weights()[0], wanted)


@pytest.mark.slow
def test_kinetics_weights_of_video_swin(monkeypatch):
    keras_cv = pytest.importorskip("keras_cv")
    asked, shallow = [], {**SWIN, "depths": [1, 1, 1, 1]}

    def from_preset(preset, load_weights):
        asked.append((preset, load_weights))
        return keras_cv.models.VideoSwinBackbone(input_shape=(4, 64, 64, 3), **shallow)

    monkeypatch.setattr(keras_cv.models.VideoSwinBackbone, "from_preset", from_preset)
    backbone = build_backbone("keras_cv:videoswin_base", input_shape=(4, 64, 64, 3), **shallow)
    before = backbone.get_weights()
    assert str(load_weights(backbone, "kinetics")).endswith("variables from a download of kinetics")
    assert asked == [("videoswin_base_kinetics400", True)]
    assert any((a != b).any() for a, b in zip(before, backbone.get_weights()))
    small = build_backbone("keras_cv:videoswin_base", input_shape=(2, 64, 64, 3), **shallow)
    with pytest.raises(UsageError, match=r"at least 16 frames of 224 x 224 pixels"):
        load_weights(small, "kinetics")
    with pytest.raises(UsageError, match=r"expected kinetics for videoswin_base"):
        load_weights(small, "imagenet")


def test_without_a_network_a_download_is_one_sentence(monkeypatch):
    def get_file(*args, **kwargs):
        raise Exception("URL fetch failure on https://keras: None --\n[Errno -3]")

    monkeypatch.setattr(GET_FILE, get_file)
    backbone = build_backbone("keras:MobileNetV2", alpha=0.35)
    with pytest.raises(UserError, match=r"^--weights=imagenet: expected a download .*-- \[Errno"):
        load_weights(backbone, "imagenet")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("keras:MobileNetV22", {}, "such as MobileNetV2, .*'MobileNetV22'"),
        ("keras:preprocess_input", {}, "a model of keras.applications"),
        ("keras:MobileNetV2", {"end_point": "Conv"}, "layer of MobileNetV2 .*Conv1.*'Conv'"),
        ("keras:MobileNetV2", {"breadth": 2}, "breadth"),
        ("keras:InceptionV3", {"input_shape": (1, 40, 40, 3)}, "at least 75x75"),
        pytest.param(
            *("keras_cv:videoswin_tiny", {"input_shape": (None, 64, 64, 3)}, "must be specified"),
            marks=needs_keras_cv,
        ),
        ("keras_cv:videoswin_tiny", {"input_shape": (4, 64, 64, 1)}, r"input_shape .*3\)"),
    ],
)
def test_what_cannot_be_built_is_named(name, options, message):
    with pytest.raises(UsageError, match=f"backbone.*{message}"):
        build_backbone(name, **options)


def test_video_swin_without_keras_cv_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_cv", None)  # its import fails
    with pytest.raises(UsageError, match=r"^backbone: expected the package keras-cv"):
        build_backbone("keras_cv:videoswin_tiny", input_shape=(4, 64, 64, 3), **SWIN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "keras:"}, r"backbone: expected one of small, .*keras:NAME .*'keras:'"),
        ({"backbone": "keras_cv:resnet"}, "backbone: .*keras_cv:videoswin_base, .*'keras_cv:re"),
        ({"backbone": "keras:VGG16", "modality": "flow"}, "modality: .*of photographs"),
        ({"backbone": "keras_cv:videoswin_tiny", "modality": "two_stream"}, "takes frames"),
        ({"backbone": "keras_cv:videoswin_tiny"}, r"data.crop: expected 1 .* received 0.84"),
        ({"backbone": "keras:NASNetMobile"}, r"data.crop: expected 1 .* received 0.84"),
    ],
)
def test_recipes_are_checked_before_anything_starts(changes, message):
    recipe = recipes.load_recipe("demo")
    for field, value in changes.items():
        recipe = recipes.override(recipe, field, value)
    with pytest.raises(UsageError, match=message):
        recipes.check(recipe)


def test_clips_too_small_for_a_network_are_named(tiny_recipe):
    recipe = dataclasses.replace(tiny_recipe, backbone="keras:VGG16", backbone_options={})
    with pytest.raises(UsageError, match=r"leaves keras:VGG16 a cell, .* 24 x 24 pixels"):
        build_model(recipe, 2)


def test_the_table_of_an_adapted_network():
    lines = table.table("keras:MobileNetV2", (1, 224, 224)).splitlines()
    assert lines[0].startswith("| keras:MobileNetV2 at 1 x 224 x 224 |")
    assert lines[2].startswith("| `last` | 1 x 7 x 7 x 1280 | 1 x 32 x 32 |")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_keras(name):
    options = {"input_shape": (1, 96, 128, 3)} if "NASNet" in name else {}
    model = build_backbone(f"keras:{name}", **options)
    features = model(np.zeros((1, 1, 96, 128, 3), np.uint8))
    axes = receptive_field(model, (1, 96, 128))
    assert tuple(axis.size for axis in axes) == tuple(features.shape[1:4])
    assert fold_batch_norm(model)(np.zeros((1, 1, 96, 128, 3))).shape == features.shape
