"""Every kind of head is judged by what it puts out, and by no more."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest

from aacf_tf.evaluation import map_scores, predictions
from aacf_tf.evaluation.evaluate import evaluate
from aacf_tf.runs.run import Run
from tfrecords import ClipPair, write_dataset

FACTORS = {"action", "context", "combined"}
CONTEXT = {"context_mass", "context_auc"}


def judged(recipe, data, workdir, head):
    """(metrics.json, columns of predictions.csv, run, model) of an untrained model."""
    run = Run.open(dataclasses.replace(recipe, head=head), data, workdir)
    model = run.build(run.recipe.stages[-1])
    evaluate(run, model, head, workdir)
    content = json.loads((workdir / "metrics.json").read_text(), parse_constant=pytest.fail)
    with open(workdir / "predictions.csv", newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    return content, columns, run, model


@pytest.mark.parametrize(
    "head, scores, context_map, presence",
    [
        ("aacf", FACTORS, True, True),
        pytest.param("linear_factors", FACTORS, False, False, marks=pytest.mark.slow),
        pytest.param("attention", {"combined"}, False, False, marks=pytest.mark.slow),
        ("average_background", {"combined"}, False, False),
    ],
)
def test_a_head_is_judged_by_what_it_has(
    head, scores, context_map, presence, tiny_recipe, squares_data, tmp_path
):
    content, columns, run, model = judged(tiny_recipe, squares_data, tmp_path, head)
    assert content["head"] == head and set(content["splits"]) == {"test", "test_more"}
    entry = content["splits"]["test"]
    assert scores == FACTORS & set(entry)
    assert {name.split("_")[0] for name in columns[4:]} == scores
    place = entry["localization"]
    for values in (place, place["off_centre_third"]):
        assert {"action_pointing", "action_mass", "action_auc", "action_time_share"} <= set(values)
        assert ("action_iou" in values) == (head in ("aacf", "attention"))
        assert {"frame_difference_mass", "frame_difference_auc"} <= set(values)
        assert CONTEXT & set(values) == (CONTEXT if context_map else set())
        assert "mean_mask_mass" not in values  # the training clips have no masks
    assert place["clips_with_mask"] == 8 and place["mask_threshold"] == 0.0

    forward = predictions.compile_forward(run, model)
    outputs = predictions.predict_split(run, model, "test", forward)
    assert (outputs.presence is not None) == presence
    assert {*outputs.scores} == scores
    for probabilities in outputs.scores.values():
        assert probabilities.shape == (8, 2)
    for name in ("evidence", "difference", *(["context_attention"] if context_map else [])):
        np.testing.assert_allclose(getattr(outputs, name).sum((1, 2, 3)), 1, rtol=1e-5)
    assert outputs.masked.all() and len(outputs.id) == 8


def test_a_clip_whose_mask_is_empty_is_not_judged(tiny_recipe, tmp_path):
    rng = np.random.default_rng(0)
    masks = [np.zeros((6, 24, 24), bool) for _ in range(3)]
    masks[1][:] = True  # everywhere: pointing and mass, but no AUC
    clips = [
        ClipPair(f"{n}", rng.integers(0, 255, (6, 24, 24, 3), np.uint8), None, ("a",), 6.0, mask)
        for n, mask in enumerate([*masks[:2], None])
    ]
    write_dataset(tmp_path / "data", {"train": clips, "test": clips}, ["a", "b"], num_shards=1)
    content, *_ = judged(tiny_recipe, tmp_path / "data", tmp_path / "run", "attention")
    place = content["splits"]["test"]["localization"]
    assert place["clips_with_mask"] == 1
    assert place["action_pointing"] == 1.0 and place["action_mass"] == pytest.approx(1)
    assert place["action_auc"] is None and place["mean_mask_auc"] is None


def test_overlap_by_hand():
    shown = np.zeros((1, 1, 1, 6), bool)
    shown[..., 4:] = True
    for actor, expected in (([4, 5], 1.0), ([5], 1 / 2), ([3, 4], 1 / 3), ([0, 1], 0.0)):
        cells = np.zeros((1, 1, 1, 6), bool)
        cells[..., actor] = True
        assert map_scores._overlap(shown, cells) == pytest.approx(expected)
