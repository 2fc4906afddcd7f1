"""Metrics against hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from aacf_tf.evaluation.classification import (
    classification,
    context_reliability,
    to_probabilities,
    to_targets,
    voc_average_precision,
)


def test_classification_by_hand():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])
    targets = np.eye(3, dtype=bool)[[0, 1, 1, 0]]
    result = classification(probabilities, targets, ["a", "b", "c"])
    assert result["top1"] == 0.5
    assert result["top5"] == 1.0
    # a: ranked 0.9+, 0.6-, 0.2-, 0.1+ -> (1 + 2/4) / 2; b: 0.7+, 0.3+ -> 1; c has no positive.
    assert result["per_class_ap"] == {"a": 0.75, "b": 1.0, "c": None}
    assert result["mean_ap"] == pytest.approx(0.875)
    assert result["voc_ap"] == pytest.approx(0.875)


def test_the_class_of_no_action_takes_part_in_the_softmax_only():
    scores = np.log([[1.0, 2.0, 1.0]])
    np.testing.assert_allclose(to_probabilities(scores, 2, multi_label=False), [[0.25, 0.5]])
    np.testing.assert_array_equal(
        to_targets(np.array([1, 2]), 2, multi_label=False), [[False, True], [False, False]]
    )


def test_several_labels_are_independent():
    np.testing.assert_allclose(
        to_probabilities(np.array([[0.0, np.log(3)]]), 2, multi_label=True), [[0.5, 0.75]]
    )
    targets = to_targets(np.array([[1.0, 1.0], [0.0, 1.0]]), 2, multi_label=True)
    np.testing.assert_array_equal(targets, [[True, True], [False, True]])


def test_voc_ap_takes_the_envelope():
    # Precision at the positives: 1/2, then 2/3: the envelope lifts the first to 2/3.
    targets, scores = np.array([False, True, True]), np.array([0.9, 0.8, 0.7])
    assert voc_average_precision(targets, scores) == pytest.approx(2 / 3)


def test_a_clip_without_action_counts_for_ap_alone():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]])
    targets = np.array([[False, False], [True, False]])
    result = classification(probabilities, targets, ["a", "b"])
    assert result["top1"] == 1.0
    assert result["per_class_ap"]["a"] == 0.5


def test_context_reliability_trusts_what_agrees():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 200)
    action = np.full((200, 4), 0.1)
    action[np.arange(200), classes] = 0.7
    shuffled = action[rng.permutation(200)]
    same, trust = context_reliability(action, action)
    _, distrust = context_reliability(action, shuffled)
    assert trust > 0.9 and distrust < 0.3
    np.testing.assert_allclose(same.sum(-1), 1)
    assert (same.argmax(-1) == classes).all()


def test_reliability_scales_rows_that_fall_short_of_one():
    rng = np.random.default_rng(0)
    action, context = rng.dirichlet(np.ones(4), 50), rng.dirichlet(np.ones(4), 50)
    whole, trust = context_reliability(action, context)
    short, same = context_reliability(action * 0.6, context * 0.3)
    np.testing.assert_allclose(short, whole)
    assert same == pytest.approx(trust)
