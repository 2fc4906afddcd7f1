"""The two attention maps of the factorization."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="aacf")
class ActionContextAttention(keras.layers.Layer):
    """Computes attention logits for action and context at every position of a feature map.

    1. `h = relu(W1 f + b1)` at each position, D -> hidden.
    2. `(la, lc) = W2 h + b2`, hidden -> 2, with W2 ~ N(0, 0.01^2) and b2 = 0, so that training
       starts as plain average pooling.
    3. The action suppresses the context at its positions: `lc - softplus(la)`.

    The layer computes in float32 under every policy: in float16 the softmax that follows overflows.
    The form is our reconstruction; the paper's supplement only states that two maps are learned.

    Args:
        hidden: Width of the hidden layer; 32 for D = 64 and 256 for D = 1024 worked well.

    Call arguments:
        features: Feature map `[B, T, H, W, D]`; T = 1 for still images.

    Output shape:
        float32 `[B, T, H, W, 2]`; `[..., 0]` is `la`, `[..., 1]` is `lc - softplus(la)`.

    Examples:
        >>> logits = ActionContextAttention(hidden=256)(features)
    """

    def __init__(self, hidden: int = 256, **kwargs: Any):
        # Autocast would round float32 features to the compute type of a mixed policy.
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        if hidden < 1:
            raise ValueError(f"Expected hidden to be at least 1. Received hidden={hidden}.")
        self.hidden = hidden
        self.input_spec = keras.layers.InputSpec(ndim=5)
        self.project = keras.layers.Dense(hidden, "relu", dtype="float32", name="project")
        self.score = keras.layers.Dense(
            2,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            dtype="float32",
            name="score",
        )

    def build(self, input_shape: Any) -> None:
        # HDF5 files keep the weights of a layer by name.
        with tf.name_scope(self.project.name):
            self.project.build(input_shape)
        with tf.name_scope(self.score.name):
            self.score.build((*input_shape[:-1], self.hidden))
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={-1: input_shape[-1]})
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        raw = self.score(self.project(tf.cast(features, tf.float32)))
        action, context = tf.unstack(raw, axis=-1)
        return tf.stack([action, context - tf.nn.softplus(action)], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape([*input_shape[:-1], 2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}
