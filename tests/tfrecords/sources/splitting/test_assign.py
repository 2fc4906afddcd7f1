"""Splits: grouped, stratified, the same whatever the order."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from tfrecords.sources import Row, SourceOptions, open_source
from tfrecords.sources.splitting.assign import divided_groups, make_splits, parse_shares
from tfrecords.utils.errors import UsageError


def split(rows, given="", alike=(), **options):
    """(media -> split, sentence)."""
    made, said = make_splits(rows, SourceOptions(**options), given, alike)
    return {row.media: row.split for row in made}, said


def row(media: str, label: str = "x", **values) -> Row:
    return Row("train", media, (label,) if label else (), media, **values)


@pytest.mark.parametrize(
    ("text", "shares", "overwrite"),
    [
        ("70,15,15", (0.7, 0.15, 0.15), False),
        ("100,0,0", (1, 0, 0), False),
        ("0.8,0,0.2,overwrite", (0.8, 0, 0.2), True),
    ],
)
def test_shares(text, shares, overwrite):
    assert parse_shares(text) == (pytest.approx(shares), overwrite)


@pytest.mark.parametrize(
    "text",
    ["70,15", "70,15,15,5", "70,15,20", "a,b,c", "-10,60,50", "nan,50,50", "70,15,15,over", ""],
)
def test_what_are_no_shares(text):
    with pytest.raises(
        UsageError, match=r"--make_splits as the shares of train, validation and te"
    ):
        parse_shares(text)


def test_stratified_and_the_same_whatever_the_order():
    rows = [row(f"{label}{n}.mp4", label) for label in "abcde" for n in range(40)]
    first, said = split(rows, make_splits="70,15,15")
    for label in "abcde":
        counts = Counter(first[f"{label}{n}.mp4"] for n in range(40))
        assert counts == {"train": 28, "validation": 6, "test": 6}
    random.Random(0).shuffle(rows)
    assert split(rows, make_splits="70,15,15")[0] == first
    assert "train 140 clips (70.0%), validation 30 clips (15.0%), test 30 clips (15.0%)" in said
    assert "200 clips have a file to themselves and no group: each is its own." in said


def test_no_group_is_divided():
    """By file, conjugate, column, pattern and likeness, all at once."""
    rows = [row(f"v{n // 3}.mp4", "ab"[n % 2], start=float(n)) for n in range(60)]
    rows += [row(f"alone{n}.mp4", group=f"g{n // 4}") for n in range(40)]
    rows += [row(f"c{n}_g{n // 5:02}_x.avi") for n in range(40)]
    rows += [row("v0.mp4", conjugate_media="alone0.mp4"), row("alone7.mp4", "")]
    found, said = split(
        rows,
        make_splits="60,20,20",
        group_pattern="_(g[0-9]+)_",
        alike=[("v5.mp4", "c39_g07_x.avi")],
    )
    for number in range(10):
        assert len({found[f"alone{n}.mp4"] for n in range(4 * number, 4 * number + 4)}) == 1
    for number in range(8):
        assert (
            len({found[f"c{n}_g{number:02}_x.avi"] for n in range(5 * number, 5 * number + 5)}) == 1
        )
    assert found["v0.mp4"] == found["alone0.mp4"] and found["v5.mp4"] == found["c39_g07_x.avi"]
    assert set(found.values()) == {"train", "validation", "test"}
    assert (
        "in 36 groups none of which is divided. In 102 clips --group_pattern is not found" in said
    )
    assert "to themselves" not in said


def test_groups_that_are_divided_already():
    files = ["a_g1_c1.avi", "a_g1_c2.avi", "a_g2_c1.avi", "b.avi", "c.avi", "c.avi"]
    rows = [replace(row(name), split=("train", "test")[n % 2]) for n, name in enumerate(files)]
    assert divided_groups(rows, "(a_g[0-9]+)_") == {"a_g1_c1.avi": ["train", "test"]}
    assert divided_groups(rows, None) == {}
    rows[2] = replace(rows[2], group="one")
    rows[3] = replace(rows[3], group="one")
    assert divided_groups(rows, None) == {"a_g2_c1.avi": ["train", "test"]}


@pytest.mark.parametrize(
    ("groups", "shares", "expected"),
    [
        (1, "70,15,15", {"train": 1}),
        (2, "70,15,15", {"train": 1, "validation": 1}),
        (3, "70,15,15", {"train": 1, "validation": 1, "test": 1}),
        (4, "70,15,15", {"train": 2, "validation": 1, "test": 1}),
        (2, "80,0,20", {"train": 1, "test": 1}),
        (5, "0,0,100", {"test": 5}),
    ],
)
def test_few_groups(groups, shares, expected):
    found, _ = split([row(f"{n}.mp4") for n in range(groups)], make_splits=shares)
    assert Counter(found.values()) == expected


def test_wrong_patterns_and_splits_that_are_there():
    rows = [row("a.mp4")]
    for pattern, message in (
        ("(", "as a regular expression"),
        ("a", "with a group in brackets"),
        ("(x)", "received '.x.', which is not in a.mp4"),
    ):
        with pytest.raises(UsageError, match=message):
            split(rows, make_splits="70,15,15", group_pattern=pattern)
    with pytest.raises(UsageError, match=r"no --make_splits, since t.csv names .*70,15,15,overwri"):
        split(rows, given="t.csv", make_splits="70,15,15")
    assert split(rows, given="t.csv", make_splits="0,0,100,overwrite")[0] == {"a.mp4": "test"}


def test_of_a_table(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("video,label,group\n" + "".join(f"{n}.mp4,a,{n // 2}\n" for n in range(20)))
    rows = open_source("csv", SourceOptions(input=str(table), make_splits="50,0,50")).rows()
    assert Counter(row.split for row in rows) == {"train": 10, "test": 10}
    assert all(rows[n].split == rows[n + 1].split for n in range(0, 20, 2))
    table.write_text("video,label,split\na.mp4,x,\n")  # an empty column is none
    open_source("csv", SourceOptions(input=str(table), make_splits="50,0,50"))
    table.write_text("video,label,split\na.mp4,x,test\n")
    with pytest.raises(UsageError, match=r"the column split of .*t.csv names the splits already"):
        open_source("csv", SourceOptions(input=str(table), make_splits="50,0,50"))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("demo", {"make_splits": "70,15,15"}, "Expected no --make_splits for --source=demo"),
        ("demo", {"frames_fps": 25.0}, "Expected no --frames_fps for --source=demo, received 25"),
        ("csv", {"fold": 2}, "Expected no --fold for --source=csv, received 2"),
        ("ucf101", {"tier": "a"}, "Expected no --tier for --source=ucf101, received a"),
        ("csv", {"group_pattern": "(a)"}, r"--make_splits with --group_pattern=\(a\)"),
        ("csv", {"near_duplicates": "apart"}, "--make_splits with --near_duplicates=apart"),
        ("csv", {"near_duplicates": "yes"}, "--near_duplicates among name, apart, ignore"),
    ],
)
def test_flags_that_do_not_fit(source, options, message):
    with pytest.raises(UsageError, match=message):
        open_source(source, SourceOptions(**options))


def test_the_same_clips_elsewhere_are_divided_alike():
    """In other folders, as frames, in another container."""
    names = [f"clip{n}" for n in range(40)]
    found = [
        split([row(place.format(name)) for name in names], make_splits="60,20,20")[0].values()
        for place in ("{}.mp4", "films/x/{}.MKV", "frames/{}")
    ]
    assert list(found[0]) == list(found[1]) == list(found[2])
