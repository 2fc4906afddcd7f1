"""Photometric augmentation: changes light and colours, alike for every frame of a pair.

Uses brightness, contrast and saturation of `keras_cv`. Its layers draw from a generator of their
own, a different change for every image of a batch; here they get the change that was drawn for the
record, and see the frames of clip and conjugate as one tall image.
"""

from __future__ import annotations

import contextlib
import io
from typing import Callable, Dict

import tensorflow as tf

from tfrecords.records.names import RGB

DRAWN = 3  # numbers for a record: brightness, contrast, saturation
COLORS = "colors"  # their name in a batch


def make_jitter(amount: float) -> Callable[[Dict[str, tf.Tensor]], Dict[str, tf.Tensor]]:
    """Returns a function that changes the light and colours of a batch.

    Args:
        amount: Strength, in (0, 1): brightness changes by up to that share of white, contrast and
            saturation by factors within 1 +- amount.

    Returns:
        From inputs with clip, conjugate uint8 [B, T, h, w, 3] and `COLORS` float32 [B, DRAWN] in
        [-1, 1], which is taken out, to the same; a row of zeros there leaves its pair as it is.
    """
    # On the first use, since the import takes seconds; it prints the name of its backend.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from keras_cv.layers import RandomBrightness, RandomContrast, RandomSaturation

    # Their factors bound what they would draw themselves; the seed spares the global generator.
    brightness = RandomBrightness(1.0, value_range=(0, 255), seed=1)
    contrast = RandomContrast(value_range=(0, 255), factor=1.0, seed=1)
    saturation = RandomSaturation((0.0, 1.0), seed=1)

    def jitter(inputs: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        inputs = dict(inputs)
        drawn = inputs.pop(COLORS)
        change = amount * drawn  # (B, 3)
        pair = tf.stack([inputs[name] for name in RGB.pair], axis=1)  # (B, 2, T, h, w, 3)
        shape = tf.shape(pair)
        tall = tf.reshape(pair, [shape[0], -1, shape[4], 3])  # (B, 2 T h, w, 3)
        frames = tf.cast(tall, tf.float32)
        shift, factor = 255 * change[:, 0], 1 + change[:, 1]
        frames = brightness.augment_images(frames, shift[:, None, None, None])
        frames = contrast.augment_images(frames, factor[:, None, None, None])
        # It multiplies the saturation by x / (1 - x).
        factor = 1 + change[:, 2]
        frames = saturation.augment_images(frames, factor / (1 + factor))
        frames = tf.saturate_cast(tf.round(frames), tf.uint8)
        unchanged = tf.reduce_all(drawn == 0, axis=1)
        frames = tf.where(unchanged[:, None, None, None], tall, frames)
        for name, half in zip(RGB.pair, tf.unstack(tf.reshape(frames, shape), axis=1)):
            inputs[name] = tf.ensure_shape(half, inputs[name].shape)
        return inputs

    return jitter
