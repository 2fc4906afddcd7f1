"""Computes the receptive fields of a feature map's cells from the layers of a backbone.

With SAME padding a stride-2 layer pads more behind than in front, depending on whether the size is
even or odd, so a cell's centre is not that of its stride box: I3D's first cell at 224 pixels is
centred at pixel 23, its box at 15.5. Networks from PyTorch pad both sides equally: the first cell
of 3D-ResNet-34 is centred at pixel 0, that of DenseNet-161, whose average pools have no padding, at
14.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence, Union

import numpy as np
from tensorflow import keras

from keras_layers import FramesToImages, ImagesToFrames

_layers = keras.layers
_POINTWISE = (
    _layers.Activation,
    _layers.BatchNormalization,
    _layers.Dense,  # acts on the last axis
    _layers.Dropout,
    _layers.Normalization,
    _layers.ReLU,
    _layers.Rescaling,
)
# The same, of keras.applications alone and without a public name, or Python's operators.
_POINTWISE_NAMES = ("CustomScaleLayer", "LayerScale", "StochasticDepth")
_OPERATORS = ("__operators__.add", "math.multiply")
_MERGING = (_layers.Add, _layers.Concatenate, _layers.Multiply)
# What comes of them has no place: gates of channels (squeeze and excitation).
_GLOBAL = (_layers.GlobalAveragePooling2D, _layers.GlobalAveragePooling3D)
_FOLDING = (FramesToImages, ImagesToFrames)  # the axes of images are those of their clips
_CONVOLUTIONS = (
    _layers.Conv2D,
    _layers.Conv3D,
    _layers.DepthwiseConv2D,
    _layers.SeparableConv2D,
)
_TRANSPOSED = (_layers.Conv2DTranspose, _layers.Conv3DTranspose)
_POOLS = (
    _layers.AveragePooling2D,
    _layers.AveragePooling3D,
    _layers.MaxPooling2D,
    _layers.MaxPooling3D,
)


class Axis(NamedTuple):
    """One axis of a feature map, in frames or pixels of the input, which are centred at integers.

    Attributes:
        start: Centre of cell 0; cell i is centred at `start + i * stride`. It is the middle of the
            receptive field, or the mean of the branches' centres if branches meet (our choice: a
            shortcut of stride 2 is centred before the convolutions next to it, and the maps of
            trained residual networks, compared with those of flipped clips, lie at the mean rather
            than at the middle of the whole field).
        stride: Frames or pixels from one cell to the next.
        size: Number of cells.
        first, last: First and last frame or pixel that cell 0 sees, padding included.
    """

    start: float
    stride: int
    size: int
    first: int
    last: int

    @property
    def centres(self) -> np.ndarray:
        """Returns the centres of the cells, `[size]`."""
        return self.start + self.stride * np.arange(self.size)


Axes = tuple[Axis, ...]  # time, height, width
# Reach in cells, stride, and padding: "same" or "valid" as in TensorFlow, or (before, after).
Window = tuple[int, int, Union[str, tuple[int, int]]]


def receptive_field(backbone: keras.Model, size: Sequence[int]) -> Axes:
    """Returns the geometry of a backbone's feature map for one input size.

    Args:
        backbone: Functional model of one input `[B, T, H, W, C]` and one output `[B, t, h, w, D]`.
            Its layers are Keras's or define `windows` or `branches` (see docs/backbones.md).
        size: Size (T, H, W) of the input, on which the padding depends.

    Returns:
        The axes in time, height and width. What gates channels by the average of a whole image
        (squeeze and excitation) is left out.

    Raises:
        ValueError: If the receptive field of a layer is unknown.

    Examples:
        >>> receptive_field(i3d(), (64, 224, 224))[2]
        Axis(start=23.0, stride=32, size=7, first=-166, last=212)
    """
    return _through_model(backbone, _pixels(size))[id(backbone.output)]


def end_points(backbone: keras.Model, size: Sequence[int]) -> dict[str, Axes]:
    """Returns the geometry of all end points for one input size.

    Args:
        backbone: Backbone built with `all_end_points=True`, without a top.
        size: Size (T, H, W) of the input.

    Returns:
        The axes in time, height and width, by the name of the end point.

    Raises:
        ValueError: If the receptive field of a layer is unknown.

    Examples:
        >>> end_points(i3d(all_end_points=True), (64, 224, 224))["Conv3d_1a_7x7"][2]
        Axis(start=1.0, stride=2, size=112, first=-2, last=4)
    """
    axes = _through_model(backbone, _pixels(size))
    return {name: axes[id(tensor)] for name, tensor in backbone.output.items()}


def _pixels(size: Sequence[int]) -> Axes:
    return tuple(Axis(0.0, 1, length, 0, 0) for length in size)


def _through_model(model: keras.Model, axes: Axes) -> dict[int, Axes]:
    """Returns the axes of every tensor that has a place, by its `id`."""
    known, placeless = {id(model.input): axes}, set()
    for layer in model.layers:  # in the order of the computation
        for index, node in enumerate(layer.inbound_nodes):  # a layer may belong to several models
            # Unlike `get_input_at`, with the second operand of an operator.
            inputs = [id(tensor) for tensor in node.keras_inputs]
            if isinstance(layer, ImagesToFrames):
                inputs = inputs[:1]  # the second input, the clips, only gives B and T
            if isinstance(layer, _layers.InputLayer) or not {*known, *placeless} >= {*inputs}:
                continue
            places = [known[tensor] for tensor in inputs if tensor in known]
            output = id(layer.get_output_at(index))
            if places and not isinstance(layer, _GLOBAL):
                known[output] = _through_layer(layer, _merge(places))
            else:
                placeless.add(output)
    return known


def _through_layer(layer: keras.layers.Layer, axes: Axes) -> Axes:
    if callable(getattr(layer, "branches", None)):
        return _merge([_through_chain(branch, axes) for branch in layer.branches()])
    if isinstance(layer, keras.Model):
        return _through_model(layer, axes)[id(layer.output)]
    if isinstance(layer, _layers.TimeDistributed):
        return _through_layer(layer.layer, axes)
    windows = _windows(layer)
    kept = len(axes) - len(windows)  # layers of images leave the time as it is
    return (*axes[:kept], *(_window(axis, *window) for axis, window in zip(axes[kept:], windows)))


def _through_chain(layers: Sequence[keras.layers.Layer], axes: Axes) -> Axes:
    for layer in layers:
        axes = _through_layer(layer, axes)
    return axes


def _windows(layer: keras.layers.Layer) -> Sequence[Window]:
    """Returns the windows that a layer moves over the last axes of its input."""
    if callable(getattr(layer, "windows", None)):
        return layer.windows()
    if isinstance(layer, (*_POINTWISE, *_MERGING, *_FOLDING)) or _is_pointwise(layer):
        return []
    if isinstance(layer, (_layers.ZeroPadding2D, _layers.ZeroPadding3D)):
        return [(1, 1, padding) for padding in layer.padding]
    if isinstance(layer, _layers.Cropping2D):
        return [(1, 1, (-before, -behind)) for before, behind in layer.cropping]
    if isinstance(layer, _CONVOLUTIONS) and not isinstance(layer, _TRANSPOSED):
        reach = [1 + (k - 1) * d for k, d in zip(layer.kernel_size, layer.dilation_rate)]
    elif isinstance(layer, _POOLS):
        reach = layer.pool_size
    else:
        raise ValueError(
            "Expected a backbone of convolutions, pooling, layers that act on each position, and "
            "layers that define `windows` or `branches`. "
            f"Received one with the layer {layer.name!r} ({type(layer).__name__})."
        )
    return [(k, stride, layer.padding) for k, stride in zip(reach, layer.strides)]


def _is_pointwise(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer acts on each position, of those that their class does not tell."""
    if isinstance(layer, _layers.LayerNormalization):
        axis = [layer.axis] if isinstance(layer.axis, int) else [*layer.axis]
        return axis in ([-1], [3], [4])
    kind = type(layer).__name__
    if kind == "TFOpLambda":
        return layer.get_config()["function"] in _OPERATORS
    return kind in _POINTWISE_NAMES


def _merge(branches: Sequence[Axes]) -> Axes:
    """Joins branches with the same cells: a cell sees what it sees through any of them."""
    merged = []
    for axes in zip(*branches):
        starts, strides, sizes, firsts, lasts = zip(*axes)
        start = sum(starts) / len(starts)
        merged.append(Axis(start, strides[0], sizes[0], min(firsts), max(lasts)))
    return tuple(merged)


def _window(axis: Axis, reach: int, stride: int, padding: str | tuple[int, int]) -> Axis:
    """Returns the axis that a window, see `Window`, moved over another one gives."""
    if isinstance(padding, str):
        cells = -(-axis.size // stride)
        total = max((cells - 1) * stride + reach - axis.size, 0) if padding == "same" else 0
        padding = (total // 2, total - total // 2)
    before, behind = padding
    after = reach - 1 - before
    return Axis(
        start=axis.start + (after - before) / 2 * axis.stride,
        stride=axis.stride * stride,
        size=(before + axis.size + behind - reach) // stride + 1,
        first=axis.first - before * axis.stride,
        last=axis.last + after * axis.stride,
    )
