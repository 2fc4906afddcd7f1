"""Inception-v1 I3D, the paper's backbone for video (Carreira and Zisserman, CVPR 2017).

Layers and names are those of the official implementation (github.com/deepmind/kinetics-i3d).
Up to `Mixed_5c` it costs 13.97 GFLOP for 16x112x112 and 222 for 64x224x224. The strides of that map
are 8 in time and 32 in space, so the paper's 128x256x352 gives 16x8x11x1024.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.networks.common import chosen_end_point, model_up_to, scaled_pixels
from keras_layers import MaxPooling3D
from keras_layers.convolution.inception3d import ConvUnit3D, InceptionModule3D

_POOL = MaxPooling3D
# End point: layer and its arguments (ConvUnit3D: channels, kernel, stride; pooling: window, stride,
# padding; InceptionModule3D: channels of its six convolutions, irregular name of one of them).
_LAYERS = {
    "Conv3d_1a_7x7": (ConvUnit3D, (64, 7, 2)),
    "MaxPool3d_2a_3x3": (_POOL, ((1, 3, 3), (1, 2, 2), "same")),
    "Conv3d_2b_1x1": (ConvUnit3D, (64, 1)),
    "Conv3d_2c_3x3": (ConvUnit3D, (192, 3)),
    "MaxPool3d_3a_3x3": (_POOL, ((1, 3, 3), (1, 2, 2), "same")),
    "Mixed_3b": (InceptionModule3D, ((64, 96, 128, 16, 32, 32),)),
    "Mixed_3c": (InceptionModule3D, ((128, 128, 192, 32, 96, 64),)),
    "MaxPool3d_4a_3x3": (_POOL, (3, 2, "same")),
    "Mixed_4b": (InceptionModule3D, ((192, 96, 208, 16, 48, 64),)),
    "Mixed_4c": (InceptionModule3D, ((160, 112, 224, 24, 64, 64),)),
    "Mixed_4d": (InceptionModule3D, ((128, 128, 256, 24, 64, 64),)),
    "Mixed_4e": (InceptionModule3D, ((112, 144, 288, 32, 64, 64),)),
    "Mixed_4f": (InceptionModule3D, ((256, 160, 320, 32, 128, 128),)),
    "MaxPool3d_5a_2x2": (_POOL, (2, 2, "same")),
    "Mixed_5b": (InceptionModule3D, ((256, 160, 320, 32, 128, 128), "Conv3d_0a_3x3")),
    "Mixed_5c": (InceptionModule3D, ((384, 192, 384, 48, 128, 128),)),
}
END_POINTS = (*_LAYERS, "Logits", "Predictions")


@keras.utils.register_keras_serializable(package="aacf")
class I3DLogits(keras.layers.Layer):
    """The top of I3D: class logits from the `Mixed_5c` map, in float32 under every policy.

    1. Average over space: the official 7x7 window at 224x224, the whole map at any other size.
    2. Average of every two neighbouring time steps, stride 1 (a single step stays as it is).
    3. Dropout, then a 1x1x1 convolution with bias, `Conv3d_0c_1x1`.
    4. Mean over time.

    Args:
        classes: Number of classes.
        dropout: Probability that a pooled channel is dropped in training; 0 by default.

    Call arguments:
        inputs: Feature map `[B, T, H, W, C]`.
        training: Whether to apply the dropout.

    Output shape:
        float32 `[B, classes]`.

    Examples:
        >>> I3DLogits(400)(tf.zeros([1, 8, 7, 7, 1024])).shape
        TensorShape([1, 400])
    """

    def __init__(self, classes: int = 400, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.classes = classes
        self.dropout = keras.layers.Dropout(dropout, dtype="float32")
        self.unit = ConvUnit3D(
            classes,
            use_bias=True,
            batch_norm=False,
            activation=None,
            dtype="float32",
            name="Conv3d_0c_1x1",
        )

    def build(self, input_shape: Any) -> None:
        with tf.name_scope(self.unit.name):
            self.unit.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        steps = tf.reduce_mean(inputs, axis=[2, 3], keepdims=True)  # (B, T, 1, 1, C)
        length = tf.shape(steps)[1]
        pairs = tf.maximum(length - 1, 1)
        steps = (steps[:, :pairs] + steps[:, length - pairs :]) / 2
        logits = self.unit(self.dropout(steps, training=training))
        return tf.reduce_mean(logits, axis=[1, 2, 3])

    def compute_output_shape(self, input_shape: Any) -> tuple[Optional[int], ...]:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "dropout": self.dropout.rate}


def i3d(
    end_point: Optional[str] = None,
    include_top: bool = False,
    classes: int = 400,
    dropout: float = 0.0,
    channels: int = 3,
    all_end_points: bool = False,
) -> keras.Model:
    """Builds I3D from pixels up to one of its end points.

    Args:
        end_point: Last end point, one of `END_POINTS`; by default `Mixed_5c`. `Logits` and
            `Predictions` (its softmax) include the top.
        include_top: Short for `end_point="Logits"`.
        classes: Number of classes of the top.
        dropout: Dropout rate of the top; the official training used 0.5.
        channels: Number of input channels: 3 for RGB, 2 for optical flow.
        all_end_points: Whether to return all end points up to the last, by name.

    Returns:
        A model that takes pixels 0..255, uint8 or floating, `[B, T, H, W, channels]`, scales them
        to [-1, 1], and returns the end point: features `[B, t, h, w, D]` in the compute dtype of
        the global policy, logits or probabilities float32 `[B, classes]`. With `all_end_points` a
        dict of them in order.

    Raises:
        ValueError: If `end_point` is unknown, or lies below the top that `include_top` asks for.
    """
    end_point = chosen_end_point(end_point, END_POINTS, include_top, top=2)
    pixels, x = scaled_pixels("inception", channels)
    layers = _layers(x, classes, dropout)
    return model_up_to(end_point, pixels, layers, all_end_points, name="inception_i3d")


def _layers(x: tf.Tensor, classes: int, dropout: float) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields the end points in order, as names and tensors."""
    for name, (kind, arguments) in _LAYERS.items():
        x = kind(*arguments, name=name)(x)
        yield name, x
    x = I3DLogits(classes, dropout, name="Logits")(x)
    yield "Logits", x
    yield "Predictions", keras.layers.Softmax(dtype="float32", name="Predictions")(x)
