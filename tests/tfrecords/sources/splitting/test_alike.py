"""Clips that look alike are found across splits, and kept together on request."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tfrecords.build import checks
from tfrecords.sources import SourceOptions, open_source


@pytest.fixture
def films(tmp_path, write_video):
    """Four scenes; d is scene a at half the size, darker, and 0.1 s later; e and f are black."""
    random = np.random.default_rng(3)
    scenes = {}
    for name in "abc":
        still = random.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        still = cv2.resize(still, (96, 72), interpolation=cv2.INTER_CUBIC)
        scenes[name] = np.stack([np.roll(still, 2 * t, axis=1) for t in range(12)])
    scenes["d"] = np.stack([cv2.resize(f, (48, 36)) for f in scenes["a"]][1:]) // 4 * 3
    scenes["e"] = scenes["f"] = np.zeros((12, 24, 32, 3), np.uint8)
    for name, frames in scenes.items():
        write_video(tmp_path / f"{name}.mkv", frames, fps=10)
    return tmp_path


def test_copies_in_other_splits_are_named(films):
    lines = [
        f"{name}.mkv,x,{split}" for name, split in zip("abcdef", ("train",) * 3 + ("test",) * 3)
    ]
    table = films / "t.csv"
    table.write_text("\n".join(["video,label,split", *lines, "none.mkv,x,test"]) + "\n")
    opened = open_source("csv", SourceOptions(input=str(table)))
    assert [(one.media, other.media) for one, other in opened.alike()] == [("a.mkv", "d.mkv")]
    (warning,) = checks.near_duplicates(opened)
    assert warning.startswith("Warning: 1 pairs of clips of different splits look alike")
    assert "a.mkv (train) and d.mkv (test)" in warning


def test_copies_are_kept_together(films):
    """Whatever else would be as good a division."""
    table = films / "t.csv"
    table.write_text("video,label\n" + "".join(f"{name}.mkv,{name}\n" for name in "abcd"))
    options = SourceOptions(input=str(table), make_splits="50,0,50", near_duplicates="apart")
    rows = open_source("csv", options).rows()
    assert rows[0].split == rows[3].split
