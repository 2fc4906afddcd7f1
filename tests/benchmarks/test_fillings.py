"""Telling filled pictures from untouched ones: what is compared, and that it can be learned."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import fillings
from tfrecords import ClipPair, write_dataset
from tfrecords.utils.errors import UsageError


@pytest.fixture
def directories(rng, tmp_path):
    """Noise, and the same with a flat patch in it, in all pictures but one."""
    pictures = rng.integers(0, 256, (60, 1, 32, 40, 3), np.uint8)
    filled = pictures.copy()
    filled[1:, :, 8:24, 10:30] = 128
    for name, clips in (("untouched", pictures), ("filled", filled)):
        pairs = [
            ClipPair(f"clip-{n // 2}#{n % 2}", clip, None, ("a",)) for n, clip in enumerate(clips)
        ]
        write_dataset(tmp_path / name, {"train": pairs}, ["a"])
    return tmp_path


@pytest.mark.slow
def test_a_filling_that_is_plain_to_see_is_seen(directories, monkeypatch):
    monkeypatch.setattr(fillings, "SIZE", (32, 40))
    untouched = fillings.read(str(directories / "untouched"))
    filled = fillings.read(str(directories / "filled"))
    names, *pictures = fillings.match(untouched, filled, "filled")
    assert len(names) == 59 and "clip-0#0" not in names  # which has no filling
    result = fillings.judge(names, *pictures, epochs=4, seed=0, title="")
    assert result["pictures"] == fillings.held_out(names).sum()
    assert result["auc"] > 0.95 and result["paired_accuracy"] > 0.95
    with pytest.raises(UsageError, match=r"received 0\."):
        fillings.match(untouched, untouched, "again")


def test_frames_of_a_clip_are_on_one_side():
    names = [f"clip-{n}#{k}" for n in range(200) for k in range(3)]
    sides = fillings.held_out(names).reshape(200, 3)
    assert (sides == sides[:, :1]).all() and 0.2 < sides.mean() < 0.4
