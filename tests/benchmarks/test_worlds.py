from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import worlds
from tfrecords.records import codec
from tfrecords.sources import demo
from tfrecords.sources.drawing import Drawing, draw


def records(directory, split):
    paths = sorted(str(path) for path in directory.glob(f"{split}-?????-of-*.tfrecord"))
    pairs = [codec.decode(record.numpy()) for record in tf.data.TFRecordDataset(paths)]
    return {pair.id: pair for pair in pairs}


@pytest.fixture
def few_clips(monkeypatch):
    """The splits of the demo with two clips a class outside `train`."""
    splits = {name: (12, bias) for name, (_, bias) in demo.SPLITS.items()}
    monkeypatch.setattr(demo, "SPLITS", splits)


def test_six_of_each_is_the_demo(tmp_path, few_clips):
    worlds.write(tmp_path / "world", classes=6, scenes=6, pairs_per_class=1, seed=0)
    for split, count in {"train": 6, "validation": 12, "test_anti": 12}.items():
        pairs = records(tmp_path / "world", split)
        assert len(pairs) == count
        index = count - 1
        pair, expected = pairs[f"{split}-{index:05d}"], demo.make_pair(split, index)
        assert pair.labels == expected.labels
        assert (pair.clip == expected.clip).all()


def test_twelve_of_each(tmp_path, few_clips):
    directory = worlds.write(tmp_path / "world", pairs_per_class=1)
    info = json.loads((directory / "dataset.json").read_text())
    assert info["labels"] == list(worlds.MOTIONS)
    assert {name: split["clips"] for name, split in info["splits"].items()} == {
        "train": 12,
        "validation": 24,
        "test": 24,
        "test_uniform": 24,
        "test_anti": 24,
    }
    train, test = records(directory, "train"), records(directory, "test")
    assert all(pair.mask is None and pair.conjugate is not None for pair in train.values())
    assert all(pair.mask.any() and pair.conjugate is None for pair in test.values())
    assert {pair.labels[0] for pair in train.values()} == set(worlds.MOTIONS)


def test_in_short_events_the_mask_is_the_acting_actor(tmp_path, few_clips):
    directory = worlds.write(tmp_path / "world", 2, 2, acting=1 / 3, pairs_per_class=1)
    for pair in records(directory, "test").values():
        assert pair.mask.any((1, 2)).sum() == 4  # of 12 frames


def test_a_finished_world_is_left_as_it_is(tmp_path, few_clips, monkeypatch):
    directory = worlds.write(tmp_path / "world", classes=2, scenes=2, pairs_per_class=1)
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    monkeypatch.setattr(worlds, "write_dataset", None)
    worlds.write(directory, classes=2, scenes=2, pairs_per_class=1)
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_no_more_than_there_is(tmp_path):
    for classes, scenes in ((13, 13), (12, 6), (1, 6)):
        with pytest.raises(ValueError, match="Expected 2 <= classes <= 12"):
            worlds.write(tmp_path, classes=classes, scenes=scenes)


def test_motions_differ_from_each_other():
    # One figure at one place, with the same phase and period: only the motion is left.
    rngs = [np.random.default_rng(5) for _ in worlds.MOTIONS]
    masks = [
        draw(rng, motion, worlds.SCENES[0], conjugate=False).mask
        for rng, motion in zip(rngs, worlds.MOTIONS.values())
    ]
    pixels = np.mean([mask.sum() for mask in masks])
    for i, mask in enumerate(masks):
        for other in masks[:i]:
            assert (mask != other).sum() > 0.15 * pixels


def test_scenes_differ_from_each_other():
    still = [
        np.stack(
            [
                draw(np.random.default_rng(seed), worlds.MOTIONS["wave"], scene).conjugate[0]
                for seed in range(3)
            ]
        )
        for scene in worlds.SCENES
    ]
    for i, frames in enumerate(still):
        for other in still[:i]:
            median = np.median(frames, (0, 1, 2)) - np.median(other, (0, 1, 2))
            assert np.abs(median).max() > 20


def test_the_scene_betrays_the_class_as_often_as_the_split_says(monkeypatch):
    scenes = []

    def note(rng, motion, scene, acting, conjugate):
        scenes.append(worlds.SCENES.index(scene))
        frames = np.zeros((1, 1, 1, 3), np.uint8)
        return Drawing(frames, frames, np.ones((1, 1, 1), bool), np.ones(1, bool))

    monkeypatch.setattr(demo, "draw", note)
    expected = {"train": 0.9, "test": 0.9, "test_uniform": 1 / 12, "test_anti": 0.0}
    for split, share in expected.items():
        scenes.clear()
        for index in range(1200):
            demo.make_pair(split, index, motions=worlds.MOTIONS, scenes=worlds.SCENES)
        own = np.mean(np.array(scenes) == np.arange(1200) % 12)
        assert abs(own - share) < 4 * np.sqrt(share * (1 - share) / 1200) + 1e-9
        assert np.bincount(scenes, minlength=12).min() > 60  # every scene, about as often
