"""Raw files as people have them: each layout is one that a source reads."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import raw
from tfrecords.sources import SourceOptions, open_source


@pytest.mark.parametrize(
    ("layout", "source", "options", "rows"),
    [
        ("untrimmed", "csv", {"input": "clips.csv"}, {"train": 3}),
        ("trimmed", "folders", {}, {"train": 3}),
        (
            "photographs",
            "csv",
            {"input": "photographs.csv", "stills": 1, "conjugate": "remove_person"},
            {"train": 3},
        ),
        ("ucf101", "ucf101", {}, {"train": 36, "test": 1}),
        ("frames", "folders", {"frames_fps": 12.0}, {"train": 3}),
    ],
)
def test_a_source_reads_it(tmp_path, monkeypatch, layout, source, options, rows):
    monkeypatch.setattr(raw, "SIDE", 48)
    raw.LAYOUTS[layout](tmp_path / layout, sum(rows.values()))
    place = str(tmp_path / layout / options.pop("input", ""))
    opened = open_source(source, SourceOptions(input=place, **options))
    splits = [row.split for row in opened.rows()]
    assert {split: splits.count(split) for split in set(splits)} == rows
    row = opened.rows()[0]
    pair = opened.load(row)
    assert pair.conjugate is not None and not np.array_equal(pair.clip, pair.conjugate)
    assert len(pair.clip) == (1 if layout == "photographs" else 12)
    assert row.labels[0] in opened.labels
