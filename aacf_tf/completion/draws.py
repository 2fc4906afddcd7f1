"""Draws pictures, crops and holes at random.

Everything is a function of (seed, step), so that a resumed run draws the same as the undisturbed
one.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from aacf_tf.completion.options import Settings
from aacf_tf.completion.pictures import Pictures

# Part of the seed, so that no two purposes share their draws.
_STEPS, _ORDER, _HELD_OUT = range(3)


class Batch(NamedTuple):
    """Crops and their holes: `image` uint8 [B, S, S, 3], `mask` uint8 [B, S, S], 1 in a hole.

    `window` int32 [B, 2]: top and left of the square of S / 2 pixels around the first hole.
    """

    image: np.ndarray
    mask: np.ndarray
    window: np.ndarray


def draw_batch(pictures: Pictures, settings: Settings, step: int) -> Batch:
    """Returns the batch of a step. Every picture comes once per epoch."""
    random = np.random.default_rng((settings.seed, _STEPS, step))
    count = len(pictures)
    positions = range(step * settings.batch_size, (step + 1) * settings.batch_size)
    orders = {}
    for epoch in {position // count for position in positions}:
        order = np.random.default_rng((settings.seed, _ORDER, epoch))
        orders[epoch] = order.permutation(count)
    numbers = [
        orders[position // len(pictures)][position % len(pictures)] for position in positions
    ]
    return _stack(_draw(random, pictures.read(int(n)), settings, flip=True) for n in numbers)


def draw_held_out(pictures: Pictures, settings: Settings) -> Batch:
    """Returns one crop of each of `settings.held_out` pictures (or of all), always the same."""
    random = np.random.default_rng((settings.seed, _HELD_OUT))
    chosen = pictures.spread(settings.held_out)
    return _stack(_draw(random, pixels, settings, flip=False) for pixels in chosen)


def batches(pictures: Pictures, settings: Settings, first: int) -> tf.data.Dataset:
    """Returns the batches of the steps from `first` on, as (image, mask, window)."""
    size, count = settings.size, settings.batch_size
    shapes = ([count, size, size, 3], [count, size, size], [count, 2])
    types = (tf.uint8, tf.uint8, tf.int32)

    def load(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        drawn = tf.numpy_function(
            lambda number: tuple(draw_batch(pictures, settings, int(number))), [step], types
        )
        return tuple(tf.ensure_shape(part, shape) for part, shape in zip(drawn, shapes))

    steps = tf.data.Dataset.range(first, settings.total_steps)
    return steps.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _draw(random: np.random.Generator, pixels: np.ndarray, settings: Settings, flip: bool) -> Batch:
    image = draw_crop(random, pixels, settings.size, settings.zoom)
    if flip and random.random() < 0.5:
        image = image[:, ::-1]
    mask, window = draw_holes(random, settings)
    return Batch(image, mask, window)


def _stack(drawn) -> Batch:
    return Batch(*(np.stack(parts) for parts in zip(*drawn)))


def draw_crop(
    random: np.random.Generator, pixels: np.ndarray, size: int, zoom: float
) -> np.ndarray:
    """Draws a square anywhere in the picture, with side its shorter side / (1 to `zoom`).

    Equals a crop of `size` pixels from the picture scaled to a shorter side of 1 to `zoom` times
    `size`, but costs no more for long and thin pictures.

    Returns:
        uint8 [size, size, 3].
    """
    height, width = pixels.shape[:2]
    side = max(1, round(min(height, width) / random.uniform(1, zoom)))
    top, left = (int(random.integers(0, length - side + 1)) for length in (height, width))
    square = pixels[top : top + side, left : left + side]
    smaller = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=smaller)


def draw_holes(random: np.random.Generator, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Draws 1 to `settings.holes` rectangles anywhere in a crop; they may touch its border.

    Returns:
        The mask, uint8 [S, S]; and top and left, int32 [2], of the square of S / 2 pixels around
        the first hole, inside the crop.
    """
    size, (low, high) = settings.size, settings.hole_sides
    mask, windows = np.zeros((size, size), np.uint8), []
    for _ in range(random.integers(1, settings.holes + 1)):
        sides = np.maximum(1, np.rint(size * random.uniform(low, high, 2))).astype(int)
        corner = random.integers(0, size - sides + 1)
        mask[corner[0] : corner[0] + sides[0], corner[1] : corner[1] + sides[1]] = 1
        centred = corner + sides // 2 - size // 4
        windows.append(np.clip(centred, 0, size - size // 2).astype(np.int32))
    return mask, windows[0]
