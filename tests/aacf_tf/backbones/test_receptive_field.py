"""The computed geometry agrees with what the cells see, and with values by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.networks.densenet import densenet161
from aacf_tf.backbones.networks.i3d import i3d
from aacf_tf.backbones.networks.resnet3d import resnet3d34
from aacf_tf.backbones.networks.small import small
from aacf_tf.backbones.receptive_field import Axis, end_points, receptive_field

SCALED_TO_ZERO = {"small": 115.4, "inception_i3d": 127.5, "part": 0.0}


def seen(backbone, axis, length):
    """Finds by changing inputs which places each cell of an axis sees: bool `[length, cells]`.

    The scene is what the backbone scales to 0 and all kernels are positive, so that every map is 0
    but where the change has come. Both signs are tried: to a difference between two frames, what
    is brighter now is darker next.
    """
    size = [4, 12, 12]
    size[axis] = length
    zero, channels = SCALED_TO_ZERO[backbone.name], backbone.input_shape[-1]
    clips = np.full([length, *size, channels], zero, np.float32)
    places = np.arange(length)
    found = False
    for change in (40.0, -40.0):
        changed = np.moveaxis(clips.copy(), axis + 1, 1)
        changed[places, places] += change
        features = backbone(np.moveaxis(changed, 1, axis + 1), training=False).numpy()
        found |= np.moveaxis(features, axis + 1, 1).any(axis=(2, 3, 4))
    return found


def positive(backbone):
    for variable in backbone.variables:
        if "kernel" in variable.name:
            variable.assign(tf.abs(variable))
    return backbone


def part(backbone, first, last):
    """Cuts out the layers between two outputs, such as all behind the scaling of pixels."""
    ends = (backbone.get_layer(name).output for name in (first, last))
    return keras.Model(*ends, name="part")


BACKBONES = {
    "plain": lambda: small(12),
    "residual": lambda: small(12, residual=True),
    "i3d": lambda: i3d("Mixed_3b"),
    "resnet": lambda: part(resnet3d34("layer1"), "scale", "layer1.2.relu"),
    "resnet_block_a": lambda: part(
        resnet3d34("layer2", shortcut="A"), "layer1.2.relu", "layer2.0.relu"
    ),
    "resnet_block_b": lambda: part(resnet3d34("layer2"), "layer1.2.relu", "layer2.0.relu"),
    "densenet": lambda: part(
        densenet161("features.transition1"), "scale", "features.transition1.frames"
    ),
}


@pytest.mark.parametrize(
    "name, axis, lengths",
    [
        ("plain", 0, (12, 13)),
        ("plain", 1, (48, 45)),
        ("plain", 2, (47, 46)),
        ("residual", 0, (16, 15)),
        ("residual", 1, (72, 70)),
        ("residual", 2, (96, 93)),
        ("i3d", 0, (24, 23)),
        ("i3d", 1, (64, 61)),
        ("resnet", 0, (40, 37)),
        ("resnet", 1, (72, 69)),
        ("resnet_block_a", 0, (8, 7)),
        ("resnet_block_a", 1, (12, 11)),
        ("resnet_block_b", 2, (12, 11)),
        ("densenet", 0, (3,)),
        ("densenet", 1, (72, 69)),
    ],
)
def test_a_cell_sees_what_the_geometry_says(name, axis, lengths):
    backbone = positive(BACKBONES[name]())
    for length in lengths:
        size = [4, 12, 12]
        size[axis] = length
        geometry = receptive_field(backbone, size)[axis]
        truth = seen(backbone, axis, length)
        assert truth.shape == (length, geometry.size)
        offset = np.arange(length)[:, None] - geometry.stride * np.arange(geometry.size)
        expected = (geometry.first <= offset) & (offset <= geometry.last)
        np.testing.assert_array_equal(truth, expected)


def test_the_demo_s_cells_by_hand():
    """Stride 2 pads behind only on 12 frames and 16 patches, on 15 patches on both sides."""
    axes = receptive_field(small(12), (12, 48, 45))
    assert axes == (Axis(1, 2, 6, -3, 5), Axis(4, 6, 8, -6, 14), Axis(1, 6, 8, -9, 11))
    np.testing.assert_array_equal(axes[1].centres, [4, 10, 16, 22, 28, 34, 40, 46])


def test_a_shortcut_counts_half():
    """Stride 2 on an even number: the 3x3x3 window sees [0, 2], the shortcut 0 alone."""
    axes = receptive_field(small(12, residual=True), (16, 72, 76))
    # 72 pixels are 18 patches, 76 are 19: there both are centred at the first of the two.
    assert [axis.start for axis in axes] == [-0.5 + 0.5, 1.5 + 2.0, 1.5]
    assert [axis.size for axis in axes] == [8, 9, 10]


@pytest.mark.parametrize(
    "end_point, reach",
    # Carreira and Zisserman (CVPR 2017), figure 3: 11,27,27 before and 23,75,75 after these.
    [("MaxPool3d_3a_3x3", (11, 27, 27)), ("MaxPool3d_4a_3x3", (23, 75, 75))],
)
def test_i3d_s_receptive_fields_are_those_of_the_paper(end_point, reach):
    axes = receptive_field(i3d(end_point), (64, 224, 224))
    assert tuple(axis.last - axis.first + 1 for axis in axes) == reach


def test_i3d_s_cells_by_hand():
    """At even sizes each layer of stride 2 pads one place more behind than in front."""
    time, height, width = receptive_field(i3d(), (64, 224, 224))
    assert (time.stride, height.stride) == (8, 32) and (time.size, height.size) == (8, 7)
    # Window 7 is centred at pixel 1 (2 are before it, 4 behind); then window 3 at stride 2, 4 and
    # 8 adds one step each, window 2 at stride 16 half a step; in time there is one window 3.
    assert height.start == 1 + 2 + 4 + 8 + 8 and time.start == 1 + 2 + 2
    assert width == height and height.last - height.first + 1 == 379


@pytest.mark.slow
def test_cells_of_the_networks_from_pytorch_by_hand():
    """Padding on both sides keeps cell 0 at pixel 0; the pools of DenseNet move it by half a cell.

    Of the reach: the 7-wide window, the pool, then two cells a convolution at its stride.
    """
    time, height, width = receptive_field(resnet3d34(), (16, 112, 112))
    assert width == height and (time.start, height.start) == (0, 0)
    assert (time.stride, time.size, height.stride, height.size) == (16, 1, 32, 4)
    wanted = 7 + 2 * (1 * 2 + 6 * 4 + 1 * 4 + 7 * 8 + 1 * 8 + 11 * 16 + 1 * 16 + 5 * 32)
    assert height.last - height.first + 1 == wanted == 899
    # In time the first convolution has stride 1, so all behind it counts half.
    assert time.last - time.first + 1 == 7 + (wanted - 7) // 2
    time, height, width = receptive_field(densenet161(), (5, 224, 256))
    assert time == Axis(0, 1, 5, 0, 0) and (height.size, width.size) == (7, 8)
    assert height.start == (4 + 8 + 16) / 2 and height.stride == 32
    wanted = 7 + 2 * (1 * 2 + 6 * 4 + 12 * 8 + 36 * 16 + 24 * 32) + 4 + 8 + 16
    assert height.last - height.first + 1 == wanted == 2967


@pytest.mark.parametrize(
    "build, last, size",
    [
        (i3d, "Mixed_3c", (9, 45, 64)),
        (resnet3d34, "layer2", (9, 33, 48)),
        (densenet161, "features.transition1", (2, 65, 96)),
    ],
)
def test_every_end_point_in_one_table(build, last, size):
    model = build(last, all_end_points=True)
    table = end_points(model, size)
    maps = model(keras.Input((*size, 3)))
    assert list(table) == list(maps)
    for name, axes in table.items():
        assert tuple(axis.size for axis in axes) == tuple(maps[name].shape[1:4])
    for name in list(table)[::2]:
        assert table[name] == receptive_field(build(name), size)


def test_layers_that_stand_in_several_models_count_once():
    backbone = small(12)
    whole = receptive_field(backbone, (8, 30, 31))
    maps = part(backbone, "patches", "space1_relu")
    assert receptive_field(backbone, (8, 30, 31)) == whole
    assert [axis.stride for axis in receptive_field(maps, (8, 10, 10))] == [1, 2, 2]


def test_windows_without_padding_and_with_holes():
    pixels = keras.Input((None, None, None, 3))
    x = keras.layers.Conv3D(1, 3, padding="valid")(pixels)
    x = keras.layers.AveragePooling3D(2)(x)
    x = keras.layers.Conv3D(1, 3, dilation_rate=2, padding="same")(x)
    axes = receptive_field(keras.Model(pixels, x), (8, 9, 12))
    # Valid: cell 0 sees [0, 2], pooled [0, 3]; the holes reach two cells of stride 2 either way.
    wanted = {"start": 1.5, "stride": 2, "first": -4, "last": 7}
    assert [axis._asdict() for axis in axes] == [{**wanted, "size": size} for size in (3, 3, 5)]


def test_a_model_within_a_model_counts():
    inner = small(12)
    pixels = keras.Input((None, None, None, 3))
    outer = keras.Model(pixels, keras.layers.ReLU()(inner(pixels)))
    assert receptive_field(outer, (8, 30, 31)) == receptive_field(inner, (8, 30, 31))


@pytest.mark.parametrize(
    "layer",
    [keras.layers.UpSampling3D(name="strange"), keras.layers.Conv3DTranspose(1, 3, name="strange")],
    ids=["UpSampling3D", "Conv3DTranspose"],
)
def test_an_unknown_layer_is_named(layer):
    pixels = keras.Input((None, None, None, 3))
    with pytest.raises(ValueError, match="'strange'"):
        receptive_field(keras.Model(pixels, layer(pixels)), (8, 32, 32))


class Neighbours(keras.layers.Layer):
    """A layer of a user's: adds the frame before, and the two pixels to the right."""

    def call(self, clips):
        before = tf.pad(clips[:, :-1], [[0, 0], [1, 0], *[[0, 0]] * 3])
        right = tf.pad(clips, [*[[0, 0]] * 3, [0, 2], [0, 0]])
        return clips + before + right[:, :, :, 1:-1] + right[:, :, :, 2:]

    def windows(self):
        return (2, 1, (1, 0)), (1, 1, "valid"), (3, 1, (0, 2))


