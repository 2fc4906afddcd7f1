"""Masks that a program found are no ground truth unless the recipe asks for it."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from aacf_tf.bias.clips import Clips
from aacf_tf.evaluation import evaluate, map_scores
from aacf_tf.evaluation.predictions import SplitOutputs
from aacf_tf.report import stills
from aacf_tf.runs import directory, run
from aacf_tf.runs.run import Run
from tfrecords import ClipPair, write_dataset
from tfrecords.reading.options import ClipSpec
from tfrecords.records.dataset import load_info
from tfrecords.utils.errors import UsageError

MOTION = "auto:motion"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A square that moves: automatic masks in train and test, one annotated in `test_known`."""
    random = np.random.default_rng(0)
    clip = np.repeat(random.integers(0, 60, (1, 40, 48, 3)).astype(np.uint8), 6, axis=0)
    mask = np.zeros((6, 40, 48), bool)
    for t in range(6):
        mask[t, 12:24, 4 + 5 * t : 16 + 5 * t] = True
    clip[mask] = 250

    def pairs(split: str, *origins: str) -> list[ClipPair]:
        return [
            ClipPair(f"{split}{n}", clip, None, ("ab"[n % 2],), 6.0, mask, mask_origin=origin)
            for n, origin in enumerate(origins)
        ]

    splits = {
        "train": pairs("train", MOTION, MOTION),
        "test": pairs("test", MOTION, MOTION),
        "test_known": pairs("test_known", "annotated", MOTION, ""),
    }
    place = tmp_path_factory.mktemp("automatic") / "data"
    write_dataset(place, splits, ["a", "b"], num_shards=1)
    return place


def test_every_reader_is_told(data, tiny_recipe, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(run, "read_dataset", lambda *_, **options: seen.append(options))
    monkeypatch.setattr(run, "read_features", lambda *_, **options: seen.append(options))
    for wanted in (False, True):
        current = Run.open(dataclasses.replace(tiny_recipe, automatic_masks=wanted), data, tmp_path)
        stage = current.recipe.stages[0]
        current.batches("test", stage, training=False, masks=True)
        current.caches = {stage.name: tmp_path}
        current.stage_batches("test", stage, training=False, masks=True)
        assert [options["automatic_masks"] for options in seen[-2:]] == [wanted] * 2
        pairs = stills.load(current, "test_known", {"test_known0", "test_known1"})
        assert pairs["test_known0"].mask is not None
        assert (pairs["test_known1"].mask is not None) == wanted
    plain = Run.open(tiny_recipe, data, tmp_path)
    assert map_scores.mean_training_mask(plain, (6, 3, 3), (1, 16, 16)) is None
    plans = [{"automatic_masks": False}, {"automatic_masks": True}]
    directory.require_same(tmp_path, "another recipe", *plans)  # a trained run may be judged anew


def test_it_is_said_what_counts(data, tiny_recipe, tmp_path, caplog):
    cells = np.zeros((1, 6, 2, 2), np.float32)
    cells[:, :, 0, 0] = 1.0
    outputs = SplitOutputs(
        np.array(["x"]), np.array([[True, False]]), cells, np.array([False]), cells, {}
    )
    current = Run.open(tiny_recipe, data, tmp_path)
    current.info = load_info(data)
    current.info.splits["test"]["masks_auto:motion"] = 2
    with caplog.at_level(logging.INFO, "aacf_tf"):
        entry = evaluate._judge(current, "test", outputs, None)
    assert "localization" not in entry
    assert caplog.messages == [
        "The masks of test are automatic: no ground truth for the maps (--set "
        "automatic_masks=true counts them)."
    ]
    outputs.masked = np.array([True])
    current.recipe = dataclasses.replace(tiny_recipe, automatic_masks=True)
    entry = evaluate._judge(current, "test", outputs, None)
    assert entry["localization"]["automatic_masks"] is True
    assert entry["localization"]["action_pointing"] == 1


@pytest.mark.parametrize(
    ("split", "asked", "kind", "ids"),
    [
        ("test", "auto", "automatic", ["test0", "test1"]),
        ("test_known", "auto", "annotated", ["test_known0", "test_known2"]),
        ("test_known", "automatic", "automatic", ["test_known1"]),
    ],
)
def test_the_bias_test_says_whose_masks_it_takes(data, split, asked, kind, ids):
    clips = Clips(data, split, ClipSpec(6, (40, 48)), asked)
    assert clips.masks == kind and [clip.id for clip in clips.clips] == ids


def test_the_bias_test_names_what_is_missing(data):
    with pytest.raises(UsageError, match="a mask of the actor in split 'test' of"):
        Clips(data, "test", ClipSpec(6, (40, 48)), "annotated")
