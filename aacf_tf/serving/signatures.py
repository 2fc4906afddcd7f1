"""Builds the signatures of the exported model, see `aacf_tf.serving.export`."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf
from tensorflow import keras

from aacf_tf.evaluation.classification import SCORES
from aacf_tf.models.losses import presence_score
from aacf_tf.recipes import Recipe
from aacf_tf.serving import requests
from keras_layers import pooling_in_2d
from tfrecords.reading.phases import frame_indices
from tfrecords.reading.preprocess import PREPROCESS, decode_image
from tfrecords.records import codec
from tfrecords.records.names import MODALITIES

Tensors = dict  # name -> tf.Tensor

SIGNATURES = ("serving_default", "serve_tensor", "serve_resized", "serve_examples", "features")


def make_signatures(
    backbone: keras.Model,
    head: keras.layers.Layer,
    recipe: Recipe,
    classes: int,
    multi_label: bool,
) -> dict[str, Callable]:
    """Returns the signatures: name to tf.function with a fixed input."""
    data = recipe.data
    size, frames = (data.height, data.width), data.frames
    inputs = {stream.served: stream for stream in MODALITIES[recipe.modality].streams}
    pixels = {
        name: tf.TensorSpec([None, frames, None, None, stream.channels], tf.uint8, name=name)
        for name, stream in inputs.items()
    }
    fitted = {
        name: tf.TensorSpec([None, frames, *size, stream.channels], tf.uint8, name=name)
        for name, stream in inputs.items()
    }
    images = {name: tf.TensorSpec([None, frames], tf.string, name=name) for name in inputs}
    sides = (None, None) if data.resize == "whole" else size

    def see(clips: Tensors) -> tf.Tensor:
        """Computes the backbone's features, float32, from pixels of the network's size."""
        if len(clips) > 1:
            pixels = {inputs[name].name: clip for name, clip in clips.items()}
        else:
            pixels = next(iter(clips.values()))
        return tf.cast(backbone(pixels, training=False), tf.float32)

    def serve(clips: Tensors) -> Tensors:
        outputs = head(see(clips), training=False)
        return _outputs(outputs, recipe.score, classes, multi_label, "presence" in head.terms)

    def serve_fitted(clips: Tensors) -> Tensors:
        with pooling_in_2d():  # TensorFlow Lite has no other
            return serve(clips)

    def fit_one(name: str, clip: tf.Tensor) -> tf.Tensor:
        return PREPROCESS[inputs[name]](clip, size, data.resize)

    def fit(clips: Tensors) -> Tensors:
        return {name: fit_one(name, clip) for name, clip in clips.items()}

    def decode(name: str, encoded: tf.Tensor) -> tf.Tensor:
        channels = inputs[name].channels

        def decode_one(image: tf.Tensor) -> tf.Tensor:
            return fit_one(name, decode_image(image, channels))

        # Frame by frame: the clips of a batch need not be of one size.
        spec = tf.TensorSpec([*sides, channels], tf.uint8)
        flat, large = requests.check_pictures(tf.reshape(encoded, [-1]))

        def decode_all(at_once: int) -> tf.Tensor:
            return tf.map_fn(
                decode_one, flat, fn_output_signature=spec, parallel_iterations=at_once
            )

        flat = tf.cond(large, lambda: decode_all(1), lambda: decode_all(10))
        height, width = tf.unstack(tf.shape(flat)[1:3]) if None in sides else size
        return tf.reshape(flat, [-1, frames, height, width, channels])

    def serve_encoded(encoded: Tensors) -> Tensors:
        return serve({name: decode(name, values) for name, values in encoded.items()})

    def sample_example(serialized: tf.Tensor) -> Tensors:
        record = codec.parse(serialized, masks=False, streams=[*inputs.values()])
        step = record["fps"] / data.fps if data.fps else tf.constant(1.0)
        encoded = {name: record[stream.pair[0]] for name, stream in inputs.items()}
        length = requests.check_record(record["fps"], [*encoded.values()])
        indices = frame_indices(length, frames, step, None)
        return {name: tf.gather(values, indices) for name, values in encoded.items()}

    def serve_examples(requested: Tensors) -> Tensors:
        spec = dict.fromkeys(inputs, tf.TensorSpec([frames], tf.string))
        examples = requested["examples"]
        return serve_encoded(tf.map_fn(sample_example, examples, fn_output_signature=spec))

    def features(clips: Tensors) -> Tensors:
        maps = see(fit(clips))
        factors = head(maps, training=False)
        kept = {name: factors[name] for name in ("action", "context") if name in factors}
        return {"features": maps, **kept}

    functions = {
        "serving_default": (serve_encoded, images),
        "serve_tensor": (lambda clips: serve(fit(clips)), pixels),
        "serve_resized": (serve_fitted, fitted),
        "serve_examples": (
            serve_examples,
            {"examples": tf.TensorSpec([None], tf.string, name="examples")},
        ),
        "features": (features, pixels),
    }

    def checked(function: Callable, specs: dict[str, tf.TensorSpec]) -> Callable:
        return lambda requested: function(requests.check_shapes(requested, specs))

    return {
        name: tf.function(checked(function, specs), input_signature=[specs])
        for name, (function, specs) in functions.items()
    }


def _outputs(
    outputs: Tensors, score: str, classes: int, multi_label: bool, presence: bool
) -> Tensors:
    """Turns a head's outputs into those of the signatures; with the evidence if it learns it."""
    activate = tf.sigmoid if multi_label else tf.nn.softmax
    served = {}
    for name in SCORES:
        if f"{name}_scores" in outputs:
            probabilities = activate(outputs[f"{name}_scores"])
            served[f"{name}_probabilities"] = probabilities[:, :classes]
    chosen = served.get(f"{score}_probabilities", served["combined_probabilities"])
    served["probabilities"] = tf.identity(chosen)
    for name in ("action_attention", "context_attention", "action_logits", "class_activation"):
        if name in outputs:
            served[name] = outputs[name]
    if presence:
        served["action_evidence"] = presence_score(outputs["action_logits"])
    return served
