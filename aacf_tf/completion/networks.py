"""The networks of Iizuka, Simo-Serra, Ishikawa: Globally and Locally Consistent Image Completion.

ACM Transactions on Graphics 36(4), 2017, re-implemented from its tables. N is `width`, 64 in the
paper, S the side of a crop:

    completion       5x5 N | 3x3 /2 2N, 2N | 3x3 /2 4N, 4N, 4N | dilated 2, 4, 8, 16: 4N each
                     4N, 4N | transposed 4x4 x2 2N, 2N | transposed 4x4 x2 N, N/2 | 3
    discriminators   global, of the crop (S): 5x5 /2 N, 2N, 4N, then 8N, to about 4 x 4 cells; 16N
                     local, of a window S/2 about a hole: the same with one layer less
                     both side by side -> one logit

Each convolution except the last is followed by batch normalization and ReLU; spectral
normalization replaces batch normalization in the discriminators. `diffuse` fills the holes before
the completion network sees them, from their surroundings.
"""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np
import tensorflow as tf
from tensorflow import keras

STRIDE = 4  # of the completion network: sides of its input are multiples of it
REACH = 156  # pixels, a multiple of STRIDE: pixels farther away do not change a completed one
_DILATIONS = (2, 4, 8, 16)
_SMOOTHINGS = 8  # per scale; more come closer to the steady state, but gain at most 0.1 dB
_SMALLEST = 4  # cells per side at the end of a discriminator's convolutions


class Completer(tf.Module):
    """Completes images: an initial fill of the holes, and a network.

    Args:
        width: Channels of the first layer.
        fill: "mean": the hole has one color, and the network paints all of it (the paper).
            "diffused": the hole is filled smoothly from its rim, and the network adds to that.
        size: Side of the crops in training, pixels.
        colour: Mean red, green and blue of the pictures, 0..1.

    Attributes:
        network: Model, float32 [B, H, W, 4] (colours 0..1, mask) -> [B, H, W, 3].
    """

    def __init__(self, width: int, fill: str, size: int, colour: tuple[float, float, float]):
        super().__init__()
        self.network = build_completion(width, "sigmoid" if fill == "mean" else "linear")
        self._diffuses, self._levels = fill == "diffused", math.ceil(math.log2(size))
        self._colour = colour

    def __call__(self, image: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Completes images.

        Args:
            image: Image, float32 [B, H, W, 3], 0..1; H and W multiples of `STRIDE`.
            mask: Mask, float32 [B, H, W, 1], 1 in the hole, else 0.
            training: Whether batch normalization uses the batch's statistics.

        Returns:
            float32 [B, H, W, 3], about 0..1: the network's picture; only the hole is used.
        """
        filled = self.fill(image, mask)
        painted = self.network(tf.concat([filled, mask], -1), training=training)
        return filled + painted if self._diffuses else painted

    def fill(self, image: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Returns the network's input picture; arguments as for `__call__`."""
        if self._diffuses:
            return diffuse(image, 1 - mask, self._levels, self._colour)
        return (1 - mask) * image + mask * tf.constant(self._colour, tf.float32)


def build_completion(width: int, activation: str) -> keras.Model:
    """Builds the completion network: float32 [B, H, W, 4] -> [B, H, W, 3].

    A linear one, which adds to its input, starts by adding nothing.
    """
    inputs = keras.Input([None, None, 4])
    x = _unit(inputs, width, kernel=5)
    for channels, layers in ((2 * width, 1), (4 * width, 2)):
        x = _unit(x, channels, strides=2)
        for _ in range(layers):
            x = _unit(x, channels)
    for dilation in (*_DILATIONS, 1, 1):
        x = _unit(x, 4 * width, dilation=dilation)
    for channels, after in ((2 * width, 2 * width), (width, width // 2)):
        x = keras.layers.Conv2DTranspose(channels, 4, 2, "same", use_bias=False)(x)
        x = _unit(_normalise(x), after)
    start = "zeros" if activation == "linear" else "glorot_uniform"
    outputs = keras.layers.Conv2D(
        3, 3, padding="same", activation=activation, kernel_initializer=start
    )(x)
    return keras.Model(inputs, outputs, name="completion")


def _unit(
    x: tf.Tensor, channels: int, kernel: int = 3, strides: int = 1, dilation: int = 1
) -> tf.Tensor:
    convolution = keras.layers.Conv2D(
        channels, kernel, strides, "same", dilation_rate=dilation, use_bias=False
    )
    return _normalise(convolution(x))


def _normalise(x: tf.Tensor) -> tf.Tensor:
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))


def build_discriminators(width: int, size: int, spectral: bool = False) -> keras.Model:
    """Builds the two discriminators with their joint decision.

    Args:
        width: Channels of the first layer.
        size: Side of a crop, pixels.
        spectral: Whether to use spectral instead of batch normalization.

    Returns:
        Model [float32 [B, S, S, 3], float32 [B, S / 2, S / 2, 3]] -> logits [B, 1], above 0: real.
    """
    wrap = keras.layers.SpectralNormalization if spectral else _as_it_is
    inputs, codes = [], []
    for side in (size, size // 2):
        x = keras.Input([side, side, 3])
        inputs.append(x)
        for depth in range(max(1, round(math.log2(side / _SMALLEST)))):
            channels = width * min(2**depth, 8)
            convolution = keras.layers.Conv2D(channels, 5, 2, "same", use_bias=spectral)
            x = wrap(convolution)(x)
            x = keras.layers.ReLU()(x) if spectral else _normalise(x)
        x = wrap(keras.layers.Dense(16 * width))(keras.layers.Flatten()(x))
        codes.append(keras.layers.ReLU()(x))
    logit = wrap(keras.layers.Dense(1))(keras.layers.Concatenate()(codes))
    return keras.Model(inputs, logit, name="discriminators")


def _as_it_is(layer: keras.layers.Layer) -> keras.layers.Layer:
    return layer


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
