"""Every loss term against numbers worked out by hand or by plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.models import losses


def softplus(x):
    return np.log1p(np.exp(x))


def cross_entropy(scores, k):
    return -(scores[k] - np.log(np.sum(np.exp(scores))))


@pytest.fixture
def pair(rng):
    """Outputs for two clips and their conjugates, and their targets."""

    def outputs():
        logits = rng.normal(size=(2, 3, 2, 2)).astype(np.float32)
        flat = np.exp(logits).reshape(2, -1)
        return {
            "action_scores": rng.normal(size=(2, 4)).astype(np.float32),
            "context_scores": rng.normal(size=(2, 4)).astype(np.float32),
            "action": rng.normal(size=(2, 5)).astype(np.float32),
            "context": rng.normal(size=(2, 5)).astype(np.float32),
            "action_logits": logits,
            "action_attention": (flat / flat.sum(-1, keepdims=True)).reshape(2, 3, 2, 2),
        }

    return outputs(), outputs(), np.array([1, 3], np.int32)


def terms_of(clip, conjugate, targets, has_conjugate=(True, True), has_action=(True, True), **kw):
    tensors = [{k: tf.constant(v) for k, v in side.items()} for side in (clip, conjugate)]
    result = losses.factorization_terms(
        *tensors,
        tf.constant(targets),
        has_conjugate=tf.constant(has_conjugate),
        has_action=tf.constant(has_action),
        **kw,
    )
    return {name: value.numpy() for name, value in result.items()}


def test_each_term_equals_numpy(pair):
    clip, other, y = pair
    terms = terms_of(clip, other, y)
    for i in range(2):
        za, zc = clip["action_scores"][i], clip["context_scores"][i]
        za2, zc2 = other["action_scores"][i], other["context_scores"][i]

        def score(side, i=i):
            return np.log(np.mean(np.exp(side["action_logits"][i])))

        def cosine(name, i=i):
            a, b = clip[name][i], other[name][i]
            return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

        share = clip["action_attention"][i].sum((1, 2))
        entropy = -np.sum(share * np.log(share)) / math.log(3)
        expected = {
            "combined": cross_entropy(za + zc, y[i]),
            "difference": cross_entropy(za - za2, y[i]),
            "context": cross_entropy(zc2, y[i]),
            "agreement": 1 - cosine("context"),
            "disagreement": max(0, cosine("action")),
            "presence": softplus(-score(clip)) + softplus(score(other)),
            "time_spread": max(0, 0.8 - entropy),
        }
        assert set(terms) == {*expected, *losses.SWAP_TERMS}
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name][i], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_missing_conjugate_drops_every_term_with_a_prime(pair):
    clip, other, y = pair
    terms = terms_of(clip, other, y, has_conjugate=(True, False))
    for name in ("difference", "context", "agreement", "disagreement"):
        assert terms[name][1] == 0, name
    alone = np.log(np.mean(np.exp(clip["action_logits"][1])))
    np.testing.assert_allclose(terms["presence"][1], softplus(-alone), rtol=1e-5)
    assert terms["combined"][1] > 0 and terms["difference"][0] > 0


def test_a_clip_without_action_asks_for_absence(pair):
    clip, other, y = pair
    terms = terms_of(clip, other, y, has_action=(True, False))
    alone = np.log(np.mean(np.exp(clip["action_logits"][1])))
    np.testing.assert_allclose(terms["presence"][1], softplus(alone), rtol=1e-5)
    assert terms["context"][1] == 0


def test_combined_does_not_teach_the_context_and_difference_teaches_both_sides(pair):
    clip, other, y = pair
    za, zc = tf.constant(clip["action_scores"]), tf.constant(clip["context_scores"])
    za2 = tf.constant(other["action_scores"])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([za, zc, za2])
        terms = losses.factorization_terms(
            {**clip, "action_scores": za, "context_scores": zc},
            {**other, "action_scores": za2},
            tf.constant(y),
            has_conjugate=tf.constant([True, True]),
            has_action=tf.constant([True, True]),
        )
    assert tape.gradient(terms["combined"], zc) is None
    assert np.abs(tape.gradient(terms["combined"], za)).max() > 0
    for side in (za, za2):
        assert np.abs(tape.gradient(terms["difference"], side)).max() > 0


def test_without_any_pair_combined_is_the_action_alone(pair):
    clip, other, y = pair
    terms = terms_of(clip, other, y, context_learns=False)
    np.testing.assert_allclose(
        terms["combined"][0], cross_entropy(clip["action_scores"][0], y[0]), rtol=1e-5
    )


def test_multi_label_is_sigmoid_cross_entropy_summed():
    scores = np.array([[2.0, -1.0]], np.float32)
    loss = losses.classification(scores, np.array([[1.0, 1.0]], np.float32), multi_label=True)
    np.testing.assert_allclose(loss, [softplus(-2.0) + softplus(1.0)], rtol=1e-6)


def test_label_smoothing_by_hand():
    scores = np.log(np.array([[0.7, 0.2, 0.1]], np.float32))
    loss = losses.classification(scores, np.array([0]), False, label_smoothing=0.3)
    wanted = -(0.8 * np.log(0.7) + 0.1 * np.log(0.2) + 0.1 * np.log(0.1))
    np.testing.assert_allclose(loss, [wanted], rtol=1e-5)


def test_time_spread_by_hand():
    peaked = np.zeros((1, 4, 2, 2), np.float32)
    peaked[0, 2, 1, 1] = 1.0
    np.testing.assert_allclose(losses.time_spread(tf.constant(peaked), 0.8), [0.8], rtol=1e-6)
    even = np.full((1, 4, 2, 2), 1 / 16, np.float32)
    np.testing.assert_allclose(losses.time_spread(tf.constant(even), 0.8), [0.0])
    image = np.full((1, 1, 2, 2), 1 / 4, np.float32)
    np.testing.assert_allclose(losses.time_spread(tf.constant(image), 0.8), [0.0])


def test_cosine_of_a_zero_vector_has_no_nan():
    a = tf.Variable([[0.0, 0.0], [3.0, 4.0]])
    b = tf.constant([[1.0, 0.0], [3.0, 4.0]])
    with tf.GradientTape() as tape:
        value = losses.cosine(a, b)
    np.testing.assert_allclose(value, [0.0, 1.0], atol=1e-6)
    assert np.isfinite(tape.gradient(value, a)).all()


def test_swapped_pairs(pair):
    """Two classes meet in one clip: no stop-gradient, the scene's own class, two more terms."""
    clip, other, y = pair
    scenes = np.array([2, 3], np.int32)
    terms = terms_of(
        clip, other, y, swapped=tf.constant([True, False]), context_targets=tf.constant(scenes)
    )
    plain = terms_of(clip, other, y)
    for name in ("combined", "difference", "agreement", "presence"):
        np.testing.assert_allclose(terms[name], plain[name], rtol=1e-6)
    for i in range(2):
        expected = cross_entropy(other["context_scores"][i], scenes[i])
        np.testing.assert_allclose(terms["context"][i], expected, rtol=1e-5)
    za, za2 = clip["action_scores"][0], other["action_scores"][0]
    np.testing.assert_allclose(terms["swap_action"], [cross_entropy(za, y[0]), 0], rtol=1e-5)
    uniform = np.mean([cross_entropy(za2, k) for k in range(4)])
    np.testing.assert_allclose(terms["swap_uniform"], [uniform, 0], rtol=1e-5)


