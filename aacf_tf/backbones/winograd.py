"""Chooses, layer by layer, between direct and Winograd convolution for a network in inference."""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable, Iterator

import tensorflow as tf
from tensorflow import keras

from keras_layers import Conv3D, ConvUnit3D, WinogradConv3D, winograd_kernel

# Least speedup that replaces a layer; a smaller one is within the noise of the timing.
_LEAST_GAIN = 1.05
_ROUNDS = 3


def use_winograd(
    backbone: keras.Model, size: tuple[int, int, int]
) -> tuple[keras.Model, dict[str, float]]:
    """Copies a network, with Winograd's method for the 3x3x3 convolutions that it speeds up.

    Each convolution of stride 1 in float32 is timed both ways on its input for one clip, with all
    of TensorFlow's threads, which takes about ten times as long as the network itself. Repeated
    calls and other machines may choose other layers; the outputs differ by rounding only.

    Args:
        backbone: Functional model for inference, such as one of `fold_batch_norm`; not modified.
        size: Frames, height and width of the clips to time. The copy takes any other size too.

    Returns:
        The copy, and the speedups of the chosen layers by the names of their kernels.
    """
    gains, chosen = {}, {}
    for convolution, shape in _input_shapes(backbone, size).items():
        layer = _transformed(convolution)
        gain = _gain(convolution, layer, shape)
        if gain >= _LEAST_GAIN:
            chosen[convolution] = layer
            gains[convolution.kernel.name.partition("/kernel")[0]] = round(gain, 2)
    return _copy(backbone, chosen), gains


def _is_candidate(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) in (keras.layers.Conv3D, Conv3D)
        and layer.kernel_size == (3, 3, 3)
        and layer.strides == layer.dilation_rate == (1, 1, 1)
        and layer.groups == 1
        and layer.padding == "same"
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
        and layer.compute_dtype == "float32"
    )


def _input_shapes(
    backbone: keras.Model, size: tuple[int, int, int]
) -> dict[keras.layers.Conv3D, tf.TensorShape]:
    """Returns the input shape of each candidate for one clip, without those that see several."""
    seen: dict[keras.layers.Conv3D, list[tf.TensorShape]] = {}

    def watch(layer: keras.layers.Conv3D) -> None:
        convolve = layer.convolution_op

        def noted(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
            seen.setdefault(layer, []).append(inputs.shape)
            return convolve(inputs, kernel)

        layer.convolution_op = noted

    candidates = [part for part in backbone.submodules if _is_candidate(part)]
    for layer in candidates:
        watch(layer)
    try:
        specs = tf.nest.map_structure(
            lambda x: tf.TensorSpec([1, *size, x.shape[-1]], x.dtype), backbone.input
        )
        # Tracing gives all shapes without computing anything.
        tf.function(lambda x: backbone(x, training=False)).get_concrete_function(specs)
    finally:
        for layer in candidates:
            del layer.convolution_op
    return {layer: shapes[0] for layer, shapes in seen.items() if len({*map(tuple, shapes)}) == 1}


def _transformed(convolution: keras.layers.Conv3D) -> WinogradConv3D:
    layer = WinogradConv3D(convolution.filters, name=convolution.name)
    with tf.name_scope(convolution.kernel.name.partition("/kernel")[0]):
        layer.build((None, None, None, None, convolution.kernel.shape[3]))
    kernel, *bias = convolution.get_weights()
    layer.set_weights([winograd_kernel(kernel), bias[0] if bias else layer.bias.numpy()])
    return layer


def _gain(
    convolution: keras.layers.Layer, layer: keras.layers.Layer, shape: tf.TensorShape
) -> float:
    """Returns the speedup of `layer` over `convolution`, from medians of interleaved rounds."""
    inputs = tf.random.stateless_uniform(shape, [0, 0])
    calls = [_compiled(part, inputs) for part in (convolution, layer)]
    times: tuple[list[float], ...] = ([], [])
    for number in range(1 + _ROUNDS):
        for call, spent in zip(calls, times):
            start = time.perf_counter()
            call(inputs)
            if number:  # the first round warms up
                spent.append(time.perf_counter() - start)
    direct, winograd = map(statistics.median, times)
    return direct / winograd


def _compiled(layer: keras.layers.Layer, inputs: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    return tf.function(lambda x: layer(x)).get_concrete_function(inputs)


def _copy(model: keras.Model, chosen: dict[keras.layers.Layer, WinogradConv3D]) -> keras.Model:
    """Copies a model, with the chosen layers replaced wherever they occur."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model):
            return _copy(layer, chosen)
        return chosen.get(layer) or type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        target = copy.get_layer(layer.name)
        if isinstance(layer, keras.Model) or layer in chosen:
            continue
        target.set_weights(layer.get_weights())
        for unit, unit_copy in zip(_units(layer), _units(target)):
            if unit.conv_3d in chosen:
                unit_copy.conv_3d = chosen[unit.conv_3d]
    return copy


def _units(layer: Any) -> Iterator[ConvUnit3D]:
    return (part for part in (layer, *layer.submodules) if isinstance(part, ConvUnit3D))
