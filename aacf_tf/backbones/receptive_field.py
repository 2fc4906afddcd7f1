"""The receptive fields of the cells of a feature map, computed from the layers of a backbone.

With SAME padding a stride-2 layer pads more behind than in front, and on even sizes otherwise than
on odd ones. So a cell's centre is not that of its stride box: I3D's first cell at 224 pixels is
centred at pixel 23, its box at 15.5. Networks from PyTorch pad equally on both sides:
3D-ResNet-34's first cell is centred at pixel 0, DenseNet-161's, whose average pools have no
padding, at 14.

Keras's own layers are known here. Any other layer says itself what it sees, by one of:

- `window(size)`: for each of (time, height, width) a tuple (cells seen before the first one, cells
  seen after it, stride, cells that come out), `size` being the cells that go in. Of several inputs
  only the first counts. A layer that acts on each position returns `(0, 0, 1, cells)` for each.
- `branches`: sequences of layers that its input passes side by side, to be joined.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
import tensorflow as tf
from tensorflow import keras

_layers = keras.layers
_POINTWISE = (
    _layers.Activation,
    _layers.BatchNormalization,
    _layers.Dropout,
    _layers.ReLU,
    _layers.Rescaling,
)
_MERGING = (_layers.Add, _layers.Concatenate)
_CONVOLUTIONS = (_layers.Conv2D, _layers.Conv3D)
_TRANSPOSED = (_layers.Conv2DTranspose, _layers.Conv3DTranspose)
_POOLS = (
    _layers.AveragePooling2D,
    _layers.AveragePooling3D,
    _layers.MaxPooling2D,
    _layers.MaxPooling3D,
)


class Axis(NamedTuple):
    """One axis of a feature map. Positions are indices of frames or pixels, centred at integers.

    Attributes:
        start: Centre of cell 0; that of cell i lies at `start + i * stride`. It is the middle of
            what the cell sees, and the mean of the centres if branches meet (our choice: a shortcut
            of stride 2 is centred before the convolutions parallel to it, and both count; maps of
            trained residual networks, compared with those of flipped clips, lie there and not in
            the middle of all that is seen).
        stride: Positions from one cell to the next.
        size: Number of cells.
        first, last: First and last position that cell 0 sees, padding included.
    """

    start: float
    stride: int
    size: int
    first: int
    last: int

    @property
    def centres(self) -> np.ndarray:
        """Centres of the cells, `[size]`."""
        return self.start + self.stride * np.arange(self.size)


Axes = tuple[Axis, ...]  # time, height, width


def receptive_field(backbone: keras.Model, size: Sequence[int]) -> Axes:
    """Returns the geometry of a backbone's feature map for one size of input.

    Args:
        backbone: Functional model of one input `[B, T, H, W, C]` and one output
            `[B, t, h, w, D]`.
        size: Size of the input (T, H, W), on which padding depends.

    Returns:
        The axes (time, height, width).

    Raises:
        ValueError: The backbone has a layer that is not known here.

    Example:
    >>> receptive_field(i3d(), (64, 224, 224))[2]
    Axis(start=23.0, stride=32, size=7, first=-166, last=212)
    """
    return _through_model(backbone, _pixels(size))[id(backbone.output)]


def end_points(backbone: keras.Model, size: Sequence[int]) -> dict[str, Axes]:
    """Returns the geometry of all end points.

    Args:
        backbone: Backbone built with `all_end_points=True`, without a top.
        size: Size of the input (T, H, W).

    Returns:
        Name of the end point -> the axes (time, height, width).

    Raises:
        ValueError: The backbone has a layer that is not known here.

    Example:
    >>> end_points(i3d(all_end_points=True), (64, 224, 224))["Conv3d_1a_7x7"][2]
    Axis(start=1.0, stride=2, size=112, first=-2, last=4)
    """
    found = _through_model(backbone, _pixels(size))
    return {name: found[id(tensor)] for name, tensor in backbone.output.items()}


def _pixels(size: Sequence[int]) -> Axes:
    return tuple(Axis(0.0, 1, length, 0, 0) for length in size)


def _through_model(model: keras.Model, axes: Axes) -> dict[int, Axes]:
    """Returns the axes of every tensor, by its `id`."""
    found = {id(model.input): axes}
    for layer in model.layers:  # in the order of the computation
        for node in range(len(layer.inbound_nodes)):  # a layer may be part of several models
            inputs = [id(tensor) for tensor in tf.nest.flatten(layer.get_input_at(node))]
            if hasattr(layer, "window"):
                inputs = inputs[:1]
            if not isinstance(layer, _layers.InputLayer) and found.keys() >= set(inputs):
                merged = _merge([found[tensor] for tensor in inputs])
                found[id(layer.get_output_at(node))] = _through_layer(layer, merged)
    return found


def _through_layer(layer: Any, axes: Axes) -> Axes:
    if isinstance(layer, (*_POINTWISE, *_MERGING)):
        return axes
    if isinstance(layer, keras.Model):
        return _through_model(layer, axes)[id(layer.output)]
    if hasattr(layer, "window"):
        windows = layer.window([axis.size for axis in axes])
        return tuple(_extend(axis, *window) for axis, window in zip(axes, windows))
    if hasattr(layer, "branches"):
        return _merge([_through_chain(branch, axes) for branch in layer.branches])
    if isinstance(layer, (_layers.ZeroPadding2D, _layers.ZeroPadding3D)):
        return _of_last(axes, _pad, layer.padding)
    if isinstance(layer, _CONVOLUTIONS) and not isinstance(layer, _TRANSPOSED):
        reach = [1 + (k - 1) * d for k, d in zip(layer.kernel_size, layer.dilation_rate)]
    elif isinstance(layer, _POOLS):
        reach = layer.pool_size
    else:
        raise ValueError(
            "Expected a backbone of convolutions, pooling, layers that act on each position, and "
            "layers with a method `window` (see aacf_tf.backbones.receptive_field). "
            f"Received one with the layer {layer.name!r} ({type(layer).__name__})."
        )
    same = [layer.padding == "same"] * len(reach)
    return _of_last(axes, _window, reach, layer.strides, same)


def _through_chain(layers: Sequence[keras.layers.Layer], axes: Axes) -> Axes:
    for layer in layers:
        axes = _through_layer(layer, axes)
    return axes


def _merge(branches: Sequence[Axes]) -> Axes:
    """Merges branches with the same cells: a cell sees what it sees through any of them."""
    merged = []
    for axes in zip(*branches):
        starts, strides, sizes, firsts, lasts = zip(*axes)
        start = sum(starts) / len(starts)
        merged.append(Axis(start, strides[0], sizes[0], min(firsts), max(lasts)))
    return tuple(merged)


def _of_last(axes: Axes, change: Callable[..., Axis], *arguments: Sequence) -> Axes:
    """Changes each axis by its arguments; two of them, for images, leave time unchanged."""
    changed = [change(*values) for values in zip(axes[-len(arguments[0]) :], *arguments)]
    return (*axes[: -len(changed)], *changed)


def _pad(axis: Axis, padding: tuple[int, int]) -> Axis:
    """Adds cells before and after, which see positions outside of the clip."""
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
    """Moves a window of `reach` cells by `stride`, padded as in TensorFlow."""
    if same:
        size = -(-axis.size // stride)
        before = max((size - 1) * stride + reach - axis.size, 0) // 2
    else:
        size, before = (axis.size - reach) // stride + 1, 0
    return _extend(axis, before, reach - 1 - before, stride, size)


def _extend(axis: Axis, before: int, after: int, stride: int, size: int) -> Axis:
    """Returns an axis whose cell 0 sees so many old cells before and after the first one."""
    return Axis(
        start=axis.start + (after - before) / 2 * axis.stride,
        stride=axis.stride * stride,
        size=size,
        first=axis.first - before * axis.stride,
        last=axis.last + after * axis.stride,
    )
