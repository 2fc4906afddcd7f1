"""Temporal shift: gives the frames of an image network a view of their neighbours."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="aacf")
class TemporalShift(keras.layers.Layer):
    """Moves a share of the channels one frame ahead and as many one frame back.

    The first channels of a frame are those of the frame before, the next ones those of the frame
    behind, with zeros for frames outside the clip. The layer has no weights and needs no
    multiplications (Lin, Gan and Han, ICCV 2019). On a clip of one frame both shares are zeros, so
    do not use it for images.

    Args:
        share: Share of the channels that move in each direction, 0 to 0.5, rounded down to
            whole channels; 0.125 by default.

    Call arguments:
        inputs: Feature map `[B, T, H, W, C]`.

    Output shape:
        Same as the inputs.

    Raises:
        ValueError: If `share` is not in 0 to 0.5.

    Examples:
        >>> frames = tf.reshape([1.0, 2.0, 3.0], [1, 3, 1, 1, 1]) * tf.ones([1, 1, 1, 1, 4])
        >>> TemporalShift(0.25)(frames)[0, :, 0, 0].numpy()
        array([[0., 2., 1., 1.],
               [1., 3., 2., 2.],
               [2., 0., 3., 3.]], dtype=float32)
    """

    def __init__(self, share: float = 0.125, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= share <= 0.5:
            raise ValueError(f"Expected share to be in 0..0.5. Received share={share}.")
        self.share = share
        self.input_spec = keras.layers.InputSpec(ndim=5)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        moved = int(self.share * inputs.shape[-1])
        ahead, back, still = tf.split(inputs, [moved, moved, -1], axis=-1)
        around = [[0, 0], [1, 1], [0, 0], [0, 0], [0, 0]]
        ahead, back = tf.pad(ahead, around)[:, :-2], tf.pad(back, around)[:, 2:]
        return tf.ensure_shape(tf.concat([ahead, back, still], axis=-1), inputs.shape)

    def windows(self) -> tuple[tuple[int, int, str], ...]:
        """Returns reach, stride and padding in time, height and width."""
        return (3, 1, "same"), (1, 1, "same"), (1, 1, "same")

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "share": self.share}
