"""Decodes, resizes, crops and flips frames, alike in training, test and the SavedModel.

Only operations of core TensorFlow, on shapes that may be known only at run time.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from tfrecords.media.flow import NO_MOTION
from tfrecords.records.names import FLOW, MAX_PIXELS, RGB

PNG = int.from_bytes(b"\x89PNG", "big", signed=True)
RESIZES = ("stretch", "short_side", "whole")
MAX_SCALED = 1 << 22  # pixels of a frame whose shorter side is scaled to the network's


class Window(NamedTuple):
    """A crop: its size in pixels, and its position as a share of the free room.

    `y` and `x` are scalars in [0, 1): 0 is the top or left edge, and all offsets are equally wide.
    """

    height: int
    width: int
    y: tf.Tensor
    x: tf.Tensor


def crop_size(size: Tuple[int, int], fraction: float) -> Tuple[int, int]:
    """Returns the crop of `fraction` of (height, width), to the nearest multiple of 8 pixels.

    (72, 96) with 0.875 gives (64, 80). At 1.0 it is the size itself.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"Expected crop in (0, 1]. Received crop={fraction}.")
    if fraction == 1:
        return size
    height, width = (min(side, max(8, 8 * round(side * fraction / 8))) for side in size)
    return height, width


def preprocess(
    frames: tf.Tensor,
    size: Tuple[int, int],
    resize: str = "stretch",
    crop: Optional[Window] = None,
    flip: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """Resizes frames; in training also crops and flips them, all frames alike.

    Args:
        frames: Pixels 0..255, uint8 [..., H, W, C]; any part of the shape but C may be dynamic.
        size: (height, width) in pixels.
        resize: "stretch" ignores the aspect ratio; "short_side" keeps it: scales until `size` is
            covered, then cuts the centre; "whole" does the same without cutting: for photographs,
            the longer side of which is then free. All average over what they shrink (antialiased
            bilinear) and leave frames that fit already unchanged.
        crop: Window to cut after resizing; None: the whole frame.
        flip: Whether to mirror left and right, bool scalar; None: never.

    Returns:
        uint8 [..., h, w, C]; h, w are those of `crop`, or of `size` ("whole": known at run time).

    Raises:
        ValueError: `resize` is not known.
        tf.errors.InvalidArgumentError: Scaled with its aspect ratio kept, a frame would have more
            than `MAX_SCALED` pixels.
    """
    if resize not in RESIZES:
        raise ValueError(f"Expected resize to be one of {RESIZES}. Received resize={resize!r}.")
    frames = tf.convert_to_tensor(frames)
    shape, channels = tf.shape(frames), frames.shape[-1]
    images = tf.reshape(frames, tf.concat([[-1], shape[-3:]], axis=0))
    images.set_shape([None, *frames.shape[-3:]])
    images = _fit(images, (size[0], size[1]), resize)
    height, width = (None, None) if resize == "whole" else size
    if crop is not None:
        height, width = crop.height, crop.width
    (images,) = crop_and_flip([images], crop, flip)
    sides = tf.shape(images)[1:3] if height is None else [height, width]
    result = tf.reshape(images, tf.concat([shape[:-3], sides, [channels]], axis=0))
    return tf.ensure_shape(result, [*frames.shape[:-3], height, width, channels])


def crop_and_flip(
    stacks: Sequence[tf.Tensor], crop: Optional[Window], flip: Optional[tf.Tensor]
) -> List[tf.Tensor]:
    """Crops and flips stacks of images alike.

    Args:
        stacks: Stacks of images, each [N, H, W, C], of one height and width.
        crop: Window to cut; None: the whole image.
        flip: Whether to mirror left and right, bool scalar; None: never.
    """
    cut = list(stacks)
    if crop is not None and cut:
        cut = _cut(cut, crop.height, crop.width, crop.y, crop.x)
    if flip is not None and cut:
        # A branch, since tf.where takes ten times as long to copy frames under a scalar. One for
        # all, since a branch takes as long as the copy.
        return tf.cond(
            tf.convert_to_tensor(flip), lambda: [_mirror(images) for images in cut], lambda: cut
        )
    return cut


def preprocess_flow(
    codes: tf.Tensor,
    size: Tuple[int, int],
    resize: str = "stretch",
    crop: Optional[Window] = None,
    flip: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """Resizes, crops and flips optical flow as `preprocess` does frames, and its motion with them.

    Motion is in pixels, so u scales with the width and v with the height, and a mirror negates u.
    Resized flow is then, within a quantization step, the flow of the resized frames.

    Args:
        codes: Flow, uint8 [..., H, W, 2], as in `tfrecords.media.flow`. Other arguments as for
            `preprocess`.

    Returns:
        uint8 [..., h, w, 2]; motion beyond 20 pixels is clipped.
    """
    codes = tf.convert_to_tensor(codes)
    fitted = preprocess(codes, size, resize, crop, flip)
    sides = tf.shape(codes)[-3:-1]
    factors = tf.cast(_scaled_size(sides, size, resize) / sides, tf.float32)[::-1]  # of u, v
    if flip is not None:
        factors *= tf.stack([tf.where(flip, -1.0, 1.0), 1.0])

    def scale() -> tf.Tensor:
        steps = (tf.cast(fitted, tf.float32) - NO_MOTION) * factors
        return tf.saturate_cast(tf.round(steps) + NO_MOTION, tf.uint8)

    return tf.cond(tf.reduce_all(tf.equal(factors, 1.0)), lambda: fitted, scale)


PREPROCESS = {RGB: preprocess, FLOW: preprocess_flow}


def refuse_large(encoded: tf.Tensor) -> tf.Tensor:
    """Returns encoded images, string [T]; a PNG of more than `MAX_PIXELS` fails undecoded.

    A few kilobytes may unpack to gigabytes. TensorFlow itself refuses a JPEG beyond 512 MB.
    """
    words = tf.io.decode_raw(encoded, tf.int32, little_endian=False, fixed_length=24)
    kind, width, height = words[:, 0], words[:, 4], words[:, 5]  # of a PNG's header
    pixels = tf.cast(width, tf.float32) * tf.cast(height, tf.float32)
    fine = tf.reduce_all((kind != PNG) | (pixels <= MAX_PIXELS))
    check = tf.debugging.Assert(fine, ["expected pictures of at most", MAX_PIXELS, "pixels"])
    with tf.control_dependencies([check]):
        return tf.identity(encoded)


def decode_image(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes a JPEG or PNG, string scalar -> uint8 [H, W, channels]."""
    if channels == 2:  # two channels cannot be asked for, only found; or three, the last of zeros
        image = tf.io.decode_png(encoded)[..., :2]
    else:
        image = tf.io.decode_image(encoded, channels, expand_animations=False)
    return tf.ensure_shape(image, [None, None, channels])


def _mirror(images: tf.Tensor) -> tf.Tensor:
    # TensorFlow has a fast kernel for rows of pixels in three dimensions.
    shape = tf.shape(images)
    rows = tf.reshape(images, tf.concat([[-1], shape[2:]], axis=0))
    return tf.reshape(tf.reverse(rows, axis=[1]), shape)


def _fit(images: tf.Tensor, size: Tuple[int, int], resize: str) -> tf.Tensor:
    """Resizes [N, H, W, C] to [N, *size, C], without work if the size is right already."""
    known, sides = images.shape[1:3], tf.shape(images)[1:3]
    if resize == "whole":
        fits = tf.reduce_all(tf.equal(sides, _scaled_size(sides, size, resize)))
    elif known.is_fully_defined():
        return images if tuple(known) == size else _resize(images, size, resize)
    else:
        fits = tf.reduce_all(tf.equal(sides, size))
    return tf.cond(fits, lambda: images, lambda: _resize(images, size, resize))


def _resize(images: tf.Tensor, size: Tuple[int, int], resize: str) -> tf.Tensor:
    scaled = _scaled_size(tf.shape(images)[1:3], size, resize)
    images = tf.image.resize(images, scaled, method="bilinear", antialias=True)
    images = tf.saturate_cast(tf.round(images), tf.uint8)
    return _cut([images], *size, 0.5, 0.5)[0] if resize == "short_side" else images


def _scaled_size(sides: tf.Tensor, size: Tuple[int, int], resize: str) -> tf.Tensor:
    """Returns (height, width) to which frames of `sides` are scaled before any cut, int32.

    Refuses strips: with their shorter side scaled to the network's, they would fill the memory.
    """
    if resize == "stretch":
        return tf.constant(size)
    real = tf.cast(sides, tf.float32)
    scaled = real * tf.reduce_max(tf.cast(size, tf.float32) / real)
    message = f"Expected frames that cover {size} in {MAX_SCALED} pixels or fewer, received sides"
    fits = tf.debugging.Assert(tf.reduce_prod(scaled) <= MAX_SCALED, [message, sides])
    with tf.control_dependencies([fits]):
        return tf.maximum(tf.cast(tf.round(scaled), tf.int32), tf.constant(size))


def _cut(
    stacks: Sequence[tf.Tensor], height: int, width: int, y: tf.Tensor, x: tf.Tensor
) -> List[tf.Tensor]:
    """Cuts one window out of stacks [N, H, W, C]; y, x in [0, 1) as in `Window`."""
    sides = stacks[0].shape[1:3]
    known = sides.is_fully_defined()
    room = (np.array(sides) if known else tf.shape(stacks[0])[1:3]) - [height, width]
    offset = tf.cast(tf.stack([y, x]) * tf.cast(room + 1, tf.float32), tf.int32)
    top, left = tf.unstack(tf.minimum(offset, room))
    cut = [images[:, top : top + height, left : left + width] for images in stacks]
    return [tf.ensure_shape(images, [None, height, width, None]) for images in cut]
