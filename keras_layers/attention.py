"""The attention maps of the factorization."""

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

    With several action maps M, `la` has M values, of whose `softplus` the mean is taken.

    The layer computes in float32 under every policy: in float16 the softmax that follows overflows.
    The form is our reconstruction; the paper's supplement only states that two maps are learned.

    Args:
        hidden: Width of the hidden layer; 32 for D = 64 and 256 for D = 1024 worked well.
        maps: Number of action maps, M.

    Call arguments:
        features: Feature map `[B, T, H, W, D]`; T = 1 for still images.

    Output shape:
        float32 `[B, T, H, W, M + 1]`; `[..., :M]` is `la`, `[..., M]` is `lc - softplus(la)`.

    Examples:
        >>> logits = ActionContextAttention(hidden=256)(features)
    """

    def __init__(self, hidden: int = 256, maps: int = 1, **kwargs: Any):
        # Autocast would round float32 features to the compute type of a mixed policy.
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        for name, value in (("hidden", hidden), ("maps", maps)):
            if value < 1:
                raise ValueError(f"Expected {name} to be at least 1. Received {name}={value}.")
        self.hidden, self.maps = hidden, maps
        self.input_spec = keras.layers.InputSpec(ndim=5)
        self.project = keras.layers.Dense(hidden, "relu", dtype="float32", name="project")
        self.score = keras.layers.Dense(
            maps + 1,
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
        action, context = tf.split(raw, [self.maps, 1], axis=-1)
        suppressed = tf.reduce_mean(tf.nn.softplus(action), axis=-1, keepdims=True)
        return tf.concat([action, context - suppressed], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape([*input_shape[:-1], self.maps + 1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden, "maps": self.maps}
