"""A dry run: counts and estimates, and nothing is written."""

from __future__ import annotations

import re

import pytest

from tfrecords.build import dry_run
from tfrecords.build.rows import record_bytes
from tfrecords.build.shards import Shard, outcome
from tfrecords.sources import Row, SourceOptions, open_source


@pytest.fixture
def source(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(60), fps=20)
    lines = ["video,label,split,start,end"]
    lines += [f"a.mkv,{'xy'[n % 2]},train,{n * 0.3:.1f},{n * 0.3 + 0.2:.1f}" for n in range(8)]
    lines += ["gone.mkv,x,test,0,1"]
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    options = SourceOptions(input=str(tmp_path / "clips.csv"), conjugate="frozen_frame")
    return open_source("csv", options)


def test_counts_and_estimates(source, tmp_path):
    rows = source.rows()
    planned = [Shard("train", n, 2, rows[n:8:2]) for n in range(2)] + [
        Shard("test", 0, 1, rows[8:])
    ]
    before = set(tmp_path.iterdir())
    text = dry_run.describe(source, planned, 95, workers=1, output=str(tmp_path / "a" / "b"))
    assert set(tmp_path.iterdir()) == before
    assert "9 rows, 2 classes, conjugates sought for 9 (frozen_frame)" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["train", "8", "rows", "2", "shards"] in lines
    assert ["test", "1", "rows", "1", "shards"] in lines
    # Rows 1, 4 and 7 are tried.
    tried = re.search(r"3 rows tried: 3 readable, (\d) with a conjugate, ([\d.]+) kB", text)
    about = re.search(r"about ([\d.]+) kB and .* on 1 core", text)
    assert tried and about
    assert float(about[1]) == pytest.approx(9 * float(tried[2]), rel=0.02)


def test_a_network_is_loaded_before_the_clock_runs_and_takes_all_cores(source, monkeypatch):
    events = []

    class Clock:
        def perf_counter(self) -> float:
            events.append("clock")
            return 5.0 * len(events)

        def process_time(self) -> float:
            return 100.0 + (60.0 if "row" in events else 0.0)

    class Network:
        def erase(self, picture, hole):
            assert hole.any() and not hole.all() and picture.shape[:2] == hole.shape
            events.append("network")

    source.eraser = Network()
    monkeypatch.setattr(dry_run, "time", Clock())
    real = outcome
    monkeypatch.setattr(dry_run, "outcome", lambda *row: events.append("row") or real(*row))
    text = dry_run.describe(source, [Shard("train", 0, 1, source.rows())], 95, workers=2)
    assert events == ["network", "clock", "row", "row", "row", "clock"]
    assert " and 20 s each" in text and "and 1.5 minutes on 2 cores" in text  # 60 s for 3 rows of 9


def test_rows_that_cannot_be_read_are_named(source):
    rows = [Row("train", "x", ("x",), "gone.mkv", line=9)]
    source.rows = lambda: rows
    text = dry_run.describe(source, [Shard("train", 0, 1, rows)], 95, workers=1)
    assert "gone.mkv cannot be read: there is no such file" in text
    assert "None of the 1 rows tried can be read." in text


def test_of_a_part_of_a_data_set_more_rows_are_tried(source):
    """10 of 90 rows exist: the estimate covers all, by the share that was found."""
    there = source.rows()[0]
    gone = Row("train", "x", ("x",), "gone.mkv")
    rows = [there if n % 9 == 5 else gone for n in range(90)]
    source.rows = lambda: rows
    text = dry_run.describe(source, [Shard("train", 0, 1, rows)], 95, workers=1)
    # The middles of 3, 9, 27 equal parts, until three are there: 15, 45, 75; 5, 25, 35, 55, 65, 85;
    # 1, 8, 11, 18, 21, 28, 31, 38, 41, 48, 51, 58, 61, 68. There are 5, 41 and 68.
    assert "23 rows tried: 3 readable" in text
    assert text.count("cannot be read: there is no such file") == 3
    assert "... nor can 17 more of those tried" in text
    size = len(record_bytes(source, there).data) * 3 / 23
    assert f"{dry_run.in_bytes(size)} and" in text


def test_a_full_disk_is_foreseen(source, tmp_path, monkeypatch):
    monkeypatch.setattr(dry_run, "_free_bytes", lambda output: 2000)
    planned = [Shard("train", 0, 1, source.rows())]
    text = dry_run.describe(source, planned, 95, workers=2, output=str(tmp_path))
    assert f"Warning: only 2 kB are free where {tmp_path} lies." in text


def test_numbers_are_rounded_for_people():
    sizes = (0, 999, 1234, 5.67e6, 8.9e9, 2.5e12)
    assert [dry_run.in_bytes(size) for size in sizes] == [
        "0 bytes",
        "999 bytes",
        "1.23 kB",
        "5.67 MB",
        "8.9 GB",
        "2.5 TB",
    ]
    times = (0.25, 61, 600, 9000, 200_000)
    assert [dry_run.in_time(time) for time in times] == [
        "0.25 s",
        "61 s",
        "10 minutes",
        "2.5 hours",
        "2.3 days",
    ]