class Residual(keras.layers.Layer):
    """A user's layer made of others, with a shortcut."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        options = {"padding": "same", "kernel_initializer": "ones"}
        self.first = keras.layers.Conv3D(2, 3, 2, **options)
        self.pad = keras.layers.ZeroPadding3D((0, 1, 0))
        self.second = keras.layers.Conv3D(2, (1, 3, 1), kernel_initializer="ones")
        self.shortcut = keras.layers.Conv3D(2, 1, 2, **options)

    def call(self, clips):
        return self.second(self.pad(self.first(clips))) + self.shortcut(clips)

    def branches(self):
        return (self.first, self.pad, self.second), (self.shortcut,)


def images_by_frames(x):
    """Applies layers as MobileNet has them."""
    pixels = keras.Input((None, None, 3))
    y = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(pixels)
    y = keras.layers.Conv2D(3, 3, 2, kernel_initializer="ones")(y)
    options = {"padding": "same", "depthwise_initializer": "ones"}
    y = keras.layers.DepthwiseConv2D(3, 2, **options)(keras.layers.ReLU(6.0)(y))
    return keras.layers.TimeDistributed(keras.Model(pixels, y))(x)


@pytest.mark.parametrize(
    "network",
    [
        lambda x: Neighbours()(Neighbours()(x)),
        lambda x: Residual()(Neighbours()(x)),
        lambda x: Neighbours()(Residual()(x)),
        images_by_frames,
    ],
    ids=["windows", "both", "windows_of_branches", "frames"],
)
@pytest.mark.parametrize("size", [(5, 8, 9), (6, 9, 12)])
def test_layers_of_a_user_s_own_say_what_they_see(network, size):
    """Against the gradient of every cell along each axis."""
    pixels = keras.Input((*size, 3))
    model = keras.Model(pixels, network(pixels))
    geometry = receptive_field(model, size)
    # Small enough for ReLU6, large enough not to be cut at 0.
    clip = tf.constant(np.random.default_rng(0).uniform(0.01, 0.02, (1, *size, 3)), tf.float32)
    for number, axis in enumerate(geometry):
        assert axis.size == model.output_shape[1 + number]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(clip)
            cells = tf.reduce_sum(model(clip), [i for i in range(5) if i != 1 + number])
            cells = tf.unstack(cells)
        for index, cell in enumerate(cells):
            gradient = tf.reduce_sum(tf.abs(tape.gradient(cell, clip)), [0, 4])
            seen = np.flatnonzero(np.moveaxis(gradient.numpy(), number, 0).any(axis=(1, 2)))
            first, last = (end + index * axis.stride for end in (axis.first, axis.last))
            assert (seen.min(), seen.max()) == (max(first, 0), min(last, size[number] - 1))
