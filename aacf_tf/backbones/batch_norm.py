"""Batch normalization changed after it is built: folded into convolutions, frozen, synchronised.

With fixed statistics a batch normalization is one multiplication and one addition a channel, which
the convolution before it can do with its kernel and a bias:

    gamma (conv(x) + b - mean) / sqrt(variance + epsilon) + beta = conv'(x) + b'
    kernel' = kernel s,   b' = (b - mean) s + beta,   s = gamma / sqrt(variance + epsilon)
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf
from tensorflow import keras

from keras_layers import Conv3D, ConvUnit3D, InceptionModule3D

# These, not the classes made of them.
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.Conv3D, Conv3D)


def fold_batch_norm(backbone: keras.Model) -> keras.Model:
    """A copy for inference whose convolutions do the work of the batch norms behind them.

    Folded are those that directly follow a convolution which nothing else reads; the others, such
    as one before its convolution, stay. A folded layer leaves a layer of its name behind that
    passes its input on.

    Args:
        backbone: a functional model, with its variables; it is left as it is. Models within it are
            folded too.

    Returns:
        a model with the same inputs, outputs and names of layers and variables of its own, its
        outputs equal but for rounding (1e-4 relative in float32). It is not for training.

    Raises:
        ValueError: `backbone` is no functional model.

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
        config = layer.get_config()
        if isinstance(layer, ConvUnit3D) and config["batch_norm"]:
            config.update(batch_norm=False, use_bias=True)
        elif isinstance(layer, InceptionModule3D):
            config.update(batch_norm=False)
        elif layer.name in folds:
            config.update(use_bias=True)
        return type(layer).from_config(config)

    folded = keras.models.clone_model(backbone, clone_function=clone)
    for layer in backbone.layers:
        copy = folded.get_layer(layer.name)
        if isinstance(layer, ConvUnit3D):
            _fold(layer.conv_3d, layer.batch_norm, copy.conv_3d)
        elif isinstance(layer, InceptionModule3D):
            for scope, unit in layer.units.items():
                _fold(unit.conv_3d, unit.batch_norm, copy.units[scope].conv_3d)
        elif layer.name in folds:
            _fold(layer, folds[layer.name], copy)
        elif layer.name not in norms and not isinstance(layer, keras.Model):
            copy.set_weights(layer.get_weights())
    return folded


def freeze_batch_norm(backbone: keras.Model) -> None:
    """Puts every batch norm in inference mode for training too, as the paper does on HACS.

    Their statistics, offsets and scales stay, the convolutions go on learning. Setting
    `backbone.trainable = True` undoes it, so it comes after that; doing it twice is doing it once.
    """
    for part in backbone.submodules:
        if isinstance(part, keras.layers.BatchNormalization):
            part.trainable = False  # in Keras also: runs in inference mode


def synchronize_batch_norm(backbone: keras.Model) -> None:
    """Takes the statistics of every batch norm over all replicas of a strategy, in training.

    Of one replica they stay what they are but for rounding, and the moving variance, which is then
    the biased one: the fused kernel, which takes the unbiased one, cannot do it.
    """
    for part in backbone.submodules:
        if isinstance(part, keras.layers.BatchNormalization):
            part.synchronized, part.fused = True, False


def _find_folds(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Name of a convolution -> the batch norm that can be folded into it."""
    makers, readers = {}, Counter(id(tensor) for tensor in tf.nest.flatten(model.output))
    for layer in model.layers:
        for node in range(len(layer.inbound_nodes)):
            readers.update(id(tensor) for tensor in tf.nest.flatten(layer.get_input_at(node)))
        # A layer that stands at several places would be folded at all of them.
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
    """Gives `target` the weights of a convolution with the norm behind it, computed in float64."""
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
