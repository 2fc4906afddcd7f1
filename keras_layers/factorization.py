"""Attentive action and context factorization as one Keras layer."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from keras_layers.attention import ActionContextAttention
from keras_layers.pooling import AttentionPooling


@keras.utils.register_keras_serializable(package="aacf")
class ActionContextFactorization(keras.layers.Layer):
    """Factorizes a feature map into an action and a context feature.

    1. `la, lc`: attention logits of every position (`ActionContextAttention`).
    2. `action_attention = softmax(la)`, `context_attention = softmax(lc - softplus(la))`, each a
       single softmax over space and time together.
    3. `action` and `context`: the features weighted by the two maps (`AttentionPooling`).

    Clips and their conjugates share the layer; put both in one batch.

    Args:
        hidden: Width of the attention's hidden layer.

    Call arguments:
        features: Feature map `[B, T, H, W, D]` after the backbone's last ReLU, of any size; T = 1
            for images.

    Output shape:
        A dict of float32 tensors: `action` and `context` `[B, D]`; `action_attention` and
        `context_attention` `[B, T, H, W]`, each summing to 1; `action_logits` `[B, T, H, W]`,
        the `la` that overlays and the presence score are computed from.

    Examples:
        >>> outputs = ActionContextFactorization(hidden=256)(backbone(clips))
        >>> logits = keras.layers.Dense(classes)(outputs["action"])
    """

    def __init__(self, hidden: int = 256, **kwargs: Any):
        # Autocast would round float32 features to the compute type of a mixed policy.
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.hidden = hidden
        self.input_spec = keras.layers.InputSpec(ndim=5)
        self.attention = ActionContextAttention(hidden, name="attention")
        self.pooling = AttentionPooling(name="pooling")

    def build(self, input_shape: Any) -> None:
        with tf.name_scope(self.attention.name):
            self.attention.build(input_shape)
        self.input_spec = self.attention.input_spec
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = self.attention(features)  # (B, T, H, W, 2)
        pooled, weights = self.pooling((logits, features))  # (B, 2, D), (B, T, H, W, 2)
        return {
            "action": pooled[:, 0],
            "context": pooled[:, 1],
            "action_attention": weights[..., 0],
            "context_attention": weights[..., 1],
            "action_logits": logits[..., 0],
        }

    def compute_output_shape(self, input_shape: Any) -> dict[str, tf.TensorShape]:
        batch, *grid, channels = input_shape
        vector, grid = tf.TensorShape([batch, channels]), tf.TensorShape([batch, *grid])
        maps = ("action_attention", "context_attention", "action_logits")
        return {"action": vector, "context": vector, **dict.fromkeys(maps, grid)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}
