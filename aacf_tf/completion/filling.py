"""Fills holes before the network sees them, by diffusion of the surroundings."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np
import tensorflow as tf

_SMOOTHINGS = 8  # per scale; more come closer to the steady state, but gain at most 0.1 dB


def halve(image: tf.Tensor, known: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Halves the size, rounded up; a cell is the mean of the known ones of its 2 x 2 pixels.

    Args:
        image: Image, float32 [B, H, W, C].
        known: Map of the known pixels, float32 [B, H, W, 1], 0 in the hole, else 1.

    Returns:
        The same at half the size; a cell is known if one of its pixels is, and 0 otherwise.
    """
    share = tf.nn.avg_pool2d(known, 2, 2, "SAME")
    means = tf.math.divide_no_nan(tf.nn.avg_pool2d(image * known, 2, 2, "SAME"), share)
    return means, tf.cast(share > 0, tf.float32)


def diffuse(image: tf.Tensor, known: tf.Tensor, levels: int, colour: Sequence[float]) -> tf.Tensor:
    """Fills holes smoothly from their rims: heat flow, from coarse to fine.

    Args:
        image: Image, float32 [B, H, W, 3].
        known: Map of the known pixels, float32 [B, H, W, 1], 0 in the hole, else 1.
        levels: Number of halvings; holes up to 2 ** levels pixels wide are closed.
        colour: Red, green and blue of pixels that remain open.

    Returns:
        float32 [B, H, W, 3]; known pixels are unchanged.
    """
    scales = [(image, known)]
    for _ in range(levels):
        scales.append(halve(*scales[-1]))
    coarsest, known = scales.pop()
    filled = known * coarsest + (1 - known) * tf.constant(colour, tf.float32)
    for finer, known in reversed(scales):
        shape = tf.shape(finer)
        doubled = tf.image.resize(filled, 2 * tf.shape(filled)[1:3])
        filled = known * finer + (1 - known) * doubled[:, : shape[1], : shape[2]]
        for _ in range(_SMOOTHINGS):
            filled = known * finer + (1 - known) * tf.nn.avg_pool2d(filled, 3, 1, "SAME")
    return filled


def diffuse_crops(image: np.ndarray, mask: np.ndarray) -> tf.Tensor:
    """Returns crops with their holes diffused.

    Args:
        image: Image, uint8 [B, S, S, 3].
        mask: Mask, uint8 [B, S, S], 1 in a hole.
    """
    colours, hole = scale(image, mask)
    levels = math.ceil(math.log2(image.shape[1]))
    return lay_in(diffuse(colours, 1 - hole, levels, (0.5,) * 3), image, hole)


def scale(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns uint8 [B, H, W, 3] as float32 0..1, and uint8 [B, H, W] as float32 [B, H, W, 1]."""
    return tf.cast(image, tf.float32) / 255, tf.cast(mask, tf.float32)[..., None]


def lay_in(painted: tf.Tensor, image: tf.Tensor, hole: tf.Tensor) -> tf.Tensor:
    """Returns the image, uint8, with what is painted (0..1) in its holes."""
    rounded = tf.cast(tf.round(255 * tf.clip_by_value(painted, 0, 1)), tf.uint8)
    return tf.where(hole > 0, rounded, image)
