"""Exports the completion network as a SavedModel for pictures and holes of any size.

    DIR/<version>/saved_model.pb, variables/
    DIR/<version>/assets/model.json          sizes, settings, versions

    signature        input                                              output
    serving_default  image uint8 [batch, H, W, 3], mask uint8           image uint8
                     [batch, H, W], 0: known, else a hole               [batch, H, W, 3]

Pixels outside the holes are returned bit for bit. Inside the graph:
- Only the holes and their surroundings within the network's reach go through the network.
- A hole wider than any in training is completed on a coarser scale, halved as often as necessary;
  so is one whose surroundings would fill the memory.
- Sides that are no multiple of the network's strides are padded with their last pixels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable

import tensorflow as tf

from aacf_tf.completion.networks import REACH, STRIDE, Completer, halve
from aacf_tf.completion.options import Settings
from aacf_tf.serving.export import write_saved_model

MAX_PIXELS = 1 << 20  # per call of the network: 256 MiB per feature map of 64 channels


def export(
    completer: Completer, settings: Settings, facts: dict[str, Any], directory: Path
) -> Path:
    """Writes the next version of the SavedModel atomically.

    Args:
        completer: Completer in float32.
        settings: Settings of its training.
        facts: Further content of model.json.
        directory: Directory of the versions, such as WORKDIR/export/completion.

    Returns:
        The directory of the version: the highest existing one plus 1.
    """
    widest = widest_hole(settings)
    description = {
        "kind": "completion",
        "scaling": "inside: pixels 0..255 go in",
        "strides": STRIDE,  # pixels
        "widest_hole": widest,  # pixels; wider ones are completed on a coarser scale
        "settings": settings.to_dict(),
        **facts,
    }
    signatures = {"serving_default": make_signature(completer, widest)}
    return write_saved_model(directory, completer.network.variables, signatures, description)


def widest_hole(settings: Settings) -> int:
    """Returns the longest side of a single hole in training, in pixels."""
    return math.ceil(settings.hole_sides[1] * settings.size)


def make_signature(completer: Completer, widest: int) -> Callable:
    """Returns the tf.function of `serving_default`; see the module's docstring."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8, name="image"),
            tf.TensorSpec([None, None, None], tf.uint8, name="mask"),
        ]
    )
    def serve(image: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.assert_equal(
            tf.shape(image)[:3], tf.shape(mask), "Expected a mask of the image's size."
        )

        def serve_one(inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            pixels, hole = inputs[0], inputs[1] > 0
            return tf.cond(
                tf.reduce_any(hole),
                lambda: tf.where(hole[..., None], _fill(completer, pixels, hole, widest), pixels),
                lambda: pixels,
            )

        # One by one: each picture has its own scale and its own part that is completed.
        spec = tf.TensorSpec([None, None, 3], tf.uint8)
        return {"image": tf.map_fn(serve_one, (image, mask), fn_output_signature=spec)}

    return serve


def _fill(completer: Completer, pixels: tf.Tensor, hole: tf.Tensor, widest: int) -> tf.Tensor:
    """Returns uint8 [H, W, 3], of which only the hole counts, for a nonempty hole bool [H, W]."""
    image = tf.cast(pixels, tf.float32)[None] / 255
    known = 1 - tf.cast(hole, tf.float32)[None, ..., None]

    def too_large(image: tf.Tensor, known: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        top, bottom, left, right = _part(known)
        return holds_square(known, widest + 1) | ((bottom - top) * (right - left) > MAX_PIXELS)

    anything = [tf.TensorShape([1, None, None, channels]) for channels in (3, 1)]
    image, known, scale = tf.while_loop(
        too_large,
        lambda image, known, scale: (*halve(image, known), 2 * scale),
        (image, known, tf.constant(1)),
        shape_invariants=(*anything, tf.TensorShape([])),
    )
    # A thin hole may be closed by now: its coarse pixels are the means of their neighbors.
    image = tf.cond(
        tf.reduce_all(known > 0), lambda: image, lambda: _paint(completer, image, known)
    )
    height, width = tf.unstack(tf.shape(image)[1:3])
    enlarged = tf.image.resize(image, [scale * height, scale * width])[0]
    enlarged = enlarged[: tf.shape(pixels)[0], : tf.shape(pixels)[1]]
    return tf.cast(tf.round(255 * tf.clip_by_value(enlarged, 0, 1)), tf.uint8)


def _paint(completer: Completer, image: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Returns the image with its holes completed; only the part that they need is computed."""
    top, bottom, left, right = _part(known)
    # Beyond the border the last row and column are repeated.
    rows = tf.minimum(_up(tf.range(top, bottom)), tf.shape(image)[1] - 1)
    columns = tf.minimum(_up(tf.range(left, right)), tf.shape(image)[2] - 1)
    part, part_known = (
        tf.gather(tf.gather(whole, rows, axis=1), columns, axis=2) for whole in (image, known)
    )
    painted = completer(part, 1 - part_known)[:, : bottom - top, : right - left]
    around = tf.shape(image)
    painted = tf.pad(
        painted, [[0, 0], [top, around[1] - bottom], [left, around[2] - right], [0, 0]]
    )
    return tf.where(known > 0, image, painted)


def _up(indices: tf.Tensor) -> tf.Tensor:
    """Extends a range of indices to a multiple of the strides."""
    length = tf.size(indices)
    return indices[0] + tf.range(-(-length // STRIDE) * STRIDE)


def _part(known: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Returns top, bottom, left and right (exclusive) of the holes with the network's reach.

    Top and left are multiples of the strides, so that the network sees the part in the same phase
    as the whole image. `known` is [1, H, W, 1], 0 in the hole; without one the part is empty.
    """
    hole = known[0, ..., 0] == 0
    limits = []
    for axis, length in enumerate(tf.unstack(tf.shape(hole))):
        indices = tf.cast(tf.where(tf.reduce_any(hole, 1 - axis))[:, 0], tf.int32)
        first = tf.reduce_min(indices) // STRIDE * STRIDE - REACH
        last = (tf.reduce_max(indices) // STRIDE + 1) * STRIDE + REACH
        exists = tf.size(indices) > 0
        limits += [
            tf.where(exists, tf.maximum(first, 0), 0),
            tf.where(exists, tf.minimum(last, length), 0),
        ]
    return tuple(limits)


def holds_square(known: tf.Tensor, side: int) -> tf.Tensor:
    """Returns whether a square of `side` pixels fits into a hole, a bool scalar.

    Args:
        known: Map of the known pixels, float32 [1, H, W, 1], 0 in the hole, else 1.
        side: Side of the square, pixels.
    """
    sums = tf.cast(known[0, ..., 0] > 0, tf.int32)
    for axis, front in ((0, [[1, 0], [0, 0]]), (1, [[0, 0], [1, 0]])):
        total = tf.cumsum(tf.pad(sums, front), axis)
        length = tf.shape(total)[axis]
        later = tf.range(tf.minimum(side, length), length)
        sums = tf.gather(total, later, axis=axis) - tf.gather(total, later - side, axis=axis)
    return tf.reduce_any(sums == 0)
