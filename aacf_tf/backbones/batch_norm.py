"""Changes batch normalizations of a built network: folds, freezes or synchronises them.

With fixed statistics a batch normalization is one multiplication and one addition a channel, which
the convolution before it can absorb in its kernel and a bias:

    gamma (conv(x) + b - mean) / sqrt(variance + epsilon) + beta = conv'(x) + b'
    kernel' = kernel s,   b' = (b - mean) s + beta,   s = gamma / sqrt(variance + epsilon)
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf
from tensorflow import keras

from keras_layers import Conv3D

# These classes, not their subclasses.
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.Conv3D, Conv3D)


def fold_batch_norm(backbone: keras.Model) -> keras.Model:
    """Returns a copy for inference with the batch norms folded into the convolutions before them.

    Folds the batch norms that directly follow a convolution which nothing else reads; others, such
    as one before its convolution, stay. A layer of the same name that passes its input on replaces
    a folded one. A layer with batch norms of its own is folded if it has
    `folded_config()`, the configuration of its copy, and `normed`, the pairs of a convolution and
    its batch norm (or None), in the same order in both.

    Args:
        backbone: Functional model with its variables; it is not changed. Models within it are
            folded too.

    Returns:
        A model with the same inputs, outputs and names of layers, and variables of its own. Its
        outputs are equal but for rounding (1e-4 relative in float32). It is not for training.

    Raises:
        ValueError: `backbone` is not a functional model.

    Example:
    >>> fold_batch_norm(i3d()).count_params() < i3d().count_params()
    True
    """
    if not getattr(backbone, "inputs", None):
        raise ValueError(f"Expected a functional model. Received {type(backbone).__name__}.")
    folds = _find_folds(backbone)
    norms = {norm.name for norm in folds.values()}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model):
            return fold_batch_norm(layer)
        if layer.name in norms:
            return keras.layers.Activation("linear", dtype=layer.dtype_policy, name=layer.name)
        config = getattr(layer, "folded_config", layer.get_config)()
        if layer.name in folds:
            config.update(use_bias=True)
        return type(layer).from_config(config)

    folded = keras.models.clone_model(backbone, clone_function=clone)
    for layer in backbone.layers:
        copy = folded.get_layer(layer.name)
        if hasattr(layer, "folded_config"):
            for (convolution, norm), (target, _) in zip(layer.normed, copy.normed):
                _fold(convolution, norm, target)
        elif layer.name in folds:
            _fold(layer, folds[layer.name], copy)
        elif layer.name not in norms and not isinstance(layer, keras.Model):
            copy.set_weights(layer.get_weights())
    return folded


def freeze_batch_norm(backbone: keras.Model) -> None:
    """Puts every batch norm in inference mode for training too, as the paper does on HACS.

    Their statistics, offsets and scales stay fixed while the convolutions learn. Setting
    `backbone.trainable = True` undoes it, so call this after setting `trainable`. Idempotent.
    """
    for part in backbone.submodules:
        if isinstance(part, keras.layers.BatchNormalization):
            part.trainable = False  # in Keras this also means inference mode


def synchronize_batch_norm(backbone: keras.Model) -> None:
    """Takes the statistics of every batch norm over all replicas of a strategy, in training.

    With one replica they stay the same but for rounding, and for the moving variance, which is then
    the biased one: only the fused kernel, which cannot synchronise, takes the unbiased one.
    """
    for part in backbone.submodules:
        if isinstance(part, keras.layers.BatchNormalization):
            part.synchronized, part.fused = True, False


def _find_folds(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Returns, by name of each convolution, the batch norm that can be folded into it."""
    makers, readers = {}, Counter(id(tensor) for tensor in tf.nest.flatten(model.output))
    for layer in model.layers:
        for node in range(len(layer.inbound_nodes)):
            readers.update(id(tensor) for tensor in tf.nest.flatten(layer.get_input_at(node)))
        # A layer that is used several times would be folded at every use.
        if type(layer) in _CONVOLUTIONS and len(layer.inbound_nodes) == 1:
            makers[id(layer.output)] = layer
    folds = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and len(layer.inbound_nodes) == 1:
            convolution = makers.get(id(layer.input))
            if (
                convolution is not None
                and readers[id(layer.input)] == 1
                and convolution.activation is keras.activations.linear
                and convolution.data_format == "channels_last"
                and set(layer.input_spec.axes) == {layer.input_spec.ndim - 1}
            ):
                folds[convolution.name] = layer
    return folds


def _fold(
    convolution: keras.layers.Layer,
    norm: keras.layers.BatchNormalization | None,
    target: keras.layers.Layer,
) -> None:
    """Sets the weights of `target` to a convolution with the norm folded in, in float64."""
    if norm is None:
        target.set_weights(convolution.get_weights())
        return
    kernel, *bias = (weights.astype(np.float64) for weights in convolution.get_weights())
    mean, variance = (
        np.asarray(weights, np.float64) for weights in (norm.moving_mean, norm.moving_variance)
    )
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale *= np.asarray(norm.gamma, np.float64)
    offset = np.asarray(norm.beta, np.float64) if norm.center else 0.0
    bias = ((bias[0] if bias else 0.0) - mean) * scale + offset
    target.set_weights([(kernel * scale).astype(np.float32), bias.astype(np.float32)])
