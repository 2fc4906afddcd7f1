"""The benchmark of the data's roads: what it compares, and one run of it on little."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import data, timing
from tfrecords.dataset import load_info
from tfrecords.errors import UsageError


def test_the_builder_and_its_libraries_on_drawn_videos(tmp_path):
    table = data.draw_videos(tmp_path, clips=2, frames=5)
    result = data.run_builder(str(table), tmp_path, clips=2, rounds=2)
    assert result["frames"] == 10
    assert list(result["rows"]) == [data.BUILDER, data.BARE]
    assert [ratio[:2] for ratio in result["ratios"]] == [[data.BUILDER, data.BARE]]
    assert (tmp_path / "built" / "train-00000-of-00001.tfrecord").stat().st_size > 10_000
    text = data.markdown("title", json.loads(json.dumps(result)))
    assert "10 frames a round" in text and "expected: at least 0.9" in text


def test_the_reader_and_a_naive_pipeline_on_drawn_records(tmp_path):
    directory = data.draw_records(tmp_path, clips=3, frames=4)
    assert load_info(directory).splits["train"]["pairs"] == 3
    result = data.run_reader(directory, "train", frames=4, clips=3, rounds=2)
    assert result["frames"] == 3 * 2 * 4 * data.PASSES  # clip and conjugate
    assert {data.READER, data.NAIVE} <= set(result["rows"])
    with pytest.raises(UsageError, match="--frames=9 frames, received 4"):
        data.run_reader(directory, "train", frames=9, clips=3, rounds=1)


def test_ratios_are_those_of_the_same_round(monkeypatch):
    times = {data.READER: [2.0, 4.0, 2.0], data.LIBJPEG: [1.0, 3.0, 1.5], data.NAIVE: [4, 8, 4]}
    seconds = {name: timing.Times(wall, [2.0] * 3) for name, wall in times.items()}
    monkeypatch.setattr(timing, "measure", lambda candidates, rounds: seconds)
    result = data.compare(dict.fromkeys(times), images=100, rounds=3)
    assert result["rows"][data.READER]["frames_per_second"] == 50
    assert result["rows"][data.READER]["core"] == 1.0  # 2 of 2, 4 and 2 seconds
    assert result["ratios"] == [
        [data.READER, data.LIBJPEG, 0.75, 0.7],
        [data.READER, data.NAIVE, 2.0, 1.8],
    ]


def test_drawn_clips_move_and_are_the_same_each_time():
    clip = data.draw_clip(0, 3, 24, 32)
    assert clip.shape == (3, 24, 32, 3) and clip.dtype == np.uint8
    assert (clip == data.draw_clip(0, 3, 24, 32)).all()
    assert (clip[0] != clip[1]).mean() > 0.5
