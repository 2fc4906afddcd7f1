"""The factorization layer: its contract, numpy, and what must not change its answer."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from keras_layers import ActionContextFactorization

KEYS = {"action", "context", "action_attention", "context_attention", "action_logits"}


def oracle(layer, features):
    """All five outputs by numpy in float64, step by step as in the layer's docstring."""
    w1, b1, w2, b2 = (w.numpy().astype("float64") for w in layer.weights)
    raw = np.maximum(features @ w1 + b1, 0) @ w2 + b2
    action, context = raw[..., :-1], raw[..., -1]

    def softmax(x):
        e = np.exp(x - x.max((1, 2, 3), keepdims=True))
        return e / e.sum((1, 2, 3), keepdims=True)

    context = softmax(context - np.logaddexp(0, action).mean(-1))
    pooled = np.einsum("bthwm,bthwd->bmd", softmax(action), features)
    evidence = np.log(np.exp(action).mean(-1))
    return {
        "action": pooled.reshape(len(features), -1),
        "context": np.einsum("bthw,bthwd->bd", context, features),
        "action_attention": softmax(evidence),
        "context_attention": context,
        "action_logits": evidence,
    }


def randomized(rng, channels, **arguments):
    layer = ActionContextFactorization(hidden=5, **arguments)
    layer.build((None, None, None, None, channels))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


@pytest.mark.parametrize("maps", [1, 3])
@pytest.mark.parametrize("size", [(2, 3, 4), (1, 3, 4), (1, 1, 1), (7, 1, 2)])
def test_matches_numpy_at_any_size(rng, size, maps):
    features = rng.normal(size=(2, *size, 6)).astype("float32")
    layer = randomized(rng, 6, maps=maps)
    outputs = layer(features)
    expected = oracle(layer, features)
    assert outputs.keys() == KEYS
    for name, value in outputs.items():
        assert value.shape == expected[name].shape, name
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("given", ["bfloat16", "float16", "float32"])
def test_is_float32_inside_under_mixed_precision(rng, policy, given):
    # The features stay as they come (cached ones are float16); all that follows is as exact as
    # in float32.
    features = tf.cast(rng.normal(size=(2, 2, 3, 4, 6)), given)
    keras.mixed_precision.set_global_policy(policy)
    try:
        layer = randomized(rng, 6)
        outputs = layer(features)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    expected = oracle(layer, tf.cast(features, tf.float32).numpy())
    for name, value in outputs.items():
        assert value.dtype == tf.float32, name
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_starts_as_average_pooling(rng):
    features = np.abs(rng.normal(size=(2, 3, 4, 5, 64))).astype("float32")
    outputs = ActionContextFactorization(hidden=32)(features)
    for factor in (outputs["action"], outputs["context"]):
        np.testing.assert_allclose(factor, features.mean((1, 2, 3)), rtol=0.1)


def test_maps_move_with_the_positions(rng):
    # A flipped map gives flipped attention and the same factors: no position is special.
    features = rng.normal(size=(2, 3, 4, 5, 6)).astype("float32")
    layer = randomized(rng, 6)
    outputs, flipped = layer(features), layer(features[:, ::-1, :, ::-1])
    for name in ("action", "context"):
        np.testing.assert_allclose(flipped[name], outputs[name], rtol=1e-3, atol=1e-5)
    for name in ("action_attention", "context_attention", "action_logits"):
        expected = outputs[name].numpy()[:, ::-1, :, ::-1]
        np.testing.assert_allclose(flipped[name], expected, rtol=1e-4, atol=1e-6)


def test_clips_of_a_batch_do_not_touch_each_other(rng):
    features = rng.normal(size=(3, 2, 3, 4, 6)).astype("float32")
    layer = randomized(rng, 6)
    whole, alone = layer(features), layer(features[1:2])
    for name in KEYS:
        np.testing.assert_allclose(whole[name][1:2], alone[name], rtol=1e-4, atol=1e-6)


def test_gradients_reach_features_and_weights(rng):
    features = tf.constant(rng.normal(size=(2, 2, 3, 4, 6)).astype("float32"))
    layer = randomized(rng, 6)
    with tf.GradientTape() as tape:
        tape.watch(features)
        outputs = layer(features)
        loss = tf.reduce_sum(outputs["action"] ** 2) + tf.reduce_sum(outputs["context"] ** 3)
    for gradient in tape.gradient(loss, [features, *layer.trainable_weights]):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


def test_compiled_by_xla_it_is_the_same(rng):
    features = tf.constant(rng.normal(size=(2, 2, 3, 4, 6)).astype("float32"))
    directions = {"action": 6, "context": 6, "action_attention": (2, 3, 4)}
    directions = {k: rng.normal(size=(2, *np.ravel(v))) for k, v in directions.items()}
    layer = randomized(rng, 6)

    def step(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = layer(features)
            loss = sum(tf.reduce_sum(outputs[k] * v) for k, v in directions.items())
        return outputs, tape.gradient(loss, [features, *layer.trainable_weights])

    outputs, gradients = tf.function(step, jit_compile=True)(features)
    plain, reference = step(features)
    for name in KEYS:
        np.testing.assert_allclose(outputs[name], plain[name], rtol=1e-4, atol=1e-6, err_msg=name)
    for value, expected in zip(gradients, reference):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_satisfies_what_every_layer_must(check_layer, rng):
    features = rng.normal(size=(2, 2, 3, 4, 6)).astype("float32")
    for maps in (1, 3):
        check_layer(ActionContextFactorization, {"hidden": 5, "maps": maps}, features, "float32")
