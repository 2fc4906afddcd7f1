"""3x3x3 convolution by Winograd's minimal filtering: a quarter of the multiplications."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import tensorflow as tf
from tensorflow import keras

# F(4, 3): four outputs of a filter of three taps from six inputs, at the points 0, 1, -1, 2, -2 and
# infinity (Lavin and Gray, CVPR 2016): y = A ((G g) * (B d)).
_B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL_1D = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
TILE, WINDOW = 4, 6  # sides of a cell's outputs and of the inputs that they see
# In two dimensions, for the numbers of a window or a tile in one row.
FORWARD = np.kron(_B, _B).astype(np.float32)  # [36, 36]
BACK = np.kron(_A, _A).astype(np.float32)  # [16, 36]
# Rows of one matrix product. Fewer make it slower; more take memory and gain nothing.
_ROWS = 1024


def winograd_kernel(kernel: np.ndarray) -> np.ndarray:
    """Transforms the kernel of a `Conv3D` into that of a `WinogradConv3D`.

    Args:
        kernel: Kernel `[3, 3, 3, C, filters]`.

    Returns:
        float32 `[36, 3 C, filters]`, computed in float64.
    """
    transformed = np.einsum("ih,jw,thwcf->ijtcf", KERNEL_1D, KERNEL_1D, kernel.astype(np.float64))
    return transformed.reshape(WINDOW**2, -1, kernel.shape[-1]).astype(np.float32)


@keras.utils.register_keras_serializable(package="aacf")
class WinogradConv3D(keras.layers.Layer):
    """3x3x3 convolution, stride 1, SAME padding, with a bias: Winograd F(4x4, 3x3) in space.

    1. The map is divided into cells of 4x4 outputs; a cell sees a window of 6x6 inputs.
    2. Every window is transformed: one product with a constant 36x36 matrix.
    3. The three frames around each output are joined along the channels.
    4. 36 matrix products of `[cells x frames, 3 C]` with `[3 C, filters]`.
    5. The results are transformed back, 36 numbers to 4x4 outputs, and put in place.

    Steps 2 to 5 process about 1024 rows at a time, so their memory does not grow with the map. If a
    side is not a multiple of 4, the surplus outputs of the last cells are dropped.

    The layer is meant for inference with the transformed weights of a `Conv3D` (`winograd_kernel`),
    whose outputs it reproduces up to rounding: 2e-5 relative to the largest. It computes in float32
    under every policy; in bfloat16 the transforms would lose too many digits.

    Args:
        filters: Number of output channels.

    Call arguments:
        inputs: Feature map `[B, T, H, W, C]`; any B, T, H and W.
        training: Ignored; accepted since `Conv3D` accepts it.

    Output shape:
        float32 `[B, T, H, W, filters]`.

    Examples:
        >>> convolution = keras.layers.Conv3D(8, 3, padding="same")
        >>> clips = tf.random.normal([1, 4, 14, 14, 3])
        >>> expected = convolution(clips)
        >>> layer = WinogradConv3D(8)
        >>> layer.build(clips.shape)
        >>> kernel, bias = convolution.get_weights()
        >>> layer.set_weights([winograd_kernel(kernel), bias])
        >>> np.allclose(layer(clips), expected, atol=1e-4)
        True
    """

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.filters = filters
        self.input_spec = keras.layers.InputSpec(ndim=5)

    def build(self, input_shape: Any) -> None:
        shape = [WINDOW**2, 3 * input_shape[-1], self.filters]
        self.kernel = self.add_weight(name="kernel", shape=shape)
        self.bias = self.add_weight(name="bias", shape=[self.filters], initializer="zeros")
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={-1: input_shape[-1]})
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        channels, span = inputs.shape[-1], tf.range
        batch, frames, height, width = tf.unstack(tf.shape(inputs)[:4])
        down, across = _ceil(height, TILE), _ceil(width, TILE)
        cells = batch * down * across
        # Cells of one step, evenly many in each; the last step may hold the last cell repeatedly.
        most = tf.maximum(_ROWS // frames, 1)
        group = _ceil(cells, tf.maximum(_ceil(cells, most), 1))  # 0 if the batch is empty
        steps = tf.maximum(_ceil(cells, tf.maximum(group, 1)), 1)

        ends = [[1, 1 + TILE * n - side] for n, side in ((down, height), (across, width))]
        padded = tf.pad(inputs, [[0, 0], [1, 1], *ends, [0, 0]])
        stride_t, stride_h = tf.reduce_prod(tf.shape(padded)[2:4]), tf.shape(padded)[3]
        pixels = tf.reshape(padded, [-1, channels])
        window = tf.reshape(span(WINDOW)[:, None] * stride_h + span(WINDOW), [-1, 1, 1])
        # Of each output frame the three frames that it sees, in rows of frames + 2.
        taps = span(group)[:, None, None] * (frames + 2) + span(frames)[:, None] + span(3)
        taps = tf.reshape(taps, [-1])

        def convolve(first: tf.Tensor) -> tf.Tensor:
            cell = tf.minimum(first + span(group), cells - 1)
            clip, y, x = cell // (down * across), cell // across % down, cell % across
            corner = (clip * (frames + 2))[:, None] + span(frames + 2)  # (cells, T + 2)
            corner = corner * stride_t + (TILE * (y * stride_h + x))[:, None]
            windows = tf.gather(pixels, window + corner)  # (36, cells, T + 2, C)
            windows = tf.matmul(FORWARD, tf.reshape(windows, [WINDOW**2, -1]))
            windows = tf.reshape(windows, [WINDOW**2, -1, channels])
            rows = tf.reshape(
                tf.gather(windows, taps, axis=1), [WINDOW**2, group * frames, 3 * channels]
            )
            products = tf.matmul(rows, self.kernel)  # (36, cells T, filters)
            return tf.matmul(BACK, tf.reshape(products, [WINDOW**2, -1]))

        tiles = tf.map_fn(
            convolve, span(steps) * group, fn_output_signature=tf.float32, parallel_iterations=1
        )  # (steps, 16, cells T filters)
        y, x = span(height)[:, None], span(width)
        cell = span(batch)[:, None, None] * (down * across) + y // TILE * across + x // TILE
        step = cell // tf.maximum(group, 1)
        number = step * TILE**2 + y % TILE * TILE + x % TILE
        row = (number * group + cell - step * group) * frames  # (B, H, W)
        row = row[:, None] + span(frames)[:, None, None]
        outputs = tf.gather(tf.reshape(tiles, [-1, self.filters]), row)
        outputs.set_shape([*inputs.shape[:-1], self.filters])
        return tf.nn.bias_add(outputs, self.bias)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape([*input_shape[:-1], self.filters])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


def _ceil(value: tf.Tensor, divisor: Any) -> tf.Tensor:
    return (value + divisor - 1) // divisor
