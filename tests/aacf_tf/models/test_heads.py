"""Every head: what it returns, what trains it, and its class activation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf import build_model, recipes
from aacf_tf.models import heads, losses
from aacf_tf.recipes.options import HEAD_TERMS

MAPS = {
    "aacf": {"action_attention", "context_attention", "action_logits"},
    "attention": {"action_attention", "action_logits"},
}


@pytest.fixture
def features(rng):
    return tf.constant(rng.gamma(1.0, size=(2, 3, 4, 5, 8)), tf.float32)


def make(kind, features, rng, classes=3, **options):
    head = heads.make_head(kind, classes, hidden=6, **options)
    head(features)
    for variable in head.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return head


@pytest.mark.parametrize("kind", recipes.HEADS)
def test_outputs(kind, features, rng):
    head = make(kind, features, rng)
    outputs = head(features)
    factors = {"action", "context", "action_scores", "context_scores"}
    expected = {"combined_scores"} | MAPS.get(kind, {"class_activation"})
    assert set(outputs) == expected | (factors if head.factors else set())
    classes = 4 if kind == "average_background" else 3
    assert outputs["combined_scores"].shape == (2, classes)
    for name in outputs:
        assert outputs[name].dtype == tf.float32
        if name in MAPS["aacf"] or name == "class_activation":
            assert outputs[name].shape == (2, 3, 4, 5)
    for name in ("action_attention", "context_attention"):
        if name in outputs:
            np.testing.assert_allclose(tf.reduce_sum(outputs[name], [1, 2, 3]), 1, rtol=1e-5)


def test_every_head_that_recipes_know_has_a_class():
    assert {*heads.HEADS} == {*recipes.HEADS}


@pytest.mark.parametrize("kind", recipes.HEADS)
def test_what_the_recipes_say_of_a_head_is_so(kind, features, rng):
    head = make(kind, features, rng)
    assert head.terms == HEAD_TERMS[kind] and head.pairs == (kind in recipes.PAIR_HEADS)
    assert head.factors == (kind in ("aacf", "linear_factors"))
    terms = losses.factorization_terms if head.factors else losses.baseline_terms
    outputs, flags = head(features), tf.constant([True, True])
    values = terms(outputs, outputs, tf.constant([0, 1]), has_conjugate=flags, has_action=flags)
    assert set(head.terms) <= set(values)


@pytest.mark.parametrize("kind", ["average", "average_uniform", "nonlocal", "linear_factors"])
def test_class_activation_adds_up_to_the_score(kind, features, rng):
    head = make(kind, features, rng)
    outputs = head(features)
    classifier = head.action_classifier if head.factors else head.classifier
    scores = outputs["action_scores" if head.factors else "combined_scores"]
    best = tf.argmax(scores, -1)
    expected = tf.reduce_max(scores, -1) - tf.gather(classifier.bias, best)
    means = tf.reduce_mean(outputs["class_activation"], [1, 2, 3])
    np.testing.assert_allclose(means, expected, rtol=1e-4, atol=1e-5)


def test_class_activation_is_that_of_a_real_class(features, rng):
    """However sure the head is that nothing happens."""
    head = make("average_background", features, rng)
    head.classifier.bias.assign([0, 0, 0, 1e3])
    outputs = head(features)
    best = tf.argmax(outputs["combined_scores"][:, :3], -1)
    weights = tf.gather(head.classifier.kernel, best, axis=1)
    expected = tf.einsum("bthwd,db->bthw", features, weights)
    np.testing.assert_allclose(outputs["class_activation"], expected, rtol=1e-4, atol=1e-5)


def test_attention_weighs_the_features(features, rng):
    head = make("attention", features, rng)
    outputs = head(features)
    pooled = np.einsum("bthw,bthwd->bd", outputs["action_attention"], features)
    expected = pooled @ head.classifier.kernel.numpy() + head.classifier.bias.numpy()
    np.testing.assert_allclose(outputs["combined_scores"], expected, rtol=1e-4)


def test_classes_of_no_action(features):
    for kind, negatives, multi_label, classes in (
        ("aacf", True, False, 4),
        ("aacf", True, True, 3),
        ("average_background", False, False, 4),
        ("average_background", True, False, 4),
        ("average_background", False, True, 3),
    ):
        head = heads.make_head(kind, 3, negatives=negatives, multi_label=multi_label)
        assert head(features)["combined_scores"].shape[-1] == classes


def test_an_unknown_head():
    with pytest.raises(ValueError, match="Received 'transformer'"):
        heads.make_head("transformer", 3)


@pytest.mark.parametrize("kind", recipes.HEADS)
def test_a_head_rebuilds_from_its_config(kind, features, rng):
    head = make(kind, features, rng, dropout=0.1, seed=3)
    config = keras.layers.serialize(head)
    again = keras.layers.deserialize(config)
    again(features)
    again.set_weights(head.get_weights())
    for name, value in head(features).items():
        np.testing.assert_allclose(again(features)[name], value, rtol=1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] * (kind != "average_uniform"))
        for kind in recipes.HEADS
    ],
)
def test_a_step_of_training_lowers_the_loss(kind, tiny_recipe, rng):
    recipe = recipes.override(tiny_recipe, "head", kind)
    model = build_model(recipe, 2)
    clips = rng.integers(0, 255, (2, 4, 6, 24, 24, 3)).astype(np.uint8)
    inputs = {"clip": clips[0], "conjugate": clips[1], "has_conjugate": np.ones(4, bool)}
    batches = tf.data.Dataset.from_tensors((inputs, np.array([0, 1, 1, 0]))).repeat(20)
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    history = model.fit(batches, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_apart_standardizes_and_keeps_the_experts_apart(rng):
    values = rng.normal(2, 3, size=(2, 3, 2, 2, 8)).astype(np.float32)
    scratch = heads.make_head("aacf", 4, hidden=6)
    head = heads.make_head(
        "aacf",
        4,
        hidden=6,
        apart={"branch_gradient": 0.2, "context_weight": 0.3, "average_weight": 0.5},
    )
    features = tf.Variable(values)
    scratch(features), head(features)
    assert not scratch.standardized and not head.mean.trainable and not head.deviation.trainable
    mean, deviation = values.mean((0, 1, 2, 3)), values.std((0, 1, 2, 3))
    head.mean.assign(mean), head.deviation.assign(deviation)
    scratch.factorization.set_weights(head.factorization.get_weights())
    for name in ("action_classifier", "context_classifier"):
        getattr(scratch, name).set_weights(getattr(head, name).get_weights())
    standard = tf.Variable((values - mean) / deviation)
    weights = tf.constant(rng.normal(size=(2, 4)).astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        outputs, other = head(features), scratch(standard)
        action, context, average = (
            tf.reduce_sum(weights * outputs[f"{name}_scores"])
            for name in ("action", "context", "average")
        )
        action_of_scratch = tf.reduce_sum(weights * other["action_scores"])
    np.testing.assert_allclose(outputs["action_scores"], other["action_scores"], atol=1e-5)
    combined = outputs["action_scores"] + 0.3 * outputs["context_scores"]
    combined += 0.5 * outputs["average_scores"]
    np.testing.assert_allclose(outputs["combined_scores"], combined, atol=1e-6)
    pooled = standard.numpy().mean((1, 2, 3)) @ head.average_classifier.kernel.numpy()
    np.testing.assert_allclose(outputs["average_scores"], pooled, atol=1e-4)
    # A fifth of the branch's gradient reaches the features, and all of the average expert's.
    branch = 0.2 * tape.gradient(action_of_scratch, standard) / deviation
    np.testing.assert_allclose(tape.gradient(action, features), branch, atol=1e-5)
    full = weights @ tf.transpose(head.average_classifier.kernel) / deviation / 12
    full = np.broadcast_to(full[:, None, None, None], values.shape)
    np.testing.assert_allclose(tape.gradient(average, features), full, atol=1e-5)
    # No expert's classifier hears of another's scores.
    assert tape.gradient(context, head.action_classifier.trainable_weights) == [None, None]
    assert tape.gradient(action, head.context_classifier.trainable_weights) == [None, None]
    assert tape.gradient(context, head.average_classifier.trainable_weights) == [None, None]
    assert all(value is None for value in tape.gradient(average, head.factorization.weights))


@pytest.mark.parametrize("apart", [None, {}])
def test_several_action_maps_are_classified_side_by_side(apart, features, rng):
    head = make("aacf", features, rng, maps=3, pooled_length=8.0, apart=apart)
    outputs = head(features)
    batch, depth = features.shape[0], features.shape[-1]
    assert outputs["action"].shape == (batch, 3 * depth)
    assert outputs["context"].shape == (batch, depth)
    assert outputs["action_attention"].shape == outputs["action_logits"].shape == features.shape[:4]
    action = outputs["action"].numpy()
    scaled = 8 * action / np.linalg.norm(action, axis=-1, keepdims=True)
    kernel, bias = (weight.numpy() for weight in head.action_classifier.weights)
    np.testing.assert_allclose(
        outputs["action_scores"], scaled @ kernel + bias, rtol=1e-4, atol=1e-4
    )
    again = type(head).from_config(head.get_config())
    again(features)
    again.set_weights(head.get_weights())
    np.testing.assert_array_equal(again(features)["combined_scores"], outputs["combined_scores"])


@pytest.mark.parametrize("kind", ["aacf", "average", "attention", "linear_factors"])
def test_classifiers_see_pooled_features_of_a_given_length(kind, features, rng):
    head = make(kind, features, rng, pooled_length=8.0)
    outputs = head(features)
    if head.factors:
        pooled, classifier, scores = outputs["action"], head.action_classifier, "action_scores"
    else:
        maps = outputs.get("action_attention", np.full(features.shape[:4], 1 / 60))
        pooled = np.einsum("bthw,bthwd->bd", maps, features)
        classifier, scores = head.classifier, "combined_scores"
    scaled = 8 * pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)
    expected = scaled @ classifier.kernel.numpy() + classifier.bias.numpy()
    np.testing.assert_allclose(outputs[scores], expected, rtol=1e-4, atol=1e-4)


def test_the_average_expert_sees_that_length_too(features, rng):
    head = make("aacf", features, rng, pooled_length=8.0, apart={"average_weight": 1.0})
    outputs = head(features)
    average = make("average", features, rng, pooled_length=8.0)
    average.classifier.set_weights(head.average_classifier.get_weights())
    expected = average(features)["combined_scores"]
    np.testing.assert_allclose(outputs["average_scores"], expected, rtol=1e-5, atol=1e-5)
    combined = outputs["action_scores"] + 0.2 * outputs["context_scores"] + expected
    np.testing.assert_allclose(outputs["combined_scores"], combined, rtol=1e-4, atol=1e-4)
