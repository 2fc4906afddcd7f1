"""The exported completion network: a SavedModel for pictures and holes of any size.

    DIR/<version>/saved_model.pb, variables/
    DIR/<version>/assets/model.json          sizes, settings, versions

    signature        input                                              output
    serving_default  image uint8 [batch, H, W, 3], mask uint8           image uint8
                     [batch, H, W], 0: known, else a hole               [batch, H, W, 3]

Pixels outside the holes come back bit for bit. What is inside:
- Only the part of a picture that the holes and the network's reach take up goes through it.
- A hole wider than any it was trained on is completed on a coarser scale, half the size as often as
  it takes; so is one whose part of the picture would fill the memory.
- Sides that are no multiple of the network's strides are continued by their last pixels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable

import tensorflow as tf

from aacf_tf.completion import filling
from aacf_tf.completion.networks import REACH, STRIDE, Completer
from aacf_tf.completion.options import Settings
from aacf_tf.serving.export import write_saved_model

MAX_PIXELS = 1 << 20  # that go through the network at once: 256 MiB a feature map of 64 channels


def export(
    completer: Completer, settings: Settings, facts: dict[str, Any], directory: Path
) -> Path:
    """Writes the next version of the SavedModel, whole or not at all.

    Args:
        completer: in float32.
        settings: it was trained with.
        facts: noted in model.json beside them.
        directory: of the versions, such as WORKDIR/export/completion.

    Returns:
        the directory of the version: the highest that was there, plus 1.
    """
    widest = widest_hole(settings)
    description = {
        "kind": "completion",
        "scaling": "inside: pixels 0..255 go in",
        "strides": STRIDE,  # pixels
        "widest_hole": widest,  # pixels: a wider one is completed on a coarser scale
        "settings": settings.to_dict(),
        **facts,
    }
    signatures = {"serving_default": make_signature(completer, widest)}
    return write_saved_model(directory, completer.network.variables, signatures, description)


def widest_hole(settings: Settings) -> int:
    """Pixels: the longest side of a hole in training, where it need not be a union of several."""
    return math.ceil(settings.hole_sides[1] * settings.size)


def make_signature(completer: Completer, widest: int) -> Callable:
    """The tf.function of `serving_default`; see the module's docstring."""

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

        # One by one: each has its own scale and its own part that goes through the network.
        spec = tf.TensorSpec([None, None, 3], tf.uint8)
        return {"image": tf.map_fn(serve_one, (image, mask), fn_output_signature=spec)}

    return serve


def _fill(completer: Completer, pixels: tf.Tensor, hole: tf.Tensor, widest: int) -> tf.Tensor:
    """uint8 [H, W, 3], bool [H, W], somewhere True -> uint8 [H, W, 3], of which the hole counts."""
    image = tf.cast(pixels, tf.float32)[None] / 255
    known = 1 - tf.cast(hole, tf.float32)[None, ..., None]

    def too_large(image: tf.Tensor, known: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        top, bottom, left, right = _part(known)
        return holds_square(known, widest + 1) | ((bottom - top) * (right - left) > MAX_PIXELS)

    anything = [tf.TensorShape([1, None, None, channels]) for channels in (3, 1)]
    image, known, scale = tf.while_loop(
        too_large,
        lambda image, known, scale: (*filling.halve(image, known), 2 * scale),
        (image, known, tf.constant(1)),
        shape_invariants=(*anything, tf.TensorShape([])),
    )
    # A thin hole may be gone by now: its coarse pixels are the means of what is beside it.
    image = tf.cond(
        tf.reduce_all(known > 0), lambda: image, lambda: _paint(completer, image, known)
    )
    height, width = tf.unstack(tf.shape(image)[1:3])
    enlarged = tf.image.resize(image, [scale * height, scale * width])[0]
    enlarged = enlarged[: tf.shape(pixels)[0], : tf.shape(pixels)[1]]
    return tf.cast(tf.round(255 * tf.clip_by_value(enlarged, 0, 1)), tf.uint8)


def _paint(completer: Completer, image: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """The image with its holes completed; only the part that they need is looked at."""
    top, bottom, left, right = _part(known)
    # Beyond the border the last row and column, over and over.
    rows = tf.minimum(_up(tf.range(top, bottom)), tf.shape(image)[1] - 1)
    columns = tf.minimum(_up(tf.range(left, right)), tf.shape(image)[2] - 1)
    part, there = (
        tf.gather(tf.gather(whole, rows, axis=1), columns, axis=2) for whole in (image, known)
    )
    painted = completer(part, 1 - there)[:, : bottom - top, : right - left]
    around = tf.shape(image)
    painted = tf.pad(
        painted, [[0, 0], [top, around[1] - bottom], [left, around[2] - right], [0, 0]]
    )
    return tf.where(known > 0, image, painted)


def _up(places: tf.Tensor) -> tf.Tensor:
    """Goes on counting, to a number of places that the strides divide."""
    length = tf.size(places)
    return places[0] + tf.range(-(-length // STRIDE) * STRIDE)


def _part(known: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Top, bottom, left, right (exclusive) of the holes' surroundings, as far as the reach goes.

    Top and left are multiples of the strides, so that the network sees the part in the same phase
    as the whole. [1, H, W, 1], 0 in the hole; without one the part is empty.
    """
    hole = known[0, ..., 0] == 0
    limits = []
    for axis, length in enumerate(tf.unstack(tf.shape(hole))):
        places = tf.cast(tf.where(tf.reduce_any(hole, 1 - axis))[:, 0], tf.int32)
        first = tf.reduce_min(places) // STRIDE * STRIDE - REACH
        last = (tf.reduce_max(places) // STRIDE + 1) * STRIDE + REACH
        there = tf.size(places) > 0
        limits += [
            tf.where(there, tf.maximum(first, 0), 0),
            tf.where(there, tf.minimum(last, length), 0),
        ]
    return tuple(limits)


def holds_square(known: tf.Tensor, side: int) -> tf.Tensor:
    """Whether a square of `side` pixels finds room in a hole: bool scalar.

    Args:
        known: float32 [1, H, W, 1], 0 in the hole, else 1.
        side: pixels.
    """
    sums = tf.cast(known[0, ..., 0] > 0, tf.int32)
    for axis, front in ((0, [[1, 0], [0, 0]]), (1, [[0, 0], [1, 0]])):
        total = tf.cumsum(tf.pad(sums, front), axis)
        length = tf.shape(total)[axis]
        later = tf.range(tf.minimum(side, length), length)
        sums = tf.gather(total, later, axis=axis) - tf.gather(total, later - side, axis=axis)
    return tf.reduce_any(sums == 0)
