"""The factorization in an ordinary Keras script: the pipeline, the layers, `fit`, nothing else.

    python -m tfrecords.build --source=demo --output=data/demo
    python examples/plain_keras.py data/demo

Three cross entropies: the action explains what the context cannot; what clip and conjugate share
cancels in their difference; the context alone explains the conjugate. The recipes have more terms.
"""

import sys

# Ours first: they turn on the fast kernels of TensorFlow on CPUs.
from aacf_tf.backbones import build_backbone
from keras_layers import ActionContextFactorization
from tfrecords import load_info, read_dataset

# isort: split
import tensorflow as tf
from tensorflow import keras


class Factorized(keras.Model):
    """Clips and conjugates to the logits of three losses."""

    def __init__(self, classes: int):
        super().__init__()
        self.backbone = build_backbone("small")
        self.factorize = ActionContextFactorization(hidden=32)
        self.of_action, self.of_context = (keras.layers.Dense(classes) for _ in range(2))

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        both = tf.concat([inputs["clip"], inputs["conjugate"]], axis=0)
        factors = self.factorize(self.backbone(both, training=training))
        action, of_nothing = tf.split(self.of_action(factors["action"]), 2)
        context, scene = tf.split(self.of_context(factors["context"]), 2)
        learned = action + tf.stop_gradient(context)
        return {"combined": learned, "difference": action - of_nothing, "context": scene}


def read(directory: str, split: str, training: bool) -> tf.data.Dataset:
    def for_fit(inputs: dict[str, tf.Tensor], target: tf.Tensor, weight: tf.Tensor) -> tuple:
        paired = weight * tf.cast(inputs["has_conjugate"], tf.float32)
        weights = {"combined": weight, "difference": paired, "context": paired}
        clips = {name: inputs[name] for name in ("clip", "conjugate")}
        return clips, dict.fromkeys(weights, target), weights

    return read_dataset(directory, split, 12, (48, 48), 16, training).map(for_fit)


def main(directory: str, epochs: int = 24) -> keras.callbacks.History:
    model = Factorized(len(load_info(directory).labels) + 1)  # the last: no action at all
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=loss, weighted_metrics=["accuracy"])
    train, test = (read(directory, split, split == "train") for split in ("train", "test"))
    return model.fit(train, validation_data=test, epochs=epochs)


if __name__ == "__main__":
    main(sys.argv[1])
