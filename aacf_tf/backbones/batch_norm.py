"""Folds, freezes and synchronizes the batch normalization of a model.

With fixed statistics a batch normalization is one multiplication and one addition a channel, which
can be folded into the kernel and bias of the convolution before it:

    gamma (conv(x) + b - mean) / sqrt(variance + epsilon) + beta = conv'(x) + b'
    kernel' = kernel s,   b' = (b - mean) s + beta,   s = gamma / sqrt(variance + epsilon)
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf
from tensorflow import keras

from keras_layers import Conv3D

_DEPTHWISE = keras.layers.DepthwiseConv2D
# Exactly these classes: a subclass may compute something else.
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.Conv3D, _DEPTHWISE, Conv3D)


def fold_batch_norm(backbone: keras.Model) -> keras.Model:
    """Copies a model for inference, with the batch norms folded into the convolutions before them.

    A batch norm is folded if it directly follows a convolution whose output nothing else reads; the
    others, such as one before its convolution, stay. An identity layer takes the name of a folded
    one. Layers that define `without_batch_norm` fold themselves (see docs/backbones.md).

    Args:
        backbone: Functional model with its variables; not modified. Nested models are folded too.

    Returns:
        A model with the same inputs and layer names and with its own variables, whose outputs are
        equal up to rounding (1e-4 relative in float32). It is not for training.

    Raises:
        ValueError: If `backbone` is not a functional model, or a layer's `without_batch_norm` does
            not match its `branches`.

    Examples:
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
        if _folds_itself(layer):
            return layer.without_batch_norm()
        bias = {"use_bias": True} if layer.name in folds else {}
        return type(layer).from_config({**layer.get_config(), **bias})

    folded = keras.models.clone_model(backbone, clone_function=clone)
    for layer in backbone.layers:
        copy = folded.get_layer(layer.name)
        if _folds_itself(layer):
            _fold_parts(layer, copy)
        elif layer.name in folds:
            _fold(layer, folds[layer.name], copy)
        elif layer.name not in norms and not isinstance(layer, keras.Model):
            copy.set_weights(layer.get_weights())
    return folded


def freeze_batch_norm(backbone: keras.Model) -> None:
    """Puts every batch norm in inference mode during training, as the paper does on HACS.

    Statistics, offsets and scales stay fixed while the convolutions learn. Setting
    `backbone.trainable = True` reverts this, so call it afterwards. Idempotent.
    """
    for part in backbone.submodules:
        if isinstance(part, keras.layers.BatchNormalization):
            part.trainable = False  # also selects inference mode in Keras


def synchronize_batch_norm(backbone: keras.Model) -> None:
    """Makes every batch norm compute its training statistics over all replicas of a strategy.

    With one replica they stay the same up to rounding, except that the moving variance is the
    biased one: the fused kernel, which uses the unbiased one, cannot synchronize.
    """
    for part in backbone.submodules:
        if isinstance(part, keras.layers.BatchNormalization):
            part.synchronized, part.fused = True, False


def _find_folds(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Returns the batch norms that can be folded, by the name of their convolution."""
    makers, readers = {}, Counter(id(tensor) for tensor in tf.nest.flatten(model.output))
    for layer in model.layers:
        for node in range(len(layer.inbound_nodes)):
            readers.update(id(tensor) for tensor in tf.nest.flatten(layer.get_input_at(node)))
        # A shared layer would be folded at every use, so only layers used once count.
        if type(layer) in _CONVOLUTIONS and len(layer.inbound_nodes) == 1:
            makers[id(layer.output)] = layer
    folds = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and len(layer.inbound_nodes) == 1:
            convolution = makers.get(id(layer.input))
            if convolution and readers[id(layer.input)] == 1 and _can_fold(convolution, layer):
                folds[convolution.name] = layer
    return folds


def _can_fold(convolution: keras.layers.Layer, norm: keras.layers.Layer) -> bool:
    return (
        type(convolution) in _CONVOLUTIONS
        and isinstance(norm, keras.layers.BatchNormalization)
        and convolution.activation is keras.activations.linear
        and convolution.data_format == "channels_last"
        and set(norm.input_spec.axes) == {norm.input_spec.ndim - 1}
    )


def _folds_itself(layer: keras.layers.Layer) -> bool:
    return callable(getattr(layer, "without_batch_norm", None))


def _fold_parts(layer: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    """Sets the weights of a copy made by `without_batch_norm`, branch by branch."""
    parts = [part for branch in copy.branches() for part in branch]
    if len(copy.weights) != sum(len(part.weights) for part in parts):
        raise ValueError(f"Expected all weights of the layer {layer.name!r} in its branches.")
    for branch, targets in zip(layer.branches(), copy.branches()):
        pairs: list[tuple[keras.layers.Layer, keras.layers.Layer | None]] = []
        for part in branch:
            if pairs and pairs[-1][1] is None and _can_fold(pairs[-1][0], part):
                pairs[-1] = (pairs[-1][0], part)
            else:
                pairs.append((part, None))
        if len(pairs) != len(targets):
            raise ValueError(
                f"Expected {type(layer).__name__}.without_batch_norm() to leave out the batch "
                f"norms that follow a convolution and nothing else: {len(pairs)} layers in a "
                f"branch of {layer.name!r}. Received {len(targets)}."
            )
        for (part, norm), target in zip(pairs, targets):
            if _folds_itself(part):
                _fold_parts(part, target)
            elif norm is None:
                target.set_weights(part.get_weights())
            else:
                _fold(part, norm, target)


def _fold(
    convolution: keras.layers.Layer,
    norm: keras.layers.BatchNormalization,
    target: keras.layers.Layer,
) -> None:
    """Sets the weights of `target` to a convolution with its norm folded in, in float64."""
    kernel, *bias = (weights.astype(np.float64) for weights in convolution.get_weights())
    mean, variance = (
        np.asarray(weights, np.float64) for weights in (norm.moving_mean, norm.moving_variance)
    )
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale *= np.asarray(norm.gamma, np.float64)
    offset = np.asarray(norm.beta, np.float64) if norm.center else 0.0
    bias = ((bias[0] if bias else 0.0) - mean) * scale + offset
    # The outputs of a depthwise convolution lie along the two last axes of its kernel.
    outputs = kernel.shape[2:] if type(convolution) is _DEPTHWISE else kernel.shape[-1:]
    kernel *= scale.reshape(outputs)
    target.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
