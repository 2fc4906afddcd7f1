"""Layers that run an image network on the frames of videos."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="aacf")
class FramesToImages(keras.layers.Layer):
    """Folds the frames of clips into the batch; `ImagesToFrames` is the inverse.

    Call arguments:
        clips: Clips `[B, T, H, W, C]`.

    Output shape:
        `[B * T, H, W, C]`, clip by clip.

    Examples:
        >>> FramesToImages()(tf.zeros([2, 8, 32, 32, 3])).shape
        TensorShape([16, 32, 32, 3])
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=5)

    def call(self, clips: tf.Tensor) -> tf.Tensor:
        batch, time, height, width = tf.unstack(tf.shape(clips)[:4])
        images = tf.reshape(clips, [batch * time, height, width, clips.shape[-1]])
        return tf.ensure_shape(images, self.compute_output_shape(clips.shape))

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        batch, time, *image = tuple(input_shape)
        count = None if batch is None or time is None else batch * time
        return tf.TensorShape([count, *image])


@keras.utils.register_keras_serializable(package="aacf")
class ImagesToFrames(keras.layers.Layer):
    """Unfolds the maps of images into maps of clips; the inverse of `FramesToImages`.

    Call arguments:
        inputs: List of the maps `[B * T, h, w, D]` and the clips `[B, T, H, W, C]` that went into
            `FramesToImages`, of which only B and T are read.

    Output shape:
        `[B, T, h, w, D]`.

    Examples:
        >>> clips = keras.Input((None, 224, 224, 3))
        >>> maps = image_network(FramesToImages()(clips))  # [B * T, 7, 7, 2208]
        >>> maps = ImagesToFrames()([maps, clips])         # [B, T, 7, 7, 2208]
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.input_spec = [keras.layers.InputSpec(ndim=4), keras.layers.InputSpec(ndim=5)]

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        maps, clips = inputs
        frames = tf.reshape(maps, tf.concat([tf.shape(clips)[:2], tf.shape(maps)[1:]], axis=0))
        return tf.ensure_shape(frames, self.compute_output_shape([maps.shape, clips.shape]))

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        maps, clips = (tuple(shape) for shape in input_shape)
        return tf.TensorShape([*clips[:2], *maps[1:]])
