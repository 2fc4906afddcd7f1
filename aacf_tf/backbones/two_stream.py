"""Two-stream I3D: joins an RGB network for appearance and a flow network for motion.

The streams are trained separately; DeepMind's sample (github.com/deepmind/kinetics-i3d) predicts
with the sum of their logits. For the heads of this package the two feature maps are concatenated.

Flow is stored as pixels 0..255 for displacements of -20..20 pixels a frame, u and v, and I3D scales
it like RGB: `pixels / 127.5 - 1`. A displacement of d pixels becomes d / 20, as in the training of
the published flow networks, and no motion is 127.5, which the network sees as 0. A byte cannot hold
127.5: records hold 128, which the network sees as 1/255 (0.08 pixels), no more than the rounding
error of any other displacement. `read_array` returns floats, without rounding.
"""

from __future__ import annotations

from collections import defaultdict
from os import PathLike
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from aacf_tf.backbones.catalog import build_backbone
from tfrecords.records.names import STREAMS
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from tensorflow import keras

CHANNELS = {stream.name: stream.channels for stream in STREAMS}
# Rounding may carry interpolated or compressed values this far beyond [-1, 1].
_TOLERANCE = 1e-3


def two_stream_i3d(
    include_top: bool = False, classes: int = 400, dropout: float = 0.0
) -> keras.Model:
    """Builds I3D for RGB and flow as one model.

    Each stream is an I3D model, the layers `rgb_i3d` and `flow_i3d`; published weights are loaded
    into each from a separate file:

    >>> model = two_stream_i3d(include_top=True)
    >>> load_weights(model.get_layer("rgb_i3d"), "rgb_imagenet/model.ckpt")
    >>> load_weights(model.get_layer("flow_i3d"), "flow_imagenet/model.ckpt")
    >>> logits = model({"rgb": rgb, "flow": flow})

    Args:
        include_top: Whether the streams predict classes; False by default.
        classes: Number of classes of both tops; 400 by default.
        dropout: Dropout rate of both tops; 0 by default.

    Returns:
        A model of `rgb` `[B, T, H, W, 3]` and `flow` `[B, T, H, W, 2]` of the same size, both
        pixels 0..255, uint8 or floating (flow as described above). Without the top it returns
        `[B, t, h, w, 2048]` in the compute dtype, the 1024 channels of RGB first; with the top the
        sum of the two logits, float32 `[B, classes]`, whose softmax is the joint prediction.
    """
    return two_stream("i3d", include_top=include_top, classes=classes, dropout=dropout)


def two_stream(backbone: str, **options: Any) -> keras.Model:
    """Builds two streams of any backbone that takes flow, that is, has an option `channels`.

    Args:
        backbone: Name of the backbone, one of `aacf_tf.backbones.BACKBONES`.
        **options: Keyword arguments of its function, for both streams.

    Raises:
        UsageError: If the backbone has no option `channels`, or refuses an option.
    """
    from tensorflow import keras

    pixels, ends = {}, []
    for stream, channels in CHANNELS.items():
        network = build_backbone(backbone, **options, channels=channels)
        # Renamed, since the layers of a model need distinct names.
        network = keras.Model(network.input, network.output, name=f"{stream}_{backbone}")
        pixels[stream] = keras.Input((None, None, None, channels), name=stream)
        ends.append(network(pixels[stream]))
    if isinstance(ends[0], dict):
        raise UsageError("backbone_options: expected no all_end_points for two streams.")
    if len(ends[0].shape) == 2:
        joined = keras.layers.Add(dtype="float32", name="logits")(ends)
    else:
        joined = keras.layers.Concatenate(name="features")(ends)
    return keras.Model(pixels, joined, name=f"two_stream_{backbone}")


def streams_of(backbone: keras.Model) -> dict[str, keras.Model]:
    """Returns the network of each stream by name, RGB first; a lone stream has the name ""."""
    if not isinstance(backbone.input, dict):
        return {"": backbone}
    networks = {layer.name.partition("_")[0]: layer for layer in backbone.layers}
    return {stream: networks[stream] for stream in CHANNELS}


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of a backbone to another of the same kind, whatever is trainable."""
    streams = streams_of(source)
    for name, stream in streams_of(target).items():
        # By name: Keras's order depends on what is trainable. The streams share their names; what
        # has one name within a stream is of one kind, and so in order.
        values = defaultdict(list)
        for variable in streams[name].variables:
            values[variable.name].append(variable)
        for variable in stream.variables:
            variable.assign(values[variable.name].pop(0))


def read_array(path: str | PathLike[str], stream: str) -> np.ndarray:
    """Reads one clip as DeepMind's sample stores it, such as `v_CricketShot_g04_c01_rgb.npy`.

    Args:
        path: Path of a `.npy` file of floats in [-1, 1], `[1, T, H, W, C]` or `[T, H, W, C]`.
        stream: Name of the stream: `rgb` (C = 3) or `flow` (C = 2).

    Returns:
        float32 `[1, T, H, W, C]`, pixels 0..255.

    Raises:
        UsageError: If the file cannot be read or has another shape, dtype or range.
    """
    channels = CHANNELS[stream]
    try:
        # Unpickling could execute code, and arrays of numbers do not need it.
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UsageError(f"Expected a .npy array in {path}, received {error}.") from error
    if not isinstance(values, np.ndarray):
        raise UsageError(f"Expected one .npy array in {path}, received an archive of arrays.")
    shape, kind = values.shape, values.dtype
    if values.ndim == 4:
        values = values[None]
    if values.ndim != 5 or values.shape[0] != 1 or values.shape[-1] != channels or not values.size:
        raise UsageError(
            f"Expected an array [1, frames, height, width, {channels}] of {stream} in {path}, "
            f"received the shape {list(shape)}."
        )
    if not np.issubdtype(kind, np.floating):
        raise UsageError(f"Expected floats in [-1, 1] in {path}, received the type {kind}.")
    low, high = float(values.min()), float(values.max())
    if not -1 - _TOLERANCE <= low <= high <= 1 + _TOLERANCE:  # nor NaN
        raise UsageError(f"Expected values in [-1, 1] in {path}, received {low:g} to {high:g}.")
    return (values.astype(np.float32) + 1) * 127.5
