"""Two-stream I3D: appearance from RGB, motion from optical flow, joined at their ends.

The streams are trained apart; DeepMind's sample (github.com/deepmind/kinetics-i3d) predicts with
the sum of their logits. For a head of our own the two feature maps stand side by side.

Flow is stored as pixels 0..255 for displacements of -20..20 pixels a frame, u and v, and I3D scales
it as it does RGB: `pixels / 127.5 - 1`. A displacement of d pixels is then the d / 20 that the
published flow networks were trained on, and no motion is 127.5, which is 0 in the network. A byte
cannot hold that: a record has 128 there, which the network sees as 1/255 (0.08 pixels), no more
than what rounding to bytes does to any displacement. `read_array` gives floats and rounds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from aacf_tf.backbones.catalog import build_backbone
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from tensorflow import keras

CHANNELS = {"rgb": 3, "flow": 2}
# Interpolated or compressed values may pass the ends of [-1, 1] by rounding, not by more.
_TOLERANCE = 1e-3


def two_stream_i3d(
    include_top: bool = False, classes: int = 400, dropout: float = 0.0
) -> keras.Model:
    """Builds I3D for RGB and flow as one model.

    The streams are I3D models of their own, the layers `rgb_i3d` and `flow_i3d`; published weights
    go into each from a file of its own:

    >>> model = two_stream_i3d(include_top=True)
    >>> load_weights(model.get_layer("rgb_i3d"), "rgb_imagenet/model.ckpt")
    >>> load_weights(model.get_layer("flow_i3d"), "flow_imagenet/model.ckpt")
    >>> logits = model({"rgb": rgb, "flow": flow})

    Args:
        include_top: whether the streams predict classes.
        classes: number of classes of both tops.
        dropout: dropout of both tops.

    Returns:
        A model of `rgb` `[B, T, H, W, 3]` and `flow` `[B, T, H, W, 2]` of one size, both pixels
        0..255, uint8 or floating (flow as the module's docstring says). Without the top it returns
        `[B, t, h, w, 2048]` in the compute dtype, the 1024 channels of RGB first; with the top the
        sum of the two logits, float32 `[B, classes]`, whose softmax is the joint prediction.
    """
    return two_stream("i3d", include_top=include_top, classes=classes, dropout=dropout)


def two_stream(backbone: str, **options: Any) -> keras.Model:
    """The same for any backbone that takes flow, that is, with an option `channels`.

    Args:
        backbone: one of `aacf_tf.backbones.catalog.BACKBONES`.
        **options: of its function, for both streams.

    Raises:
        UsageError: the backbone has no option `channels`, or refuses another one.
    """
    from tensorflow import keras

    pixels, ends = {}, []
    for stream, channels in CHANNELS.items():
        network = build_backbone(backbone, **options, channels=channels)
        # The same layers under a name of their own; two of one name cannot stand in a model.
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
    """Name -> network of each stream, RGB first; of a backbone of one stream itself."""
    if not isinstance(backbone.input, dict):
        return {"": backbone}
    networks = {layer.name.partition("_")[0]: layer for layer in backbone.layers}
    return {stream: networks[stream] for stream in CHANNELS}


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Gives a backbone the values of another one of the same kind, whatever is trainable in it."""
    streams = streams_of(source)
    for name, stream in streams_of(target).items():
        # By name: the order of Keras depends on what is trainable. Both streams have the same.
        values = {variable.name: variable for variable in streams[name].variables}
        for variable in stream.variables:
            variable.assign(values[variable.name])


def read_array(path: StrPath, stream: str) -> np.ndarray:
    """Reads one clip as DeepMind's sample stores it, such as `v_CricketShot_g04_c01_rgb.npy`.

    Args:
        path: a `.npy` file: floats in [-1, 1], `[1, T, H, W, C]` or `[T, H, W, C]`.
        stream: `rgb` (C = 3) or `flow` (C = 2).

    Returns:
        float32 `[1, T, H, W, C]`, pixels 0..255.

    Raises:
        UsageError: the file cannot be read, or shape, type or values are others.
    """
    channels = CHANNELS[stream]
    try:
        # A pickle could execute anything; arrays of numbers need none.
        values = np.load(str(path), allow_pickle=False)
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
