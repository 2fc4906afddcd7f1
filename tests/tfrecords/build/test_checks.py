"""Suspicious rows are named before a build."""

from __future__ import annotations

from dataclasses import replace

from tfrecords.build import checks
from tfrecords.sources import Row, Source, SourceOptions


def make(*rows: tuple) -> Source:
    """(split, media, start, end) each."""
    source = Source(SourceOptions())
    listed = [
        Row(split, str(n), ("a",), media, start, end, line=n + 2)
        for n, (split, media, start, end) in enumerate(rows)
    ]
    source.rows = lambda: listed
    return source


def test_nothing_is_said_of_good_rows():
    good = make(("train", "a.mp4", 0, 1), ("train", "a.mp4", 1, 2), ("test", "b.mp4", 0, 1))
    assert checks.warnings(good) == []


def test_the_same_span_twice():
    source = make(("train", "a.mp4", 0, 1.5), ("train", "b.mp4", 0, None), ("train", "a.mp4", 0, 1))
    assert checks.warnings(source) == []
    rows = [("train", "a.mp4", 0, 1.5), ("train", "b.mp4", 0, None), ("train", "b.mp4", 0, None)]
    assert checks.warnings(make(*rows)) == [
        "Warning: 1 span stands twice in the input: b.mp4 (line 3 and line 4)."
    ]
    (warning,) = checks.warnings(make(*rows, *[rows[0]] * 4))
    assert warning == (
        "Warning: 5 spans stand twice in the input: b.mp4 (line 3 and line 4); "
        "a.mp4 0-1.5 s (line 2 and line 5); a.mp4 0-1.5 s (line 2 and line 6); and 2 more."
    )
    source = make(rows[1], rows[1])
    source.one_record_a_span = False
    assert checks.warnings(source) == []


def test_a_video_in_two_splits():
    source = make(
        ("train", "a", 0, 1), ("test", "a", 5, 6), ("val", "b", 0, 1), ("test", "b", 2, 3)
    )
    assert checks.warnings(source) == [
        "Warning: 2 source videos stand in several splits, so that a test may see what was "
        "trained on: a (train, test); b (val, test)."
    ]


def test_a_conjugate_of_a_video_in_another_split():
    source = make(("train", "a", 0, 1), ("test", "b", 0, 1))
    first, second = source.rows()
    source.rows = lambda: [replace(first, conjugate_media="b"), second]
    (warning,) = checks.warnings(source)
    assert warning.endswith("trained on: b (train, test).")
    source.conjugate = "none"  # the column is not read
    assert checks.warnings(source) == []


def test_a_conjugate_that_shows_an_action():
    source = make(("train", "a", 0, 2), ("test", "b", 4, None), ("train", "c", 0, 1))
    rows = source.rows()
    source.rows = lambda: [
        replace(rows[0], conjugate_media="a", conjugate_start=1.5, conjugate_end=3),
        replace(rows[1], conjugate_media="b", conjugate_end=4),  # up to the action
        replace(rows[2], conjugate_media="b", conjugate_start=0),  # to the end of the file
    ]
    assert checks.overlaps(source) == [
        "Warning: the conjugate of line 2 shows the action of line 2, a in a 0-2 s.",
        "Warning: the conjugate of line 4 shows the action of line 3, a in b from 4 s.",
    ]
    source.conjugate = "before_after"
    assert checks.overlaps(source) == []
