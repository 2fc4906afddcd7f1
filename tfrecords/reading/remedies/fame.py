"""FAME: what moves in one clip on the background of another (Ding et al., CVPR 2022).

No mask is annotated. Where a clip moves most are seeds of the foreground, where it moves least of
the background; the colours of both tell for every pixel which of the two it is likelier of, and the
likelier half of the frame, one mask for all frames, is the foreground. It takes a still camera.
"""

from __future__ import annotations

import math
from typing import Dict

import numpy as np
import tensorflow as tf

# Shares of the frame, as published: seeds of the foreground and of the background, the foreground.
FOREGROUND_SEEDS, BACKGROUND_SEEDS, FOREGROUND = 0.5, 0.1, 0.5
BINS = 10  # an axis of the histogram of colours


def paste_foregrounds(inputs: Dict[str, tf.Tensor], chosen: tf.Tensor) -> Dict[str, tf.Tensor]:
    """Pastes the foreground of chosen clips on the clip before them in the batch.

    Around it shows that clip, its actor included; row 0 is pasted on the last row. A pasted clip
    has no conjugate. A clip alone in its batch stays unchanged.

    Args:
        inputs: Inputs of a batch, see `read_dataset`.
        chosen: Rows to change, bool [B].
    """
    clips = inputs["clip"]
    chosen = chosen & (tf.shape(clips)[0] > 1)
    alpha = tf.where(chosen[:, None, None], foregrounds(clips), 1.0)[:, None, :, :, None]
    pasted = alpha * tf.cast(clips, tf.float32)
    pasted += (1 - alpha) * tf.cast(tf.roll(clips, 1, axis=0), tf.float32)
    clip = tf.ensure_shape(tf.cast(tf.round(pasted), tf.uint8), clips.shape)
    return {**inputs, "clip": clip, "has_conjugate": inputs["has_conjugate"] & ~chosen}


def foregrounds(clips: tf.Tensor) -> tf.Tensor:
    """Returns the moving foreground of clips uint8 [B, T, h, w, 3], float32 [B, h, w] of 0 and 1.

    Without motion it is the whole frame.
    """
    pixels = tf.cast(clips, tf.float32) / 255
    change = tf.reduce_sum(tf.abs(pixels[:, 1:] - pixels[:, :-1]), axis=-1)
    shape = [-1, *clips.shape[2:4]]
    motion = _flat(_smooth(tf.reduce_mean(change, axis=1)))  # (B, N)
    colors = _flat(_color_bins(tf.reduce_mean(pixels, axis=1)))
    moves = motion >= _quantile(motion, 1 - FOREGROUND_SEEDS)
    rests = motion <= _quantile(motion, BACKGROUND_SEEDS)
    # One pixel more of each colour keeps a colour without seeds from being all foreground.
    foreground, background = _shares(colors, moves, 0.0), _shares(colors, rests, 1.0)
    likely = _flat(_smooth(tf.reshape(foreground / (foreground + background), shape)))
    still = tf.reduce_max(motion, axis=1, keepdims=True) == 0
    mask = still | (likely >= _quantile(likely, 1 - FOREGROUND))
    return tf.reshape(tf.cast(mask, tf.float32), shape)


def _flat(images: tf.Tensor) -> tf.Tensor:
    return tf.reshape(images, [tf.shape(images)[0], -1])


def _color_bins(images: tf.Tensor) -> tf.Tensor:
    """Returns the bin of each pixel's colour, in the cone of hue, saturation and value."""
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(images), axis=-1)
    x = (saturation * tf.cos(2 * math.pi * hue) + 1) / 2
    y = (saturation * tf.sin(2 * math.pi * hue) + 1) / 2
    x, y, value = (tf.cast(tf.round(axis * (BINS - 1)), tf.int32) for axis in (x, y, value))
    return x + BINS * (y + BINS * value)


def _quantile(values: tf.Tensor, share: float) -> tf.Tensor:
    """Returns the value below which a share of each row lies, [B, 1]."""
    ordered = tf.sort(values, axis=-1)
    last = tf.shape(values)[1] - 1
    index = tf.cast(tf.round(share * tf.cast(last, tf.float32)), tf.int32)
    return ordered[:, index, None]


def _shares(colors: tf.Tensor, seeds: tf.Tensor, more: float) -> tf.Tensor:
    """Returns for every pixel the share of its colour among the seeds of its clip."""
    rows, bins = tf.shape(colors)[0], BINS**3
    ids = colors + bins * tf.range(rows)[:, None]
    counts = tf.math.unsorted_segment_sum(tf.cast(seeds, tf.float32), ids, rows * bins)
    counts = tf.reshape(counts, [rows, bins]) + more
    return tf.gather(counts / tf.reduce_sum(counts, axis=1, keepdims=True), colors, batch_dims=1)


def _smooth(images: tf.Tensor) -> tf.Tensor:
    """Blurs images [B, h, w] by a Gaussian of a tenth of the shorter side."""
    size = int(0.1 * min(images.shape[1:])) // 2 * 2 + 1
    places = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (places / (size / 3)) ** 2)
    weights = tf.constant(weights / weights.sum(), tf.float32)
    around = [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]]
    blurred = tf.pad(images[..., None], around, "REFLECT")
    blurred = tf.nn.conv2d(blurred, weights[:, None, None, None], 1, "VALID")
    return tf.nn.conv2d(blurred, weights[None, :, None, None], 1, "VALID")[..., 0]
