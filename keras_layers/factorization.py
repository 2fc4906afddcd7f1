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

    With several action maps M each is a softmax with a weighted sum of its own; `action` is all M
    of them, one after the other, and `action_logits` of a position the mean of its M evidences,
    `log(mean(exp(la)))`, whose softmax is `action_attention`.

    Clips and their conjugates share the layer; put both in one batch.

    Args:
        hidden: Width of the attention's hidden layer.
        maps: Number of action maps, M.

    Call arguments:
        features: Feature map `[B, T, H, W, D]` after the backbone's last ReLU, of any size; T = 1
            for images.

    Output shape:
        A dict of float32 tensors: `action` `[B, M * D]` and `context` `[B, D]`; `action_attention`
        and `context_attention` `[B, T, H, W]`, each summing to 1; `action_logits` `[B, T, H, W]`,
        the `la` that overlays and the presence score are computed from.

    Examples:
        >>> outputs = ActionContextFactorization(hidden=256)(backbone(clips))
        >>> logits = keras.layers.Dense(classes)(outputs["action"])
    """

    def __init__(self, hidden: int = 256, maps: int = 1, **kwargs: Any):
        # Autocast would round float32 features to the compute type of a mixed policy.
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.hidden, self.maps = hidden, maps
        self.input_spec = keras.layers.InputSpec(ndim=5)
        self.attention = ActionContextAttention(hidden, maps, name="attention")
        self.pooling = AttentionPooling(name="pooling")

    def build(self, input_shape: Any) -> None:
        with tf.name_scope(self.attention.name):
            self.attention.build(input_shape)
        self.input_spec = self.attention.input_spec
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = self.attention(features)  # (B, T, H, W, M + 1)
        pooled, weights = self.pooling((logits, features))  # (B, M + 1, D), as the logits
        action, attention, evidence = pooled[:, 0], weights[..., 0], logits[..., 0]
        if self.maps > 1:
            action = tf.reshape(pooled[:, : self.maps], [-1, self.maps * features.shape[-1]])
            evidence = tf.reduce_logsumexp(logits[..., : self.maps], axis=-1)
            evidence -= tf.math.log(float(self.maps))
            attention = tf.nn.softmax(tf.reshape(evidence, [tf.shape(evidence)[0], -1]))
            attention = tf.reshape(attention, tf.shape(evidence))
        return {
            "action": action,
            "context": pooled[:, self.maps],
            "action_attention": attention,
            "context_attention": weights[..., self.maps],
            "action_logits": evidence,
        }

    def compute_output_shape(self, input_shape: Any) -> dict[str, tf.TensorShape]:
        batch, *grid, channels = input_shape
        maps = ("action_attention", "context_attention", "action_logits")
        return {
            "action": tf.TensorShape([batch, self.maps * channels]),
            "context": tf.TensorShape([batch, channels]),
            **dict.fromkeys(maps, tf.TensorShape([batch, *grid])),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden, "maps": self.maps}
