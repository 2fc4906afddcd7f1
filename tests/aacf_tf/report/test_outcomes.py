"""Intervals, confusions and certainty, from the predictions of a run."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from aacf_tf.report import outcomes, summary
from aacf_tf.report.outcomes import Outcomes


def made(targets, probabilities):
    targets, probabilities = np.array(targets, bool), np.array(probabilities, float)
    ids = [str(n) for n in range(len(targets))]
    return Outcomes(ids, targets, probabilities.argmax(-1), {"combined": probabilities})


def test_average_precision_is_scikit_learn_s_for_every_weighting(rng):
    for levels in (3, 1000):  # with many ties, and with few
        targets = rng.random(40) < 0.3
        scores = rng.integers(0, levels, 40) / levels
        weights = rng.integers(0, 3, (20, 40)).astype(np.float32)
        found = outcomes.average_precision(targets, scores, weights)
        wanted = [average_precision_score(targets, scores, sample_weight=w) for w in weights]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_intervals_hold_the_value_and_shrink_with_more_clips(rng):
    sides = []
    for count in (50, 500):
        targets = rng.random((count, 2)) < 0.4
        scores = targets * 0.5 + rng.random((count, 2))
        (low, high), _ = outcomes.ap_intervals(targets, scores)
        value = average_precision_score(targets[:, 0], scores[:, 0])
        assert low < value < high
        sides.append(high - low)
    assert sides[1] < 0.6 * sides[0]
    targets[:, 1] = False
    assert outcomes.ap_intervals(targets, scores)[1] is None


def test_draws_of_large_splits_are_fewer():
    assert outcomes.draw_weights(10).shape == (400, 10)
    assert outcomes.draw_weights(20_000).shape == (100, 20_000)
    assert (outcomes.draw_weights(10).sum(1) == 10).all()


def test_confusions_count_clips_with_a_label():
    of = made(
        [[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]],
        [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.9, 0, 0]],
    )
    np.testing.assert_array_equal(outcomes.confusions(of), [[1, 0, 0], [1, 0, 0], [0, 0, 1]])


def test_certainty_compares_what_is_said_with_what_is_right():
    of = made([[1, 0], [1, 0], [0, 1], [0, 0]], [[0.92, 0.08], [0.35, 0.65], [0.0, 1.0], [1, 0]])
    bins = outcomes.certainty(of, "combined")
    assert [(b.low, b.clips, b.right) for b in bins] == [(0.6, 1, 0), (0.9, 2, 1)]
    assert bins[1].stated == pytest.approx(0.96)
    assert outcomes.certainty_gap(bins) == pytest.approx((0.65 + 2 * 0.04) / 3)


@pytest.mark.parametrize(
    "right, scene, says",
    [
        (0.86, 0.91, "does as well"),
        (0.86, 0.3, "say nothing"),
        (0.84, 0.0, "mislead"),
        (0.86, 0.6, "more often than the scene alone"),
    ],
)
def test_a_sentence_says_what_the_scene_is_worth(right, scene, says):
    entry = {name: {"top1": share} for name, share in (("action", right), ("context", scene))}
    entry = {"clips": 9, **entry, "combined": {"top1": 0.5}}
    metrics = {"recipe": "a", "head": "aacf", "labels": list("abcd"), "splits": {"test": entry}}
    (said,) = summary.sentences(metrics, None, "action", {}, multi_label=False)
    assert says in said.verdict and said.interval is None and said.right == right
    assert dict(said.others)["guessing"] == 0.25
    (said,) = summary.sentences(metrics, None, "combined", {}, multi_label=True)
    assert said.right == 0.5 and "guessing" not in dict(said.others)
    assert dict(said.others)["without the scene (by the action alone)"] == right


def test_runs_are_compared_on_the_clips_that_both_judged():
    one = made([[1, 0], [0, 1], [0, 1]], [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
    other = made([[1, 0], [0, 1]], [[0.1, 0.9], [0.1, 0.9]])
    (found,) = summary.differences({"test": one, "x": one}, {"test": other})
    assert (found.split, found.clips, found.more) == ("test", 2, 0.5)
    assert found.interval == (0, 1)