def test_the_context_gets_a_gradient_from_swapped_clips_only(pair):
    clip, other, y = pair
    zc = tf.Variable(clip["context_scores"])
    with tf.GradientTape() as tape:
        terms = losses.factorization_terms(
            {**clip, "context_scores": zc},
            other,
            tf.constant(y),
            has_conjugate=tf.constant([True, True]),
            has_action=tf.constant([True, True]),
            swapped=tf.constant([True, False]),
            context_targets=tf.constant(y),
        )
        loss = tf.reduce_sum(terms["combined"])
    gradient = tape.gradient(loss, zc).numpy()
    assert np.abs(gradient[0]).max() > 0.01
    assert np.abs(gradient[1]).max() == 0


def test_baseline_terms(pair):
    clip, other, y = pair
    sides = [{"combined_scores": tf.constant(side["action_scores"])} for side in (clip, other)]
    terms = losses.baseline_terms(
        *sides,
        tf.constant(y),
        has_conjugate=tf.constant([True, False]),
        has_action=tf.constant([True, True]),
    )
    z, z2 = clip["action_scores"], other["action_scores"]
    expected = [cross_entropy(z[i], y[i]) for i in range(2)]
    np.testing.assert_allclose(terms["classification"], expected, rtol=1e-5)
    np.testing.assert_allclose(terms["background"], [cross_entropy(z2[0], 3), 0], rtol=1e-5)
    uniform = np.mean([cross_entropy(z2[0], k) for k in range(4)])
    np.testing.assert_allclose(terms["uniform"], [uniform, 0], rtol=1e-5)


def test_baseline_terms_of_multi_label_data(pair):
    clip, other, _ = pair
    y = tf.constant([[1.0, 0, 1, 0], [0, 0, 0, 1]])
    sides = [{"combined_scores": tf.constant(side["action_scores"])} for side in (clip, other)]
    flags = tf.constant([True, True])
    terms = losses.baseline_terms(*sides, y, has_conjugate=flags, has_action=flags)
    z = other["action_scores"]
    np.testing.assert_allclose(terms["background"], softplus(z).sum(-1), rtol=1e-5)
    uniform = (softplus(z) - 0.5 * z).sum(-1)
    np.testing.assert_allclose(terms["uniform"], uniform, rtol=1e-5)


