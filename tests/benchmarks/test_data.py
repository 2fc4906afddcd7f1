"""The benchmark of the data's roads: what it compares, and one run of it on little."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from benchmarks import data, sheet
from tfrecords.records.dataset import load_info
from tfrecords.utils.errors import UsageError


def test_the_builder_and_its_libraries_on_drawn_videos(tmp_path):
    table = data.draw_videos(tmp_path, clips=2, frames=5)
    result = data.run_builder(str(table), tmp_path, clips=2, rounds=2)
    assert result.settings["frames a round"] == 10
    assert list(result.rows) == [data.BUILDER, data.BARE]
    ratio = result.ratios[0]
    assert [(ratio.name, ratio.other, ratio.wanted)] == [(data.BUILDER, data.BARE, 0.9)]
    assert (tmp_path / "built" / "train-00000-of-00001.tfrecord").stat().st_size > 10_000
    rate = 10_000 / statistics.median(result.rows[data.BUILDER].milliseconds)
    assert f"Frames a second: builder {rate:.0f}, " in sheet.markdown(result)


def test_the_reader_and_a_naive_pipeline_on_drawn_records(tmp_path):
    directory = data.draw_records(tmp_path, clips=3, frames=4)
    assert load_info(directory).splits["train"]["pairs"] == 3 * data.COPIES
    result = data.run_reader(directory, "train", frames=4, clips=3, rounds=2)
    assert result.settings["frames a round"] == 3 * 2 * 4 * data.COPIES  # clip and conjugate
    assert {data.READER, data.NAIVE, data.DECODER} <= set(result.rows)
    with pytest.raises(UsageError, match="--frames=9 frames, received 4"):
        data.run_reader(directory, "train", frames=9, clips=3, rounds=1)


def test_drawn_clips_move_and_are_the_same_each_time():
    clip = data.draw_clip(0, 3, 24, 32)
    assert clip.shape == (3, 24, 32, 3) and clip.dtype == np.uint8
    assert (clip == data.draw_clip(0, 3, 24, 32)).all()
    assert (clip[0] != clip[1]).mean() > 0.5
