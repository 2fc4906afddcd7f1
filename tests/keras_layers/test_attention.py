"""The attention logits against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_layers import ActionContextAttention


def oracle(layer, features):
    """The logits `la` of every map and `lc - mean(softplus(la))`, in float64."""
    w1, b1 = (w.numpy().astype("float64") for w in layer.project.weights)
    w2, b2 = (w.numpy().astype("float64") for w in layer.score.weights)
    raw = np.maximum(features @ w1 + b1, 0) @ w2 + b2
    action, context = raw[..., :-1], raw[..., -1:]
    return np.concatenate([action, context - np.logaddexp(0, action).mean(-1, keepdims=True)], -1)


def randomized(rng, features, scale=1.0, **arguments):
    layer = ActionContextAttention(**arguments)
    layer.build(features.shape)
    for weight in layer.weights:
        weight.assign(rng.normal(0, scale, weight.shape))
    return layer


@pytest.mark.parametrize("size", [(2, 3, 4), (1, 3, 4), (1, 1, 1), (7, 1, 2)])
def test_matches_numpy_at_any_size(rng, size):
    features = rng.normal(size=(2, *size, 6)).astype("float32")
    layer = randomized(rng, features, hidden=5)
    logits = layer(features)
    assert logits.shape == (2, *size, 2)
    np.testing.assert_allclose(logits, oracle(layer, features), rtol=1e-4, atol=1e-5)


def test_several_action_maps(rng):
    features = rng.normal(size=(2, 2, 3, 4, 6)).astype("float32")
    layer = randomized(rng, features, hidden=5, maps=3)
    logits = layer(features)
    assert logits.shape == (2, 2, 3, 4, 4) == layer.compute_output_shape(features.shape)
    np.testing.assert_allclose(logits, oracle(layer, features), rtol=1e-4, atol=1e-5)


def test_starts_nearly_uniform(rng):
    features = np.abs(rng.normal(size=(2, 4, 6, 6, 64))).astype("float32")
    layer = ActionContextAttention(hidden=32)
    action, context = tf.unstack(layer(features), axis=-1)
    assert np.abs(action).max() < 0.5
    np.testing.assert_allclose(context, -np.log(2) * np.ones_like(context), atol=0.5)
    w2, b2 = layer.score.weights
    assert 0.005 < np.std(w2) < 0.02
    np.testing.assert_array_equal(b2, 0)


def test_context_is_pushed_off_where_the_action_is():
    layer = ActionContextAttention(hidden=1)
    layer.build((None, None, None, None, 1))
    layer.set_weights([np.ones((1, 1)), np.zeros(1), np.array([[1.0, 0.0]]), np.zeros(2)])
    action, context = layer(np.array([0.0, 1.0, 50.0]).reshape(1, 1, 1, 3, 1))[0, 0, 0].numpy().T
    np.testing.assert_allclose(action, [0, 1, 50], rtol=1e-6)
    np.testing.assert_allclose(context, [-0.693147, -1.313262, -50.0], rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("given", ["bfloat16", "float16", "float32"])
def test_calculates_in_float32_under_mixed_precision(rng, policy, given):
    features = tf.cast(rng.normal(size=(2, 2, 3, 4, 6)), given)
    layer = randomized(rng, features, hidden=5, dtype=policy)
    logits = layer(features)
    assert logits.dtype == tf.float32
    expected = oracle(layer, tf.cast(features, tf.float32).numpy())
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_large_features_stay_finite_where_float16_would_overflow(rng):
    features = tf.fill([1, 1, 2, 2, 8], tf.constant(6e4, tf.float16))
    layer = randomized(rng, features, hidden=5, dtype="mixed_float16")
    assert np.isfinite(layer(features)).all()


def test_satisfies_what_every_layer_must(check_layer, rng):
    features = rng.normal(size=(2, 2, 3, 4, 6)).astype("float32")
    check_layer(ActionContextAttention, {"hidden": 5}, features, "float32")


@pytest.mark.parametrize("name", ["hidden", "maps"])
def test_refuses_numbers_below_one(name):
    with pytest.raises(ValueError, match=rf"Expected {name} .* at least 1. Received {name}=0"):
        ActionContextAttention(**{name: 0})