def test_each_term_of_the_form_apart_equals_numpy(pair, rng):
    """Clip 0 has its conjugate, clip 1 is swapped into a scene of class 2."""
    clip, other, y = pair
    for side in (clip, other):
        side["average_scores"] = rng.normal(size=(2, 4)).astype(np.float32)
    options = {"swapped": tf.constant([False, True]), "context_targets": tf.constant([1, 2])}
    tensors = [{k: tf.constant(v) for k, v in side.items()} for side in (clip, other)]
    flags = {"has_conjugate": tf.constant([True] * 2), "has_action": tf.constant([True] * 2)}
    terms = losses.apart_terms(*tensors, tf.constant(y), **flags, **options)
    za, zc, zg = (clip[f"{name}_scores"] for name in ("action", "context", "average"))
    za2, zc2, zg2 = (other[f"{name}_scores"][0] for name in ("action", "context", "average"))

    def uniform(scores):
        return np.mean([cross_entropy(scores, k) for k in range(4)])

    def score(side, i):
        return np.log(np.mean(np.exp(side["action_logits"][i])))

    def cosine(name):
        a, b = clip[name][0], other[name][0]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    expected = {
        "action": [cross_entropy(za[0], 1), cross_entropy(za[1], 3)],
        "difference": [cross_entropy(za[0] - za2, 1), 0],
        "context": [cross_entropy(zc2, 1), cross_entropy(zc[1], 2)],
        "uniform": [uniform(za2), 0],
        "agreement": [1 - cosine("context"), 0],
        "disagreement": [max(0, cosine("action")), 0],
        "presence": [
            softplus(-score(clip, 0)) + softplus(score(other, 0)),
            softplus(-score(clip, 1)),
        ],
        "average": [cross_entropy(zg[0], 1), 0],
        "average_swap": [0, cross_entropy(zg[1], 3)],
        "average_uniform": [uniform(zg2), 0],
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    flags["has_conjugate"] = tf.constant([False] * 2)
    alone = losses.apart_terms(*tensors, tf.constant(y), **flags, **options)
    without = losses.apart_terms(tensors[0], None, tf.constant(y), **flags, **options)
    for name, value in alone.items():
        np.testing.assert_array_equal(value, without[name])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("names", [("combined",), ("action", "average")])
def test_the_terms_of_remedies_are_those_of_numpy(rng, names, multi_label):
    views = {}
    for view in ("", "erased", "masked"):
        scores = {f"{name}_scores": rng.normal(size=(3, 4)) for name in (*names, "context")}
        views[view] = {**scores, "pooled": rng.normal(size=(3, 5))}
    outputs = {**views[""], **{view: views[view] for view in ("erased", "masked")}}
    targets = np.eye(4, dtype=np.float32)[[1, 0, 3]] if multi_label else np.array([1, 0, 3])
    terms = losses.remedy_terms(
        tf.nest.map_structure(lambda x: tf.constant(x, tf.float32), outputs),
        tf.constant(targets),
        has_action=tf.constant([True, True, False]),
        person=tf.constant([True, False, True]),
    )
    wanted = {"background_erasing": np.zeros(3), "human_mask": np.zeros(3)}
    for name in names:
        erased, masked = (views[view][f"{name}_scores"] for view in ("erased", "masked"))
        if multi_label:
            sigmoid = 1 / (1 + np.exp(-erased))
            right = np.where(targets > 0, sigmoid, 1 - sigmoid)
            learned = -np.log(right).sum(1)
            likely = 1 / (1 + np.exp(-masked))
            entropy = -(likely * np.log(likely) + (1 - likely) * np.log(1 - likely))
            missing = (np.log(2) - entropy).sum(1)
        else:
            likely = np.exp(erased) / np.exp(erased).sum(1, keepdims=True)
            learned = -np.log(likely[range(3), targets])
            likely = np.exp(masked) / np.exp(masked).sum(1, keepdims=True)
            missing = np.log(4) + (likely * np.log(likely)).sum(1)
        wanted["background_erasing"] += learned / len(names)
        wanted["human_mask"] += np.where([True, False, False], missing, 0) / len(names)
    lengths = [
        views[view]["pooled"] / np.linalg.norm(views[view]["pooled"], axis=1, keepdims=True)
        for view in ("", "erased")
    ]
    wanted["background_erasing"] += ((lengths[0] - lengths[1]) ** 2).sum(1)
    for name, values in wanted.items():
        np.testing.assert_allclose(terms[name], values, rtol=1e-5, atol=1e-6)
