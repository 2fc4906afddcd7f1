"""Where the cells of a feature map look: receptive fields, read off the layers of a backbone.

With SAME padding a stride-2 layer pads more behind than in front, and on even sizes otherwise than
on odd ones. So a cell's centre is not that of its stride box: I3D's first cell at 224 pixels is
centred at pixel 23, its box at 15.5. Networks from PyTorch pad alike on both sides: 3D-ResNet-34's
first cell is centred at pixel 0, DenseNet-161's, whose average pools have no padding, at 14.
"""

from __future__ import annotations

from typing import Callable, NamedTuple, Sequence

import numpy as np
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.resnet3d import ShortcutA
from aacf_tf.backbones.small import PixelsToPatches
from keras_layers import (
    ConvUnit3D,
    FramesToImages,
    ImagesToFrames,
    InceptionModule3D,
    TemporalShift,
)

_layers = keras.layers
_POINTWISE = (
    _layers.Activation,
    _layers.BatchNormalization,
    _layers.Dropout,
    _layers.ReLU,
    _layers.Rescaling,
)
_MERGING = (_layers.Add, _layers.Concatenate)
_FOLDING = (FramesToImages, ImagesToFrames)  # of images the axes of their clips are followed
_CONVOLUTIONS = (_layers.Conv2D, _layers.Conv3D, _layers.DepthwiseConv2D)
_TRANSPOSED = (_layers.Conv2DTranspose, _layers.Conv3DTranspose)
_POOLS = (
    _layers.AveragePooling2D,
    _layers.AveragePooling3D,
    _layers.MaxPooling2D,
    _layers.MaxPooling3D,
)


class Axis(NamedTuple):
    """One axis of a feature map. Places are indices of frames or pixels, centred at integers.

    Attributes:
        start: the centre of cell 0; that of cell i lies at `start + i * stride`. It is the middle
            of what the cell sees; where branches meet, the mean of their centres (ours: a shortcut
            of stride 2 lies before the convolutions beside it, and both count; maps of trained
            residual networks, compared with those of flipped clips, lie there and not in the
            middle of all that is seen).
        stride: places from one cell to the next.
        size: number of cells.
        first, last: the first and the last place that cell 0 sees, padding included.
    """

    start: float
    stride: int
    size: int
    first: int
    last: int

    @property
    def centres(self) -> np.ndarray:
        """`[size]`, the centres of the cells."""
        return self.start + self.stride * np.arange(self.size)


Axes = tuple[Axis, ...]  # time, height, width


def receptive_field(backbone: keras.Model, size: Sequence[int]) -> Axes:
    """The geometry of a backbone's feature map for one size of input, which padding depends on.

    Args:
        backbone: a functional model of one input `[B, T, H, W, C]` and one output
            `[B, t, h, w, D]`.
        size: (T, H, W).

    Returns:
        the axes (time, height, width).

    Raises:
        ValueError: the backbone has a layer that is not known here.

    Example:
    >>> receptive_field(i3d(), (64, 224, 224))[2]
    Axis(start=23.0, stride=32, size=7, first=-166, last=212)
    """
    return _through_model(backbone, _pixels(size))[id(backbone.output)]


def end_points(backbone: keras.Model, size: Sequence[int]) -> dict[str, Axes]:
    """The geometry of all end points.

    Args:
        backbone: one built with `all_end_points=True`, without a top.
        size: (T, H, W).

    Returns:
        name of the end point -> the axes (time, height, width).

    Raises:
        ValueError: the backbone has a layer that is not known here.

    Example:
    >>> end_points(i3d(all_end_points=True), (64, 224, 224))["Conv3d_1a_7x7"][2]
    Axis(start=1.0, stride=2, size=112, first=-2, last=4)
    """
    found = _through_model(backbone, _pixels(size))
    return {name: found[id(tensor)] for name, tensor in backbone.output.items()}


def _pixels(size: Sequence[int]) -> Axes:
    return tuple(Axis(0.0, 1, length, 0, 0) for length in size)


