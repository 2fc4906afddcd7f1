"""3-D convolution that trains faster and avoids three faults of oneDNN in TensorFlow 2.15."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import tensorflow as tf
from tensorflow import keras

from keras_layers.convolution.winograd import BACK, FORWARD, KERNEL_1D, TILE, WINDOW
from keras_layers.convolution.winograd_line import line_tile, line_winograd_conv3d

KERNEL_2D = np.kron(KERNEL_1D, KERNEL_1D).astype(np.float32)  # [36, 9]


@keras.utils.register_keras_serializable(package="aacf")
class Conv3D(keras.layers.Conv3D):
    """`keras.layers.Conv3D` with a faster path for training and without three faults of oneDNN.

    - In training, in float32 on a CPU, a wide convolution of 1 or 3 frames by 3x3 with stride 1 is
      computed by `winograd_conv3d`; its results differ by rounding (2e-5 of the largest).
      A 1x3x3 convolution, or a 3x1x1 one on 6 or 12 frames, that is too narrow for it is computed
      by `line_winograd_conv3d`.
    - oneDNN's gradient of a strided SAME convolution whose kernel spans all frames corrupts memory
      (7 taps on 5 and 7 frames). The inputs are padded explicitly instead.
    - The same holds for 3 taps on exactly 2 frames in bfloat16: the gradient of the kernel is wrong
      on processors with AVX-512 but without bfloat16 instructions.
    - oneDNN gives the convolution of an empty batch the shape of its input. Without a bias, the
      shape is corrected here. A replica's batch is empty if there are fewer clips than replicas.

    Args:
        **kwargs: Arguments of `keras.layers.Conv3D`, with channels last.

    Call arguments:
        inputs: Feature map `[B, T, H, W, C]`.
        training: Whether to take the faster path.

    Output shape:
        Same as for `keras.layers.Conv3D`.

    Examples:
        >>> Conv3D(64, 3, padding="same", use_bias=False)(tf.zeros([2, 8, 28, 28, 32])).shape
        TensorShape([2, 8, 28, 28, 64])
    """

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        if training and self.trainable and self._may_transform(inputs.shape):
            kernel = tf.convert_to_tensor(self.kernel)
            if self._takes_winograd(inputs.shape):
                return self.activation(winograd_conv3d(inputs, kernel))
            tile = line_tile(self.kernel_size, inputs.shape, self.filters)
            if tile:
                return self.activation(line_winograd_conv3d(inputs, kernel, tile))
        return super().call(inputs)

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        same = self.padding == "same"
        if max(self.dilation_rate) > 1 or self.groups > 1:
            return super().convolution_op(inputs, kernel)
        padded, padding = inputs, self.padding.upper()
        if same and self._needs_padding(inputs.shape[1]):
            padded, padding = self._padded(inputs), "VALID"
        outputs = tf.nn.conv3d(padded, kernel, [1, *self.strides, 1], padding)
        if self.use_bias:  # in inference oneDNN joins the addition to the convolution before it
            return outputs
        batch, *sides, _ = tf.unstack(tf.shape(inputs))
        missing = [0 if same else k - 1 for k in self.kernel_size]
        sides = [-(-(n - m) // s) for n, m, s in zip(sides, missing, self.strides)]
        shaped = tf.reshape(outputs, [batch, *sides, self.filters])
        shaped.set_shape(self.compute_output_shape(tuple(inputs.shape)))
        return shaped

    def _needs_padding(self, frames: Optional[int]) -> bool:
        """Returns whether oneDNN's gradient of the kernel is wrong with SAME padding."""
        if frames is None:
            return False
        taps, stride = self.kernel_size[0], self.strides[0]
        if self.compute_dtype == "bfloat16" and frames == 2 and taps == 3:
            return True
        return stride > 1 and 1 < frames <= taps

    def _padded(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pads with zeros like SAME."""
        batch, *sides, channels = tf.unstack(tf.shape(inputs))
        ends = []
        for n, k, s in zip(sides, self.kernel_size, self.strides):
            total = tf.maximum((-(-n // s) - 1) * s + k - n, 0)
            ends.append([total // 2, total - total // 2])
        sizes = [n + before + behind for n, (before, behind) in zip(sides, ends)]
        # Columns and channels as one axis: next to the convolution TensorFlow would join the
        # padding to it, and fails.
        rows = tf.reshape(inputs, [batch, *sides[:2], sides[2] * channels])
        across = [end * channels for end in ends[2]]
        padded = tf.pad(rows, [[0, 0], *ends[:2], across])
        return tf.reshape(padded, [batch, *sizes, inputs.shape[-1]])

    def _may_transform(self, shape: tf.TensorShape) -> bool:
        """Returns whether a Winograd path computes the same convolution."""
        return (
            None not in shape[1:]
            and self.compute_dtype == "float32"
            and max(*self.strides, *self.dilation_rate, self.groups) == 1
            and self.padding == "same"
            and not self.use_bias
            and not tf.config.list_physical_devices("GPU")
        )

    def _takes_winograd(self, shape: tf.TensorShape) -> bool:
        """Returns whether `winograd_conv3d` was faster for such shapes when measured."""
        _, _, height, width, channels = shape
        taps, *space = self.kernel_size
        if space != [3, 3] or taps not in (1, 3):
            return False
        # Multiplications saved by number transformed, and maps too small to share the transformed
        # kernel.
        return (
            taps * channels * self.filters >= 80 * (taps * channels + self.filters)
            and height * width >= 80
        )


@tf.custom_gradient
def winograd_conv3d(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
    """Convolves by Winograd F(4x4, 3x3) in space, SAME padding, stride 1; its gradients too.

    1. The outputs are computed as in `WinogradConv3D`, but all cells at once, and the kernel is
       transformed at every call.
    2. The gradient of the inputs is the gradient of the outputs convolved with the mirrored
       kernel.
    3. The gradient of the transformed kernel is 36 matrix products of the transformed windows with
       the transformed gradient of the outputs.

    Args:
        inputs: Feature map float32 `[B, T, H, W, C]`; T, H, W and C known.
        kernel: Kernel float32 `[1 or 3, 3, 3, C, filters]`.

    Returns:
        float32 `[B, T, H, W, filters]`.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mirrored = tf.transpose(tf.reverse(kernel, [0, 1, 2]), [0, 1, 2, 4, 3])
        return _convolve(upstream, mirrored), _kernel_gradient(inputs, upstream, kernel.shape)

    return _convolve(inputs, kernel), gradient


def _convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Computes the convolution without gradients."""
    _, frames, height, width, channels = inputs.shape
    taps, filters = kernel.shape[0], kernel.shape[-1]
    batch = tf.shape(inputs)[0]
    down, across = -(-height // TILE), -(-width // TILE)
    windows = _transformed_windows(inputs)
    # Taps are joined along the inputs' channels or along the outputs', whichever are fewer.
    if channels <= filters:
        rows = _join_taps(windows, frames, taps, down * across)
        flat = tf.reshape(tf.transpose(kernel, [1, 2, 0, 3, 4]), [9, -1])
        weights = tf.reshape(tf.matmul(KERNEL_2D, flat), [WINDOW**2, taps * channels, filters])
        products = tf.matmul(rows, weights)
    else:
        flat = tf.reshape(tf.transpose(kernel, [1, 2, 3, 0, 4]), [9, -1])
        weights = tf.reshape(tf.matmul(KERNEL_2D, flat), [WINDOW**2, channels, taps * filters])
        products = _add_taps(tf.matmul(windows, weights), frames, taps, down * across)
    tiles = tf.matmul(BACK, tf.reshape(products, [WINDOW**2, -1]))
    tiles = tf.reshape(tiles, [TILE, TILE, batch * frames * down, across, filters])
    tiles = tf.transpose(tiles, [2, 0, 3, 1, 4])
    outputs = tf.reshape(tiles, [batch, frames, TILE * down, TILE * across, filters])
    return outputs[:, :, :height, :width]


def _kernel_gradient(inputs: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    taps, _, _, channels, filters = shape
    tiles = _cells(upstream, TILE)
    tiles = tf.matmul(BACK, tf.reshape(tiles, [TILE**2, -1]), transpose_a=True)
    tiles = tf.reshape(tiles, [WINDOW**2, -1, filters])
    _, frames, height, width, _ = inputs.shape
    cells = (-(-height // TILE)) * (-(-width // TILE))
    rows = _join_taps(_transformed_windows(inputs), frames, taps, cells)
    weights = tf.matmul(rows, tiles, transpose_a=True)  # (36, taps C, filters)
    flat = tf.matmul(KERNEL_2D, tf.reshape(weights, [WINDOW**2, -1]), transpose_a=True)
    return tf.transpose(tf.reshape(flat, [3, 3, taps, channels, filters]), [2, 0, 1, 3, 4])


def _transformed_windows(inputs: tf.Tensor) -> tf.Tensor:
    """Transforms all windows, step 2 of `WinogradConv3D`, to `[36, B T cells, C]`."""
    windows = _cells(inputs, WINDOW)
    flat = tf.matmul(FORWARD, tf.reshape(windows, [WINDOW**2, -1]))
    return tf.reshape(flat, [WINDOW**2, -1, inputs.shape[-1]])


def _cells(maps: tf.Tensor, side: int) -> tf.Tensor:
    """Gathers the `side x side` pixels around each cell of 4x4, zeros outside the map.

    Returns:
        `[side * side, B T cells, C]`.
    """
    _, frames, height, width, channels = maps.shape
    down, across = -(-height // TILE), -(-width // TILE)
    border = (side - TILE) // 2
    ends = [[border, border + -n % TILE] for n in (height, width)]
    padded = tf.pad(maps, [[0, 0], [0, 0], *ends, [0, 0]])
    rows, columns = padded.shape[2:4]
    offset = np.arange(side)[:, None] * columns + np.arange(side)
    corner = (np.arange(down)[:, None] * columns + np.arange(across)) * TILE
    image = tf.range(tf.shape(maps)[0] * frames) * (rows * columns)
    index = offset.reshape(-1, 1, 1) + (image[:, None] + corner.reshape(-1))
    pixels = tf.gather(tf.reshape(padded, [-1, channels]), index)
    return tf.reshape(pixels, [side * side, -1, channels])


def _join_taps(windows: tf.Tensor, frames: int, taps: int, cells: int) -> tf.Tensor:
    """Joins each frame with its neighbours: `[36, B T cells, C]` -> `[36, B T cells, taps C]`."""
    if taps == 1:
        return windows
    channels = windows.shape[-1]
    clips = tf.reshape(windows, [WINDOW**2, -1, frames, cells, channels])
    clips = tf.pad(clips, [[0, 0], [0, 0], [1, 1], [0, 0], [0, 0]])
    joined = tf.concat([clips[:, :, tap : tap + frames] for tap in range(taps)], axis=-1)
    return tf.reshape(joined, [WINDOW**2, -1, taps * channels])


def _add_taps(products: tf.Tensor, frames: int, taps: int, cells: int) -> tf.Tensor:
    """Adds the taps' shares to their frames: `[36, B T cells, taps F]` -> `[36, B T cells, F]`."""
    if taps == 1:
        return products
    filters = products.shape[-1] // taps
    clips = tf.reshape(products, [WINDOW**2, -1, frames, cells, taps * filters])
    clips = tf.pad(clips, [[0, 0], [0, 0], [1, 1], [0, 0], [0, 0]])
    shares = [
        clips[:, :, tap : tap + frames, :, tap * filters : (tap + 1) * filters]
        for tap in range(taps)
    ]
    return tf.reshape(tf.add_n(shares), [WINDOW**2, -1, filters])
