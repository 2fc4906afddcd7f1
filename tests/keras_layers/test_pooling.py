"""The fused pooling op: values against numpy, gradients against autodiff and finite differences."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from keras_layers import AttentionPooling, MaxPooling3D, attention_pooling, pooling_in_2d


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def naive(logits, features):
    """Calculates the same by multiply and sum, with TensorFlow's own gradients."""
    weights = tf.nn.softmax(logits, axis=-1)
    return tf.reduce_sum(weights[..., None] * features[:, None], axis=2), weights


def gradients(op, logits, features, d_pooled, d_weights):
    """Gradients of a scalar that reads both outputs, by logits and by features."""
    logits, features = tf.convert_to_tensor(logits), tf.convert_to_tensor(features)
    with tf.GradientTape() as tape:
        tape.watch([logits, features])
        pooled, weights = op(logits, features)
        target = tf.reduce_sum(pooled * d_pooled) + tf.reduce_sum(weights * d_weights)
    return tape.gradient(target, [logits, features])


@pytest.fixture
def case(rng):
    """Logits [B, M, N], features [B, N, D] and a direction for each output."""
    shapes = (3, 2, 10), (3, 10, 4), (3, 2, 4), (3, 2, 10)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def test_op_matches_numpy(case):
    logits, features, *_ = case
    pooled, weights = attention_pooling(logits, features)
    expected = softmax(logits, -1)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    np.testing.assert_allclose(pooled, expected @ features, rtol=1e-4, atol=1e-6)


def test_gradient_equals_autodiff_of_the_naive_formula(case):
    # Also where only one of the two outputs is used.
    logits, features, d_pooled, d_weights = case
    for directions in (d_pooled, d_weights), (d_pooled, 0 * d_weights), (0 * d_pooled, d_weights):
        ours = gradients(attention_pooling, logits, features, *directions)
        expected = gradients(naive, logits, features, *directions)
        for value, reference in zip(ours, expected):
            np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-6)


