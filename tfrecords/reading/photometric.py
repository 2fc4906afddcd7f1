"""Photometric augmentation: changes light and colours, alike for every frame of a pair.

Uses brightness, contrast and saturation of `keras_cv`. Its layers draw from a generator of their
own, a different change for every image of a batch; here they get the change that was drawn for the
record, and see the frames of clip and conjugate as one tall image. From Python 3.12 on there is no
`keras_cv` for TensorFlow, and the same changes are computed here.
"""

from __future__ import annotations

import contextlib
import io
from typing import Callable, Dict, Tuple

import tensorflow as tf

from tfrecords.records.names import RGB

DRAWN = 3  # numbers for a record: brightness, contrast, saturation
COLORS = "colors"  # their name in a batch
# Of images float32 [B, H, W, 3] in 0..255 by numbers that broadcast to them.
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def make_jitter(amount: float) -> Callable[[Dict[str, tf.Tensor]], Dict[str, tf.Tensor]]:
    """Returns a function that changes the light and colours of a batch.

    Args:
        amount: Strength, in (0, 1): brightness changes by up to that share of white, contrast and
            saturation by factors within 1 +- amount.

    Returns:
        From inputs with clip, conjugate uint8 [B, T, h, w, 3] and `COLORS` float32 [B, DRAWN] in
        [-1, 1], which is taken out, to the same; a row of zeros there leaves its pair as it is.
    """
    brighten, contrast, saturate = _changes()

    def jitter(inputs: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        inputs = dict(inputs)
        drawn = inputs.pop(COLORS)
        change = amount * drawn  # (B, 3)
        pair = tf.stack([inputs[name] for name in RGB.pair], axis=1)  # (B, 2, T, h, w, 3)
        shape = tf.shape(pair)
        tall = tf.reshape(pair, [shape[0], -1, shape[4], 3])  # (B, 2 T h, w, 3)
        frames = tf.cast(tall, tf.float32)
        shift, factor = 255 * change[:, 0], 1 + change[:, 1]
        frames = brighten(frames, shift[:, None, None, None])
        frames = contrast(frames, factor[:, None, None, None])
        # It multiplies the saturation by x / (1 - x).
        factor = 1 + change[:, 2]
        frames = saturate(frames, factor / (1 + factor))
        frames = tf.saturate_cast(tf.round(frames), tf.uint8)
        unchanged = tf.reduce_all(drawn == 0, axis=1)
        frames = tf.where(unchanged[:, None, None, None], tall, frames)
        for name, half in zip(RGB.pair, tf.unstack(tf.reshape(frames, shape), axis=1)):
            inputs[name] = tf.ensure_shape(half, inputs[name].shape)
        return inputs

    return jitter


def _changes() -> Tuple[Change, Change, Change]:
    """Returns the changes of brightness, contrast and saturation."""
    try:
        # On the first use, since the import takes seconds; it prints the name of its backend.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            from keras_cv.layers import RandomBrightness, RandomContrast, RandomSaturation
    except ImportError:
        return _brighten, _contrast, _saturate
    # Their factors bound what they would draw themselves; the seed spares the global generator.
    return (
        RandomBrightness(1.0, value_range=(0, 255), seed=1).augment_images,
        RandomContrast(value_range=(0, 255), factor=1.0, seed=1).augment_images,
        RandomSaturation((0.0, 1.0), seed=1).augment_images,
    )


def _brighten(images: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(images + shift, 0.0, 255.0)


def _contrast(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    means = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    return tf.clip_by_value((images - means) * factor + means, 0.0, 255.0)


def _saturate(images: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(images), axis=-1)
    factor = (share / (1 - share))[:, None, None]
    saturation = tf.clip_by_value(saturation * factor, 0.0, 1.0)
    return tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], axis=-1))
