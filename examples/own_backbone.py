"""The factorization on a backbone of your own: here MobileNet of `keras.applications`, by frames.

    python examples/own_backbone.py data/mine

Any model will do that ends in a feature map: one of videos gives `[B, T, H, W, D]` itself, one of
images (keras.applications, a `keras_cv.models` backbone) is wrapped in `TimeDistributed`.
"""

from __future__ import annotations

import sys

# Ours first: they turn on the fast kernels of TensorFlow on CPUs.
from keras_layers import ActionContextFactorization
from tfrecords import load_info, read_dataset

# isort: split
import tensorflow as tf
from tensorflow import keras


def build(
    images: keras.Model, frames: int, size: tuple[int, int], classes: int
) -> tuple[keras.Model, keras.Model]:
    """A classifier of clips, pixels 0..255, and a model that shows where it looks."""
    clips = keras.Input((frames, *size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0)(clips)  # as this backbone wants it
    features = keras.layers.TimeDistributed(images)(scaled)  # (B, T, H, W, D)
    factors = ActionContextFactorization(hidden=256)(features)
    action = keras.layers.Dense(classes, name="action")(factors["action"])
    context = keras.layers.Dense(classes, name="context")(factors["context"])
    logits = keras.layers.Add(dtype="float32")([action, context])
    return keras.Model(clips, logits), keras.Model(clips, factors["action_attention"])


def main(
    directory: str, frames: int = 8, size: tuple[int, int] = (128, 128), epochs: int = 10
) -> tf.Tensor:
    """Returns the maps `[B, T, H, W]` of the first test clips."""
    images = keras.applications.MobileNet(
        input_shape=(*size, 3),
        include_top=False,
        weights=None,  # "imagenet" downloads its own
    )
    classes = len(load_info(directory).labels) + 1  # the last: no action at all
    model, attention = build(images, frames, size, classes)

    def read(split: str, training: bool) -> tf.data.Dataset:
        data = read_dataset(directory, split, frames, size, 4, training)
        return data.map(lambda inputs, target, weight: (inputs["clip"], target, weight))

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=loss, weighted_metrics=["accuracy"])
    test = read("test", training=False)
    model.fit(read("train", training=True), validation_data=test, epochs=epochs)
    return attention(next(iter(test))[0])


if __name__ == "__main__":
    main(sys.argv[1])
