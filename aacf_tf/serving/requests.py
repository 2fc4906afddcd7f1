"""Checks what a client sends, in the graph of the exported model.

TensorFlow trusts the shapes that a signature promises: strings `[2, 18]` would be answered by a
model of 12 frames as three clips. It also decodes a picture of any size that its header claims.
"""

from __future__ import annotations

from typing import Dict, Mapping, Sequence

import tensorflow as tf

from tfrecords.media.images import MAX_PIXELS

Tensors = Dict[str, tf.Tensor]

LARGE = 1 << 22  # pixels; ten such pictures are decoded and resized in 600 MB, one of 8192 x 8192
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_SIDES = 16  # bytes before width and height in a PNG, each of 4 bytes
_HEADER = 24  # bytes with them


def check_shapes(inputs: Tensors, specs: Mapping[str, tf.TensorSpec]) -> Tensors:
    """Refuses inputs of other shapes than promised, or without a clip or a pixel.

    Args:
        inputs: Name to tensor.
        specs: Name to shape, its sides None where any from 1 on will do.

    Returns:
        The inputs, which depend on the checks.
    """
    checks, batches = [], []
    for name, spec in specs.items():
        # Hides the promised shape, from which the checks would be optimized away.
        hidden = tf.raw_ops.PlaceholderWithDefault(input=inputs[name], shape=tf.TensorShape(None))
        found, rank = tf.shape(hidden), len(spec.shape)
        wanted = [-1 if side is None else side for side in spec.shape]
        sides = tf.pad(found, [[0, rank]])[:rank]
        good = tf.equal(sides, wanted) | (tf.equal(wanted, -1) & (sides > 0))
        names = ("batch", "frames", "height", "width", "channels")
        shape = ", ".join(n if side is None else str(side) for n, side in zip(names, spec.shape))
        message = f"Expected {name} of shape [{shape}], none of them 0, received the shape"
        fits = tf.equal(tf.size(found), rank) & tf.reduce_all(good)
        checks.append(tf.debugging.Assert(fits, [message, found], summarize=8))
        batches.append(sides[0])
    message = f"Expected as many clips of {' and '.join(specs)}, received"
    alike = tf.equal(tf.reduce_min(batches), tf.reduce_max(batches))
    checks.append(tf.debugging.Assert(alike, [message, *batches]))
    with tf.control_dependencies(checks):
        return {name: tf.identity(value) for name, value in inputs.items()}


def check_record(fps: tf.Tensor, streams: Sequence[tf.Tensor]) -> tf.Tensor:
    """Refuses a record without frames or a frame rate, or of streams that differ in length.

    Args:
        fps: Frame rate, float32 scalar.
        streams: Encoded frames of each stream, string `[T]`.

    Returns:
        Number of frames T, int32 scalar, which depends on the checks.
    """
    lengths = tf.stack([tf.size(frames) for frames in streams])
    alike = (tf.reduce_min(lengths) > 0) & tf.reduce_all(tf.equal(lengths, lengths[0]))
    received = ["received frames", lengths, "frames a second", fps]
    message = "Expected records of one frame or more, as many in each stream, with a frame rate,"
    usable = alike & (fps > 0) & (fps < 1e6)
    with tf.control_dependencies([tf.debugging.Assert(usable, [message, *received])]):
        return tf.identity(lengths[0])


def check_pictures(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Refuses pictures that are too large or neither JPEG nor PNG, by their headers.

    Args:
        encoded: Pictures, string `[n]`.

    Returns:
        The pictures, which depend on the check, and whether one is so large that it should be
        decoded alone, bool scalar.
    """
    pixels = tf.map_fn(_count_pixels, encoded, fn_output_signature=tf.int64)
    known = tf.debugging.Assert(
        tf.reduce_all(pixels >= 0), ["Expected JPEG or PNG, received a picture of another format"]
    )
    limit = f"Expected pictures of 1 to {MAX_PIXELS} pixels, received one of"
    good = tf.reduce_all((pixels > 0) & (pixels <= MAX_PIXELS))
    worst = tf.where(tf.reduce_all(pixels > 0), tf.reduce_max(pixels), tf.reduce_min(pixels))
    with tf.control_dependencies([known]):
        small = tf.debugging.Assert(good, [limit, worst])
    with tf.control_dependencies([small]):
        return tf.identity(encoded), tf.reduce_max(pixels) > LARGE


def _count_pixels(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the pixels that a picture's header claims, int64; -1: neither JPEG nor PNG."""

    def png() -> tf.Tensor:
        padded = tf.strings.join([encoded, b"\0" * _HEADER])
        sides = tf.strings.substr(padded, _SIDES, _HEADER - _SIDES)
        sides = tf.cast(tf.io.decode_raw(sides, tf.int32, little_endian=False), tf.int64)
        return tf.maximum(sides[0], 0) * tf.maximum(sides[1], 0)

    def jpeg() -> tf.Tensor:
        return tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64))

    def begins(magic: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(encoded, 0, len(magic)), magic)

    other = tf.constant(-1, tf.int64)
    return tf.cond(begins(_PNG), png, lambda: tf.cond(begins(_JPEG), jpeg, lambda: other))
