"""Dropout that resumes from a checkpoint."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

# Of the replicas' counts the first one; Keras 3, which alone has `keras.ops`, names it.
_FIRST: Any = (
    "only_first_replica" if hasattr(keras, "ops") else tf.VariableAggregation.ONLY_FIRST_REPLICA
)


@keras.utils.register_keras_serializable(package="aacf")
class StatelessDropout(keras.layers.Layer):
    """Applies dropout as a function of a seed and the number of training calls so far.

    Keras's dropout draws from a generator that no checkpoint holds, so a resumed run differs from
    an uninterrupted one. Here the number of calls is a variable, saved and restored with the
    weights.

    Args:
        rate: Share of the values set to 0, in [0, 1); the others are scaled by 1 / (1 - rate).
        seed: Seed of the draws; the replicas of a strategy draw independently.

    Call arguments:
        inputs: Floating tensor of any shape.
        training: If False, the default, the inputs are returned unchanged.

    Output shape:
        Same as the inputs.

    Examples:
        >>> x = StatelessDropout(0.4, seed=1)(x, training=True)
    """

    def __init__(self, rate: float, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"Expected a rate in [0, 1). Received rate={rate}.")
        self.rate, self.seed = rate, seed

    def build(self, input_shape: Any) -> None:
        self.calls = self.add_weight(
            name="calls",
            shape=(),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            aggregation=_FIRST,
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not self.rate or not training:
            return inputs
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
        # In a graph `tf.stack` takes no variable of Keras 3.
        seed = tf.stack([self.seed + replica * 2**32, tf.convert_to_tensor(self.calls)])
        self.calls.assign_add(1)
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
