"""Data sets of other kinds than the demo's go the whole road: train, evaluate, export, report."""

from __future__ import annotations

import csv
import dataclasses
import json

import av
import numpy as np
import pytest

from aacf_tf import load, pipeline, recipes
from aacf_tf.evaluation.classification import MIN_CLIPS_FOR_RELIABILITY
from tfrecords import ClipPair, write_dataset

LABELS = ["down", "right", "bright"]
SCORES = ("action", "context", "combined")
FRAMES, SIDE = 6, 24


def square(index, random, moves=True):
    """(clip, the same scene without the square, mask): it goes down, or right where index is odd.

    Every third square is bright, the others are gray.
    """
    still = random.integers(0, 60, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
    clip, mask = still.copy(), np.zeros((FRAMES, SIDE, SIDE), bool)
    for t in range(FRAMES if moves else 0):
        y, x = (4, 2 + 3 * t) if index % 2 else (2 + 3 * t, 4)
        clip[t, y : y + 5, x : x + 5] = 120 if index % 3 else 250
        mask[t, y : y + 5, x : x + 5] = True
    return clip, still, mask


def no_pairs(index, random):
    clip, _, mask = square(index, random)
    return clip, None, (LABELS[index % 2],), mask


def several_labels(index, random):
    clip, still, mask = square(index, random)
    return clip, still, (LABELS[index % 2], *([] if index % 3 else ["bright"])), mask


def negatives(index, random):
    """Draws clips of which one in four has no action, label or conjugate."""
    if index % 4 == 3:
        return square(index, random, moves=False)[0], None, (), None
    clip, still, mask = square(index, random)
    return clip, still, (LABELS[index % 2],), mask


def travel(kind, recipe, folder, multi_label=False):
    """Takes a data set of a kind the whole road.

    Returns:
        metrics.json, the rows of predictions.csv, and for the first test clips the pairs
        (Prediction of the exported model from a video file, their row).
    """
    random = np.random.default_rng(0)
    splits = {
        split: [
            ClipPair(f"{split}-{n}", clip, still, labels, 6.0, mask)
            for n, (clip, still, labels, mask) in enumerate(kind(n, random) for n in range(count))
        ]
        for split, count in (("train", 16), ("test", MIN_CLIPS_FOR_RELIABILITY))
    }
    write_dataset(folder / "data", splits, LABELS, multi_label, num_shards=1)
    workdir = folder / "run"
    recipe = dataclasses.replace(
        recipes.override(recipe, "stages.0.epochs", 1), baseline="none", score="combined"
    )
    pipeline.run(recipe, folder / "data", workdir, mode="all")
    assert (workdir / "report" / "index.html").stat().st_size > 10_000
    assert (workdir / "report" / "maps.png").is_file()
    metrics = json.loads((workdir / "metrics.json").read_text(), parse_constant=pytest.fail)
    with open(workdir / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    predictor = load(workdir / "export" / "aacf")
    seen = []
    for pair, row in zip(splits["test"][:4], rows):
        assert row["id"] == pair.id and row["labels"] == "|".join(pair.labels)
        write_lossless(folder / "clip.mp4", pair.clip)
        seen.append((predictor.predict(folder / "clip.mp4"), row))
    return metrics, rows, seen


def write_lossless(path, clip):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=6)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "rgb24"
        stream.options = {"qp": "0"}
        for image in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def probabilities(rows, score):
    """`[N, K]` of predictions.csv."""
    return np.array([[float(row[f"{score}_{label}"]) for label in LABELS] for row in rows])


def check_alike(seen):
    """The exported model says of a file what evaluation has said of the record."""
    for prediction, row in seen:
        for score in SCORES:
            np.testing.assert_allclose(
                list(getattr(prediction, score).values()), probabilities([row], score)[0], atol=2e-5
            )
        assert prediction.predicted == row["predicted"]
        assert prediction.probabilities == prediction.combined
        assert np.isfinite(prediction.action_evidence)


@pytest.mark.slow
def test_without_a_pair_the_combined_score_is_the_action_s(tiny_recipe, tmp_path, caplog):
    metrics, rows, seen = travel(no_pairs, tiny_recipe, tmp_path)
    assert "the context cannot be learned" in caplog.text
    check_alike(seen)
    action, combined = (probabilities(rows, score) for score in ("action", "combined"))
    np.testing.assert_allclose(combined, action, atol=1e-6)
    np.testing.assert_allclose(action.sum(-1), 1, atol=1e-5)
    for prediction, _ in seen:
        assert prediction.combined == pytest.approx(prediction.action, abs=1e-6)
    judged = metrics["splits"]["test"]
    assert judged["combined"] == judged["action"]
    assert "reliability" not in judged
    # No clip of the test is of this class.
    assert judged["action"]["per_class_ap"]["bright"] is None
    assert 0 <= judged["localization"]["action_mass"] <= 1


@pytest.mark.slow
def test_several_labels_a_clip(tiny_recipe, tmp_path):
    metrics, rows, seen = travel(several_labels, tiny_recipe, tmp_path, multi_label=True)
    check_alike(seen)
    assert rows[0]["labels"] == "down|bright"
    for score in SCORES:
        values = probabilities(rows, score)
        assert (values > 0).all() and (values < 1).all()
        assert np.abs(values.sum(-1) - 1).max() > 0.01  # each class stands by itself
    judged = metrics["splits"]["test"]
    assert all(0 < ap <= 1 for ap in judged["combined"]["per_class_ap"].values())
    assert "reliability" not in judged


@pytest.mark.slow
def test_clips_with_no_action(tiny_recipe, tmp_path):
    metrics, rows, seen = travel(negatives, tiny_recipe, tmp_path)
    check_alike(seen)
    assert rows[3]["labels"] == ""
    for score in SCORES:
        # What is missing is the share of no action.
        totals = probabilities(rows, score).sum(-1)
        assert (totals > 0).all() and (totals < 1 - 1e-6).all()
    judged = metrics["splits"]["test"]
    assert judged["clips"] == MIN_CLIPS_FOR_RELIABILITY
    assert 0 <= judged["reliability"]["context_trust"] <= 1
    assert 0 <= judged["combined"]["top1"] <= 1
