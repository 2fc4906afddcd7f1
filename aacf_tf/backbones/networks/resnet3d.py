"""3D-ResNet-34 (Hara, Kataoka and Satoh, CVPR 2018).

Layers, names and padding are those of the authors' PyTorch code
(github.com/kenshohara/3D-ResNets-PyTorch): a layer's name is the path of its module in that code.
The strides of the last map are 16 in time and 32 in space, so the 16x112x112 of its training gives
1x4x4x512.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.networks.common import chosen_end_point, model_up_to, scaled_pixels
from keras_layers import BatchNormalization3D, Conv3D, MaxPooling3D

END_POINTS = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "fc")
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels, blocks


@keras.utils.register_keras_serializable(package="aacf")
class ShortcutA(keras.layers.Layer):
    """The shortcut of type A: subsamples the positions and pads the channels with zeros.

    It has no weights. Unlike the authors' code, which passes on `out.data`, it propagates
    gradients; this affects training only.

    Args:
        filters: Number of output channels, at least that of the inputs.
        stride: Stride in time, height and width; 2 by default.

    Call arguments:
        inputs: Feature map `[B, T, H, W, C]`.

    Output shape:
        `[B, ceil(T / stride), ceil(H / stride), ceil(W / stride), filters]`.

    Examples:
        >>> ShortcutA(128, 2)(tf.zeros([1, 8, 28, 28, 64])).shape
        TensorShape([1, 4, 14, 14, 128])
    """

    def __init__(self, filters: int, stride: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.stride = stride

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        step = self.stride
        missing = self.filters - inputs.shape[-1]
        return tf.pad(inputs[:, ::step, ::step, ::step], [*[[0, 0]] * 4, [0, missing]])

    def windows(self) -> tuple[tuple[int, int, str], ...]:
        """Returns reach, stride and padding in time, height and width."""
        return ((1, self.stride, "valid"),) * 3

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        batch, *sides, _ = tuple(input_shape)
        sides = [None if side is None else -(-side // self.stride) for side in sides]
        return tf.TensorShape([batch, *sides, self.filters])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "stride": self.stride}


def resnet3d34(
    end_point: Optional[str] = None,
    include_top: bool = False,
    classes: int = 400,
    shortcut: str = "B",
    conv1_t_size: int = 7,
    conv1_t_stride: int = 1,
    no_max_pool: bool = False,
    scaling: str = "kinetics",
    channels: int = 3,
    all_end_points: bool = False,
) -> keras.Model:
    """Builds 3D-ResNet-34 from pixels up to one of its end points.

    ```
    conv1     7x7x7, 64 channels, stride 1x2x2; batch norm, ReLU
    maxpool   3x3x3, stride 2
    layer1    3 blocks of 64 channels
    layer2    4 blocks of 128, the first with stride 2
    layer3    6 blocks of 256, likewise
    layer4    3 blocks of 512, likewise
    fc        average of all positions, a dense layer
    block     3x3x3, batch norm, ReLU, 3x3x3, batch norm; plus the shortcut; ReLU
    ```

    Args:
        end_point: Last end point, one of `END_POINTS`; by default `layer4`. `fc` includes the top.
        include_top: Short for `end_point="fc"`.
        classes: Number of classes of the top.
        shortcut: Shortcut of the blocks that change the shape: `A`, a `ShortcutA`, or `B`, a 1x1x1
            convolution and batch norm.
        conv1_t_size, conv1_t_stride: Size (odd) and stride of `conv1` in time.
        no_max_pool: Whether to leave `maxpool` out.
        scaling: Scaling of the pixels, one of `common.SCALINGS`. The published files need
            `kinetics` (2020) or `activitynet` (2017/18); with any other scaling, ImageNet's
            included, they load without an error but give wrong maps.
        channels: Number of input channels: 3 for RGB, 2 for optical flow.
        all_end_points: Whether to return all end points up to the last, by name.

    Returns:
        A model that takes pixels 0..255, uint8 or floating, `[B, T, H, W, channels]`, and returns
        the end point: features `[B, t, h, w, D]` in the compute dtype of the global policy, or
        logits float32 `[B, classes]`. With `all_end_points` a dict of them in order.

    Raises:
        ValueError: If an argument is not among the values above, or two contradict each other.
    """
    names = tuple(name for name in END_POINTS if not (no_max_pool and name == "maxpool"))
    end_point = chosen_end_point(end_point, names, include_top)
    if shortcut not in ("A", "B"):
        raise ValueError(f"Expected shortcut to be A or B. Received {shortcut!r}.")
    if conv1_t_size % 2 == 0:
        raise ValueError(f"Expected conv1_t_size to be odd. Received {conv1_t_size}.")
    pixels, x = scaled_pixels(scaling, channels)
    layers = _layers(x, conv1_t_size, conv1_t_stride, no_max_pool, shortcut, classes)
    return model_up_to(end_point, pixels, layers, all_end_points, name="resnet3d34")


def _layers(
    x: tf.Tensor, t_size: int, t_stride: int, no_max_pool: bool, shortcut: str, classes: int
) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields the end points in order, as names and tensors."""
    x = _convolution(x, 64, (t_size, 7, 7), (t_stride, 2, 2), name="conv1")
    x = keras.layers.ReLU(name="relu")(_norm(x, "bn1"))
    yield "conv1", x
    if not no_max_pool:
        # PyTorch pads with the smallest number; after a ReLU, zeros give the same maxima.
        x = keras.layers.ZeroPadding3D(1, name="maxpool.pad")(x)
        x = MaxPooling3D(3, 2, name="maxpool")(x)
        yield "maxpool", x
    for stage, (filters, blocks) in enumerate(_STAGES, start=1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _block(x, filters, stride, shortcut, name=f"layer{stage}.{block}")
        yield f"layer{stage}", x
    x = keras.layers.GlobalAveragePooling3D(dtype="float32", name="avgpool")(x)
    yield "fc", keras.layers.Dense(classes, dtype="float32", name="fc")(x)


def _block(x: tf.Tensor, filters: int, stride: int, shortcut: str, *, name: str) -> tf.Tensor:
    bypass = x
    if stride > 1 and shortcut == "A":
        bypass = ShortcutA(filters, stride, name=f"{name}.downsample")(x)
    elif stride > 1:
        bypass = _convolution(x, filters, (1, 1, 1), [stride] * 3, name=f"{name}.downsample.0")
        bypass = _norm(bypass, f"{name}.downsample.1")
    x = _convolution(x, filters, (3, 3, 3), [stride] * 3, name=f"{name}.conv1")
    x = keras.layers.ReLU(name=f"{name}.relu1")(_norm(x, f"{name}.bn1"))
    x = _norm(_convolution(x, filters, (3, 3, 3), name=f"{name}.conv2"), f"{name}.bn2")
    x = keras.layers.Add(name=f"{name}.add")([x, bypass])
    return keras.layers.ReLU(name=f"{name}.relu")(x)


def _convolution(
    x: tf.Tensor, filters: int, kernel: tuple, strides: Any = (1, 1, 1), *, name: str
) -> tf.Tensor:
    """Applies a convolution padded by half a kernel on every side, like PyTorch's.

    At stride 1 this is SAME padding; at stride 2 that would depend on the size of the map.
    """
    strided = max(strides) > 1
    if strided and max(kernel) > 1:
        x = keras.layers.ZeroPadding3D([side // 2 for side in kernel], name=f"{name}.pad")(x)
    layer = Conv3D(
        filters,
        kernel,
        strides,
        padding="valid" if strided else "same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
    )
    return layer(x)


def _norm(x: tf.Tensor, name: str) -> tf.Tensor:
    return BatchNormalization3D(momentum=0.9, epsilon=1e-5, name=name)(x)
