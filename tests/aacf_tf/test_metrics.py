"""Metrics against hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from aacf_tf import metrics


def test_classification_by_hand():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])
    targets = np.eye(3, dtype=bool)[[0, 1, 1, 0]]
    result = metrics.classification(probabilities, targets, ["a", "b", "c"])
    assert result["top1"] == 0.5
    assert result["top5"] == 1.0
    # a: ranked 0.9+, 0.6-, 0.2-, 0.1+ -> (1 + 2/4) / 2; b: 0.7+, 0.3+ -> 1; c has no positive.
    assert result["per_class_ap"] == {"a": 0.75, "b": 1.0, "c": None}
    assert result["mean_ap"] == pytest.approx(0.875)
    assert result["voc_ap"] == pytest.approx(0.875)


def test_voc_ap_takes_the_envelope():
    # Precision at the positives: 1/2, then 2/3: the envelope lifts the first to 2/3.
    targets, scores = np.array([False, True, True]), np.array([0.9, 0.8, 0.7])
    assert metrics.voc_average_precision(targets, scores) == pytest.approx(2 / 3)


def test_a_clip_without_action_counts_for_ap_alone():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]])
    targets = np.array([[False, False], [True, False]])
    result = metrics.classification(probabilities, targets, ["a", "b"])
    assert result["top1"] == 1.0
    assert result["per_class_ap"]["a"] == 0.5


def test_context_reliability_trusts_what_agrees():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 200)
    action = np.full((200, 4), 0.1)
    action[np.arange(200), classes] = 0.7
    shuffled = action[rng.permutation(200)]
    same, trust = metrics.context_reliability(action, action)
    _, distrust = metrics.context_reliability(action, shuffled)
    assert trust > 0.9 and distrust < 0.3
    np.testing.assert_allclose(same.sum(-1), 1)
    assert (same.argmax(-1) == classes).all()


def test_cell_coverage_by_hand():
    mask = np.zeros((1, 4, 6, 6), np.uint8)
    mask[0, :2, :2, :2] = 1
    mask[0, 0, 2, 0] = 1
    coverage = metrics.cell_coverage(mask, (2, 3, 3), (2, 2, 2))
    assert coverage.shape == (1, 2, 3, 3)
    assert coverage[0, 0, 0, 0] == 1.0
    assert coverage[0, 0, 1, 0] == pytest.approx(1 / 8)
    assert coverage.sum() == pytest.approx(1 + 1 / 8)


def test_the_last_cell_ends_with_the_picture():
    mask = np.zeros((1, 2, 5, 5), np.uint8)
    mask[:, :, 4, 4] = 1
    coverage = metrics.cell_coverage(mask, (1, 3, 3), (2, 2, 2))
    assert coverage[0, 0, 2, 2] == 1.0


def test_actor_cells_fall_back_to_the_fullest():
    coverage = np.array([[[[0.1, 0.2]]], [[[0.5, 0.0]]]])
    cells = metrics.actor_cells(coverage, 0.25)
    np.testing.assert_array_equal(cells, [[[[False, True]]], [[[True, False]]]])


def test_pointing_mass_auc_and_time_share_by_hand():
    weights = np.array([[[[0.5, 0.1], [0.1, 0.0]], [[0.05, 0.15], [0.05, 0.05]]]])
    cells = np.zeros((1, 2, 2, 2), bool)
    cells[0, :, 0, 0] = True
    result = metrics.pointing_mass_auc(weights, cells)
    assert result["pointing"] == 1.0
    assert result["mass"] == pytest.approx(0.55)
    # 2 actor cells x 6 others: 0.5 beats all 6; 0.05 beats one, ties two, loses to three.
    assert result["auc"] == pytest.approx((6 + 1 + 2 * 0.5) / 12)
    # The first step's peak is on the actor and above 1/8; the second's is not on it.
    assert metrics.time_share(weights, cells) == 0.5


def test_normalize_map_keeps_the_positive_part():
    values = np.array([[[[1.0, -5.0], [3.0, 0.0]]], [[[-1.0, -1.0], [-1.0, -1.0]]]])
    weights = metrics.normalize_map(values)
    np.testing.assert_allclose(weights[0, 0], [[0.25, 0], [0.75, 0]])
    np.testing.assert_allclose(weights[1], 0.25)


def test_reliability_scales_rows_that_fall_short_of_one():
    rng = np.random.default_rng(0)
    action, context = rng.dirichlet(np.ones(4), 50), rng.dirichlet(np.ones(4), 50)
    whole, trust = metrics.context_reliability(action, context)
    short, same = metrics.context_reliability(action * 0.6, context * 0.3)
    np.testing.assert_allclose(short, whole)
    assert same == pytest.approx(trust)


def test_off_centre_is_the_third_farthest_from_the_centre():
    coverage = np.zeros((6, 1, 5, 5))
    for n, (y, x) in enumerate([(2, 2), (0, 0), (2, 3), (2, 2), (4, 1), (3, 2)]):
        coverage[n, 0, y, x] = 1
    np.testing.assert_array_equal(np.flatnonzero(metrics.off_centre(coverage)), [1, 4])
