"""Small motion-sensitive 3-D CNNs for the demo and for training from scratch on little data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from keras_layers import BatchNormalization3D, Conv3D


@keras.utils.register_keras_serializable(package="aacf")
class PixelsToPatches(keras.layers.Layer):
    """The stem: turns pixels 0..255 into patches of `patch x patch` pixels, about in [-1, 1].

    1. Scale by the ImageNet mean and deviation, averaged over the colours (115.4, 58.1).
    2. With `differences`, append twice the difference to the frame before (0 for the first): it
       supplies motion if there is too little data to learn it.
    3. Move space to depth, which costs nothing and keeps every pixel.

    Height and width are padded to a multiple of `patch` by mirroring the edge.

    Args:
        patch: Side of a patch in pixels; 4 by default.
        differences: Whether to append frame differences; False by default.

    Call arguments:
        pixels: Clips `[B, T, H, W, C]`, uint8 or floating, 0..255.

    Output shape:
        `[B, T, ceil(H / patch), ceil(W / patch), patch * patch * C]`, twice as deep with
        `differences`, in the compute dtype.
    """

    def __init__(self, patch: int = 4, differences: bool = False, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.patch = patch
        self.differences = differences

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        frames = (tf.cast(pixels, tf.float32) - 115.4) / 58.1
        if self.differences:
            change = frames[:, 1:] - frames[:, :-1]
            change = tf.concat([tf.zeros_like(frames[:, :1]), change], axis=1)
            frames = tf.concat([frames, 2.0 * change], axis=-1)
        frames = tf.cast(frames, self.compute_dtype)
        channels, size, p = frames.shape[-1], tf.shape(frames), self.patch
        missing_h, missing_w = -size[2] % p, -size[3] % p
        # Equals tf.pad in mode SYMMETRIC, which took as long as a convolution.
        frames = tf.concat([frames, tf.reverse(frames[:, :, size[2] - missing_h :], [2])], axis=2)
        frames = tf.concat(
            [frames, tf.reverse(frames[:, :, :, size[3] - missing_w :], [3])], axis=3
        )
        rows, columns = (size[2] + missing_h) // p, (size[3] + missing_w) // p
        # In four dimensions, since TensorFlow Lite transposes no more than six.
        lines = tf.reshape(frames, [size[0] * size[1] * rows, p, columns, p * channels])
        lines = tf.transpose(lines, [0, 2, 1, 3])
        return tf.reshape(lines, [size[0], size[1], rows, columns, p * p * channels])

    def windows(self) -> tuple[tuple[int, int, tuple[int, int]], ...]:
        """Returns reach, stride and padding in time, height and width."""
        side = (self.patch, self.patch, (0, self.patch - 1))  # padded behind only
        return (2, 1, (1, 0)) if self.differences else (1, 1, (0, 0)), side, side

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        batch, time, height, width, channels = tuple(input_shape)
        sides = [None if side is None else -(-side // self.patch) for side in (height, width)]
        depth = self.patch**2 * channels * (2 if self.differences else 1)
        return tf.TensorShape([batch, time, *sides, depth])

    def get_config(self) -> dict[str, Any]:
        config = {"patch": self.patch, "differences": self.differences}
        return {**super().get_config(), **config}


def small(
    width: int = 64, residual: bool = False, channels: int = 3, all_end_points: bool = False
) -> keras.Model:
    """Builds a small motion-sensitive 3-D CNN (our choice; the paper has none).

    ```
    plain (the demo: 48x48 -> 8x8 cells of 6 pixels and 2 frames; 51,000 weights at width 64)
        patches 3x3, 3x1x1 w/4, 1x3x3 /2 w/2, 3x1x1 /2 in time 3w/4, 1x3x3 w, 3x1x1 w
    residual (J-HMDB: 72x96 -> 9x12 cells of 8 pixels and 2 frames; 1.2 million at width 192)
        patches 4x4 of RGB and frame differences, 1x3x3 w/4, 3x1x1 w/3,
        R(2+1)D blocks 2w/3 (/2 in space and time), 2w/3, w, w
    ```
    Every convolution is followed by batch norm and ReLU.

    Args:
        width: Depth D of the feature map, a multiple of 12; 64 by default.
        residual: Whether to build the larger of the two networks.
        channels: Number of input channels; 3, for RGB, by default.
        all_end_points: Whether to return the maps of all units or blocks, by name.

    Returns:
        A model from pixels 0..255 `[B, T, H, W, channels]` to `[B, ~T/2, h, w, width]`, or with
        `all_end_points` to a dict of the maps in order.
    """
    pixels = keras.Input((None, None, None, channels), name="pixels")
    maps = {}
    if residual:
        maps["patches"] = x = PixelsToPatches(4, differences=True, name="patches")(pixels)
        maps["stem_space"] = x = _unit(x, width // 4, (1, 3, 3), name="stem_space")
        maps["stem_time"] = x = _unit(x, width // 3, (3, 1, 1), name="stem_time")
        for index, (depth, stride) in enumerate(
            [(2 * width // 3, 2), (2 * width // 3, 1), (width, 1), (width, 1)]
        ):
            name = f"block{index + 1}"
            maps[name] = x = _residual_block(x, depth, stride, name=name)
    else:
        maps["patches"] = x = PixelsToPatches(3, name="patches")(pixels)
        maps["time1"] = x = _unit(x, width // 4, (3, 1, 1), name="time1")
        maps["space1"] = x = _unit(x, width // 2, (1, 3, 3), (1, 2, 2), name="space1")
        maps["time2"] = x = _unit(x, 3 * width // 4, (3, 1, 1), (2, 1, 1), name="time2")
        maps["space2"] = x = _unit(x, width, (1, 3, 3), name="space2")
        maps["time3"] = x = _unit(x, width, (3, 1, 1), name="time3")
    return keras.Model(pixels, maps if all_end_points else x, name="small")


def _unit(
    x: tf.Tensor,
    filters: int,
    kernel: tuple[int, int, int],
    strides: tuple[int, int, int] = (1, 1, 1),
    relu: bool = True,
    *,
    name: str,
) -> tf.Tensor:
    convolution = Conv3D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    normalization = BatchNormalization3D(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")
    x = normalization(convolution(x))
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _residual_block(x: tf.Tensor, filters: int, stride: int, *, name: str) -> tf.Tensor:
    """Applies an R(2+1)D block: a convolution in space, one in time, and the shortcut."""
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        strides = (stride, stride, stride)
        shortcut = _unit(x, filters, (1, 1, 1), strides, relu=False, name=f"{name}_shortcut")
    x = _unit(x, filters, (1, 3, 3), (1, stride, stride), name=f"{name}_space")
    x = _unit(x, filters, (3, 1, 1), (stride, 1, 1), relu=False, name=f"{name}_time")
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)