def test_gradient_equals_finite_differences(case):
    logits, features, d_pooled, d_weights = case

    def scalar(logits, features):
        weights = softmax(logits, -1)
        return (weights @ features * d_pooled).sum() + (weights * d_weights).sum()

    def numeric(function, x, step=1e-5):
        result = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[index] += step
            down[index] -= step
            result[index] = (function(up) - function(down)) / (2 * step)
        return result

    exact_logits, exact_features = logits.astype("float64"), features.astype("float64")
    ours = gradients(attention_pooling, logits, features, d_pooled, d_weights)
    by_logits = numeric(lambda x: scalar(x, exact_features), exact_logits)
    by_features = numeric(lambda x: scalar(exact_logits, x), exact_features)
    np.testing.assert_allclose(ours[0], by_logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[1], by_features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_op_on_low_precision_features_calculates_in_float32(case, dtype):
    logits, features, d_pooled, d_weights = case
    low = tf.cast(features, dtype)
    pooled, weights = attention_pooling(logits, low)
    assert pooled.dtype == weights.dtype == tf.float32
    expected = softmax(logits, -1) @ tf.cast(low, tf.float32).numpy()
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-6)
    d_logits, d_features = gradients(attention_pooling, logits, low, d_pooled, d_weights)
    assert (d_logits.dtype, d_features.dtype) == (tf.float32, low.dtype)
    reference = gradients(naive, logits, tf.cast(low, tf.float32), d_pooled, d_weights)
    np.testing.assert_allclose(d_logits, reference[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        tf.cast(d_features, tf.float32),
        tf.cast(tf.cast(reference[1], dtype), tf.float32),
        rtol=2e-2,
        atol=1e-4,
    )


def test_large_logits_stay_finite():
    pooled, weights = attention_pooling([[[1e5, 0.0, -1e5]]], [[[1.0], [2.0], [3.0]]])
    np.testing.assert_array_equal(weights, [[[1, 0, 0]]])
    np.testing.assert_array_equal(pooled, [[[1]]])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_op_in_a_graph_and_compiled_by_xla(case, dtype, jit_compile):
    logits, features, d_pooled, d_weights = case
    features = tf.cast(features, dtype)

    @tf.function(jit_compile=jit_compile)
    def step(logits, features):
        return (
            *attention_pooling(logits, features),
            *gradients(attention_pooling, logits, features, d_pooled, d_weights),
        )

    expected = (
        *attention_pooling(logits, features),
        *gradients(attention_pooling, logits, features, d_pooled, d_weights),
    )
    for value, reference in zip(step(logits, features), expected):
        assert value.dtype == reference.dtype
        value, reference = (tf.cast(x, tf.float32) for x in (value, reference))
        # A bfloat16 gradient may round the other way: 2^-8 of its size.
        rtol = 1e-5 if dtype == "float32" else 2**-7
        np.testing.assert_allclose(value, reference, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("size", [(2, 3, 4), (1, 3, 4), (1, 1, 1), (5, 1, 2)])
def test_layer_matches_numpy_at_any_size(rng, size):
    logits = rng.normal(size=(2, *size, 3)).astype("float32")
    features = rng.normal(size=(2, *size, 5)).astype("float32")
    pooled, weights = AttentionPooling()((logits, features))
    expected = softmax(logits, (1, 2, 3))
    assert weights.shape == logits.shape
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    np.testing.assert_allclose(
        pooled, np.einsum("bthwm,bthwd->bmd", expected, features), rtol=1e-4, atol=1e-6
    )


def test_equal_logits_are_average_pooling(rng):
    features = rng.normal(size=(2, 3, 4, 5, 6)).astype("float32")
    pooled, _ = AttentionPooling()((np.full((2, 3, 4, 5, 1), 7.0, "float32"), features))
    np.testing.assert_allclose(pooled[:, 0], features.mean((1, 2, 3)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_not_rounded_under_mixed_precision(rng, policy):
    logits = (10 * rng.normal(size=(2, 2, 3, 4, 2))).astype("float32")
    features = rng.normal(size=(2, 2, 3, 4, 5)).astype("float32")
    pooled, weights = AttentionPooling(dtype=policy)((logits, features))
    assert pooled.dtype == weights.dtype == tf.float32
    np.testing.assert_allclose(weights, softmax(logits, (1, 2, 3)), rtol=1e-5)


def test_layer_satisfies_what_every_layer_must(check_layer, rng):
    logits = rng.normal(size=(2, 2, 3, 4, 2)).astype("float32")
    features = rng.normal(size=(2, 2, 3, 4, 5)).astype("float32")
    check_layer(AttentionPooling, {}, (logits, features), "float32")


def test_symbolic_shapes_keep_what_is_known():
    inputs = keras.Input([None, 8, 8, 2]), keras.Input([None, 8, 8, 64])
    pooled, weights = AttentionPooling()(inputs)
    assert tuple(pooled.shape) == (None, 2, 64)
    assert weights.shape[-1] == 2


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("window, strides", [(3, 2), (3, 1), (2, None), ((1, 3, 3), (1, 2, 2))])
@pytest.mark.parametrize("shape", [(2, 5, 6, 7, 3), (1, 3, 4, 8, 2)])
def test_maxima_in_space_then_in_time_are_those_of_keras(rng, padding, window, strides, shape):
    maps = rng.normal(size=shape).astype("float32")
    layer = MaxPooling3D(window, strides, padding)
    expected = keras.layers.MaxPooling3D(window, strides, padding)(maps)
    free = tf.TensorSpec([None, None, None, None, shape[-1]])
    with pooling_in_2d():
        np.testing.assert_array_equal(layer(maps), expected)
        np.testing.assert_array_equal(tf.function(layer, input_signature=[free])(maps), expected)


def test_maxima_are_taken_at_once_but_where_asked(rng):
    maps = tf.constant(rng.normal(size=(1, 4, 4, 4, 2)).astype("float32"))
    layer = MaxPooling3D(2)
    for context, at_once in ((contextlib.nullcontext, True), (pooling_in_2d, False)):
        with context():
            graph = tf.function(lambda x: layer(x)).get_concrete_function(maps).graph
        assert ("MaxPool3D" in {op.type for op in graph.get_operations()}) == at_once