def _through_model(model: keras.Model, axes: Axes) -> dict[int, Axes]:
    """The axes of every tensor, by its `id`."""
    found = {id(model.input): axes}
    for layer in model.layers:  # in the order of the computation
        for node in range(len(layer.inbound_nodes)):  # a layer may stand in several models
            inputs = [id(tensor) for tensor in tf.nest.flatten(layer.get_input_at(node))]
            if isinstance(layer, ImagesToFrames):
                inputs = inputs[:1]  # of the clips it reads the number alone
            if not isinstance(layer, _layers.InputLayer) and found.keys() >= set(inputs):
                merged = _merge([found[tensor] for tensor in inputs])
                found[id(layer.get_output_at(node))] = _through_layer(layer, merged)
    return found


def _through_layer(layer: keras.layers.Layer, axes: Axes) -> Axes:
    if isinstance(layer, (*_POINTWISE, *_MERGING, *_FOLDING)):
        return axes
    if isinstance(layer, keras.Model):
        return _through_model(layer, axes)[id(layer.output)]
    if isinstance(layer, InceptionModule3D):
        return _merge([_through_chain(branch, axes) for branch in layer.branches])
    if isinstance(layer, PixelsToPatches):
        return _patches(layer, axes)
    if isinstance(layer, TemporalShift):
        return (_window(axes[0], 3, 1, same=True), *axes[1:])
    if isinstance(layer, ShortcutA):
        return tuple(_window(axis, 1, layer.stride, same=False) for axis in axes)
    if isinstance(layer, (_layers.ZeroPadding2D, _layers.ZeroPadding3D)):
        return _of_last(axes, _pad, layer.padding)
    if isinstance(layer, ConvUnit3D):
        layer = layer.conv_3d
    if isinstance(layer, _CONVOLUTIONS) and not isinstance(layer, _TRANSPOSED):
        reach = [1 + (k - 1) * d for k, d in zip(layer.kernel_size, layer.dilation_rate)]
    elif isinstance(layer, _POOLS):
        reach = layer.pool_size
    else:
        raise ValueError(
            "Expected a backbone of convolutions, pooling, and layers that act on each position. "
            f"Received one with the layer {layer.name!r} ({type(layer).__name__})."
        )
    same = [layer.padding == "same"] * len(reach)
    return _of_last(axes, _window, reach, layer.strides, same)


def _through_chain(layers: Sequence[keras.layers.Layer], axes: Axes) -> Axes:
    for layer in layers:
        axes = _through_layer(layer, axes)
    return axes


def _merge(branches: Sequence[Axes]) -> Axes:
    """Of branches with the same cells: a cell sees what it sees by any of them."""
    merged = []
    for axes in zip(*branches):
        starts, strides, sizes, firsts, lasts = zip(*axes)
        start = sum(starts) / len(starts)
        merged.append(Axis(start, strides[0], sizes[0], min(firsts), max(lasts)))
    return tuple(merged)


def _of_last(axes: Axes, change: Callable[..., Axis], *arguments: Sequence) -> Axes:
    """Changes each axis by its arguments; where these are two, of images, time stays as it is."""
    changed = [change(*values) for values in zip(axes[-len(arguments[0]) :], *arguments)]
    return (*axes[: -len(changed)], *changed)


def _pad(axis: Axis, padding: tuple[int, int]) -> Axis:
    """More cells before and after; they see places outside of the clip."""
    before, after = padding
    places = before * axis.stride
    return Axis(
        axis.start - places,
        axis.stride,
        before + axis.size + after,
        axis.first - places,
        axis.last - places,
    )


def _window(axis: Axis, reach: int, stride: int, same: bool) -> Axis:
    """A window of `reach` cells, moved by `stride`, padded as TensorFlow does."""
    if same:
        size = -(-axis.size // stride)
        before = max((size - 1) * stride + reach - axis.size, 0) // 2
    else:
        size, before = (axis.size - reach) // stride + 1, 0
    return _extend(axis, before, reach - 1 - before, stride, size)


def _patches(layer: PixelsToPatches, axes: Axes) -> Axes:
    """Padded behind only; a difference also sees the frame before."""
    time, *space = axes
    p = layer.patch
    time = _extend(time, int(layer.differences), 0, 1, time.size)
    return (time, *(_extend(axis, 0, p - 1, p, -(-axis.size // p)) for axis in space))


def _extend(axis: Axis, before: int, after: int, stride: int, size: int) -> Axis:
    """Each of the new `size` cells sees so many of the old cells before and after its first one."""
    return Axis(
        start=axis.start + (after - before) / 2 * axis.stride,
        stride=axis.stride * stride,
        size=size,
        first=axis.first - before * axis.stride,
        last=axis.last + after * axis.stride,
    )
