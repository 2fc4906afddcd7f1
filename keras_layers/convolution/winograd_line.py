"""3x1x1 and 1x3x3 convolution by Winograd along one axis: half of the multiplications or fewer."""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np
import tensorflow as tf

# Outputs of a line that are computed together: along frames all of six at once, along rows four,
# as more of them lose two digits.
FRAMES, ROWS = 6, 4
_POINTS = np.array([0, 1, -1, 2, -2, 0.5, -0.5])


def line_tile(kernel_size: Sequence[int], shape: Sequence[int], filters: int) -> Optional[int]:
    """Returns the tile of `line_winograd_conv3d`, or None if it is not possible or does not pay.

    Args:
        kernel_size: Kernel size of a convolution with SAME padding and stride 1.
        shape: Shape of its inputs `[B, T, H, W, C]`; T, H, W and C known.
        filters: Number of its output channels.
    """
    _, frames, height, _, channels = shape
    narrow = min(channels, filters)
    # Long lines would make the constant matrices large.
    if tuple(kernel_size) == (3, 1, 1) and frames in (FRAMES, 2 * FRAMES) and narrow >= 64:
        return FRAMES
    if tuple(kernel_size) == (1, 3, 3) and height in range(ROWS, 33, ROWS) and narrow >= 48:
        return ROWS
    return None


def line_winograd_conv3d(inputs: tf.Tensor, kernel: tf.Tensor, tile: int) -> tf.Tensor:
    """Convolves by Winograd F(tile, 3) along frames or rows, SAME padding, stride 1.

    1. Every line, all frames of a pixel or all rows of a column, is transformed by one product with
       a constant matrix, to `tile + 2` numbers for each `tile` outputs.
    2. Each of these numbers takes a matrix product over the channels, or for 1x3x3 a convolution of
       3 taps along the row.
    3. A product with a constant matrix gives the outputs.

    TensorFlow differentiates these steps, so the gradients save as much.

    Args:
        inputs: Feature map float32 `[B, T, H, W, C]`; T, H, W and C known.
        kernel: Kernel float32 `[3, 1, 1, C, filters]` or `[1, 3, 3, C, filters]`.
        tile: Number of outputs computed together, at most 6; divides the number of frames (3x1x1)
            or rows (1x3x3).

    Returns:
        float32 `[B, T, H, W, filters]`.
    """
    _, frames, height, width, channels = inputs.shape
    filters, in_time = kernel.shape[-1], kernel.shape[0] == 3
    length, across = (frames, height * width) if in_time else (height, width)
    into, weigh, back = _matrices(length, tile)
    lines = tf.transpose(tf.reshape(inputs, [-1, length, across * channels]), [1, 0, 2])
    points = tf.matmul(into, tf.reshape(lines, [length, -1]))
    taps = tf.matmul(weigh, tf.reshape(kernel, [3, -1]))
    if in_time:
        points = tf.reshape(points, [tile + 2, -1, channels])
        products = tf.matmul(points, tf.reshape(taps, [tile + 2, channels, filters]))
    else:
        points = tf.unstack(tf.reshape(points, [tile + 2, -1, 1, across, channels]))
        taps = tf.unstack(tf.reshape(taps, [tile + 2, 1, 3, channels, filters]))
        products = tf.stack([tf.nn.conv2d(x, w, 1, "SAME") for x, w in zip(points, taps)])
    lines = tf.matmul(back, tf.reshape(products, [back.shape[1], -1]))
    lines = tf.transpose(tf.reshape(lines, [length, -1, across * filters]), [1, 0, 2])
    return tf.reshape(lines, [-1, frames, height, width, filters])


def _matrices(length: int, tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the constant matrices for unpadded lines, for the kernel and for the products.

    The product of polynomials with `tile` and 3 coefficients is determined by the products of their
    values at `tile + 2` points, the last at infinity; the convolution is its transpose.

    Returns:
        float32 `[(tile + 2) tiles, length]`, `[tile + 2, 3]`, `[length, (tile + 2) tiles]`.
    """
    size, tiles = tile + 2, length // tile

    def values(coefficients: int) -> np.ndarray:
        finite = _POINTS[: size - 1, None] ** np.arange(coefficients)
        return np.concatenate([finite, np.eye(coefficients)[-1:]])

    window = np.linalg.inv(values(size)).T
    scale = np.abs(window).max(axis=1, keepdims=True)
    into = np.zeros((size, tiles, length + 2))
    back = np.zeros((length, size, tiles))
    for index in range(tiles):
        start = index * tile
        into[:, index, start : start + size] = window / scale
        back[start : start + tile, :, index] = values(tile).T
    into = into[:, :, 1:-1].reshape(-1, length)
    weigh, back = values(3) * scale, back.reshape(length, -1)
    return into.astype(np.float32), weigh.astype(np.float32), back.astype(np.float32)
