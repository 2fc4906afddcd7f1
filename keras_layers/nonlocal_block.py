"""The non-local block: self-attention over the positions of a feature map."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="aacf")
class NonLocalBlock3D(keras.layers.Layer):
    """Non-local block in embedded Gaussian form with a residual (Wang et al., CVPR 2018).

    1. `q, k, v`: linear projections of each position, D -> `depth`.
    2. `weights = softmax(q k^T)` over all N = T * H * W positions, in float32.
    3. `features + W (weights v)`; W starts at zero, so the block starts as the identity.

    Args:
        depth: Depth of the projections; None, the default: half of D, as in the paper.

    Call arguments:
        features: Feature map `[B, T, H, W, D]`.

    Output shape:
        Same as the features, in the compute dtype. The weights take N x N numbers a clip: 8 MB for
        the 1408 positions of I3D's map of a 128x256x352 clip.

    Examples:
        >>> features = NonLocalBlock3D()(features)
    """

    def __init__(self, depth: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.depth = depth
        self.input_spec = keras.layers.InputSpec(ndim=5)

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        depth = self.depth or max(1, channels // 2)
        policy = self.dtype_policy
        self.embed = keras.layers.Dense(3 * depth, dtype=policy, name="embed")
        # HDF5 files keep the weights of a layer by name.
        with tf.name_scope(self.embed.name):
            self.embed.build(input_shape)
        self.project = keras.layers.Dense(
            channels, kernel_initializer="zeros", dtype=policy, name="project"
        )
        with tf.name_scope(self.project.name):
            self.project.build((*input_shape[:-1], depth))
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={-1: channels})
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(features)
        flat = tf.reshape(features, [shape[0], -1, features.shape[-1]])
        queries, keys, values = tf.split(self.embed(flat), 3, axis=-1)
        logits = tf.cast(tf.matmul(queries, keys, transpose_b=True), tf.float32)
        weights = tf.cast(tf.nn.softmax(logits), values.dtype)
        update = self.project(tf.matmul(weights, values))
        return features + tf.reshape(update, shape)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth": self.depth}
