"""Automatic masks beside annotated ones: the figures, and the choice of clips."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import person_masks
from tfrecords import ClipPair, write_dataset
from tfrecords.people.finder import open_finder
from tfrecords.utils.errors import UsageError


def test_what_is_compared():
    true, found = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    true[:, :2], found[:, 1:3] = True, True
    assert person_masks.compare(found, true) == (0.5, 0.5, 0.5, 0.5)
    recall, precision, share, _ = person_masks.compare(np.zeros_like(true), true)
    assert recall == share == 0 and np.isnan(precision)


def test_clips_are_spread_over_classes_and_judged(tmp_path):
    clip = np.full((6, 40, 48, 3), 70, np.uint8)
    mask = np.zeros((6, 40, 48), bool)
    for t in range(6):
        mask[t, 12:24, 4 + 5 * t : 16 + 5 * t] = True
    clip[mask] = 250
    pairs = [ClipPair(f"{n}", clip, None, ("xy"[n % 2],), mask=mask) for n in range(8)]
    pairs.append(ClipPair("found", clip, None, ("x",), mask=mask, mask_origin="auto:motion"))
    write_dataset(tmp_path / "data", {"train": pairs[:5], "test": pairs[5:]}, ["x", "y"])
    directory = str(tmp_path / "data")
    assert person_masks.choose(directory, 0) == set(map(str, range(8)))
    chosen = person_masks.choose(directory, 4)
    assert sorted(int(name) % 2 for name in chosen) == [0, 0, 1, 1]
    others = person_masks.choose(directory, 4, others=True)
    assert len(others) == 4 and not others & chosen
    with pytest.raises(UsageError, match="--clips of fewer than all for --others, received 0"):
        person_masks.choose(directory, 0, others=True)
    finder, _ = open_finder("motion")
    result = person_masks.judge(finder, person_masks.read(directory, {"1", "6"}), 2, tmp_path)
    assert result["recall"] > 0.9 and result["frames"] == 12 and result["empty"] == 0
    finder.find = None  # what was found is read again, with the seconds that it took
    assert result == person_masks.judge(
        finder, person_masks.read(directory, {"1", "6"}), 2, tmp_path
    )
    lines = person_masks.table({"motion": result}, 2)
    assert lines[0].startswith("**Automatic masks** (2 clips, 12 frames")
    assert lines[-1].startswith("| motion | ") and lines[-1].count("|") == lines[2].count("|")
    write_dataset(tmp_path / "none", {"train": pairs[-1:]}, ["x", "y"])
    with pytest.raises(UsageError, match=r"annotated masks in .*none, received none"):
        person_masks.choose(str(tmp_path / "none"), 0)
