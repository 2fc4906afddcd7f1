"""Batch normalization of feature maps in space and time, by the fused kernel."""

from __future__ import annotations

from typing import Any, Optional

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="aacf")
class BatchNormalization3D(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` of `[B, T, H, W, D]`, with frames folded into the batch.

    On a CPU, oneDNN has a fused kernel for four dimensions only. Folding does not change the
    statistics, which are taken over all but the last axis.

    Args:
        **kwargs: Arguments of `keras.layers.BatchNormalization` but `axis`, which is the last one.

    Call arguments:
        inputs: Feature map `[B, T, H, W, D]`.
        training: Whether to normalize by the statistics of the batch.

    Output shape:
        Same as the inputs.

    Examples:
        >>> x = BatchNormalization3D(momentum=0.9)(x)
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=5)

    def build(self, input_shape: Any) -> None:
        super().build((None, None, None, input_shape[-1]))
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={4: input_shape[-1]})

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        shape = tf.shape(inputs)
        frames = tf.reshape(inputs, [shape[0] * shape[1], shape[2], shape[3], inputs.shape[-1]])
        outputs = tf.reshape(super().call(frames, training=training), shape)
        outputs.set_shape(inputs.shape)
        return outputs

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)
