"""Conjugates that a table gives, or that are chosen from the clip's surroundings."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.tables import source
from tfrecords.conjugates import shots
from tfrecords.utils.errors import UsageError


def test_given_conjugates(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(40), fps=20)
    write_video(tmp_path / "b.mkv", counted(40, 48, 64), fps=10)
    opened = source(
        tmp_path,
        "video,label,start,end,conjugate_video,conjugate_start,conjugate_end\n"
        "a.mkv,x,0,1,b.mkv,1,2\n"
        "a.mkv,x,0,1,,1.5,2\n"
        "a.mkv,x,0,1,,,\n",
    )
    assert opened.conjugate == "given"
    other, own, none = map(opened.load, opened.rows())
    # Another file: at the clip's rate and size.
    assert other.conjugate.shape == (20, 24, 32, 3)
    assert (other.conjugate[:, 0, 0, 0] // 4).tolist() == [10 + n // 2 for n in range(20)]
    assert (other.conjugate_media_id, other.conjugate_start) == ("b.mkv", 1.0)
    assert (own.conjugate[:, 0, 0, 0] // 4).tolist() == list(range(30, 40))
    assert own.conjugate_media_id == "a.mkv"
    assert none.conjugate is None


def test_before_after_avoids_cuts_and_actions(tmp_path, write_video, counted):
    frames = counted(60) // 2  # dark; numbers count by twos
    frames[40:] = 255 - frames[40:]  # a cut at 2.0 s
    write_video(tmp_path / "a.mkv", frames, fps=20)
    opened = source(
        tmp_path,
        "video,label,start,end,split\n"
        "a.mkv,x,1.0,1.4,train\n"  # after: 0.6 s to the cut; before: 1 s
        "a.mkv,y,0.4,0.6,test\n"  # takes the side before away, though in another split
        "a.mkv,,0.8,0.9,train\n"  # no action: takes nothing
        "a.mkv,x,,,other\n",
        margin=0.1,
    )
    assert opened.conjugate == "before_after"
    pairs = [opened.load(row) for row in opened.rows()[:3]]
    # The last row's action covers the whole file and leaves no room at all.
    assert [pair.conjugate for pair in pairs] == [None, None, None]
    text = (tmp_path / "clips.csv").read_text().rsplit("\n", 2)[0] + "\n"
    opened = source(tmp_path, text, margin=0.1)
    first, second, empty = map(opened.load, opened.rows())
    assert (first.conjugate_start, len(first.conjugate)) == pytest.approx((1.5, 8))
    assert (second.conjugate_start, len(second.conjugate)) == pytest.approx((0.1, 4))
    assert empty.conjugate is None
    assert first.conjugate.max() < 128  # of the first shot


def test_before_after_of_a_clip_that_reaches_to_the_end(
    tmp_path, write_video, counted, monkeypatch
):
    """Nothing lies behind it, whether the table names no end or, as in frames, one far behind."""
    monkeypatch.setattr("tfrecords.conjugates.shots.LONG", 1.0)
    monkeypatch.setattr("tfrecords.conjugates.shots.CHUNK", 0.5)
    for name in "abcd":
        write_video(tmp_path / f"{name}.mkv", np.full((60, 24, 32, 3), 90, np.uint8), fps=20)
    opened = source(
        tmp_path, "video,label,start,end\na.mkv,x,2,\nb.mkv,x,2,1e6\nc.mkv,x,,\nd.mkv,x,0,1e9\n"
    )
    first, second, *whole = (opened.load(row) for row in opened.rows())
    for pair in (first, second):
        assert len(pair.clip) == 20
        assert pair.conjugate_start == pytest.approx(0.5) and len(pair.conjugate) == 20
    assert [pair.conjugate for pair in whole] == [None, None]


def test_before_after_by_likeness(tmp_path, write_video, counted):
    frames = counted(80, 48, 64) // 8  # little by little brighter, in one shot
    write_video(tmp_path / "a.mkv", frames, fps=20)
    frames[20:40] += (
        80  # before the clip the camera looks elsewhere for a second, unseen by `shots`
    )
    write_video(tmp_path / "c.mkv", frames, fps=20)
    text = "video,label,start,end\na.mkv,x,2.0,2.4\nc.mkv,x,2.0,2.4\n"
    pairs = {}
    for rank in ("longer", "alike"):
        opened = source(tmp_path, text, margin=0.1, conjugate_rank=rank)
        opened._timelines = {
            str(tmp_path / name): shots.Timeline(str(tmp_path / name))
            for name in ("a.mkv", "c.mkv")
        }
        for timeline in opened._timelines.values():
            timeline._chunks = {0: shots.Chunk((), 4.0, 20.0)}
        pairs[rank] = [opened.load(row).conjugate_start for row in opened.rows()]
    assert pairs["longer"] == pytest.approx([1.5, 1.5])
    assert pairs["alike"] == pytest.approx([1.5, 2.5])
    with pytest.raises(UsageError, match="--conjugate_rank among longer, alike, received 'best'"):
        source(tmp_path, text, conjugate_rank="best")


def test_negative_clip_is_the_nearest_of_the_same_split(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(60), fps=20)
    opened = source(
        tmp_path,
        "video,label,start,end,split\n"
        "a.mkv,x,1.0,1.4,train\n"
        "a.mkv,,0,0.4,train\n"
        "a.mkv,,1.5,1.9,test\n"
        "a.mkv,,2.5,2.9,train\n",
        conjugate="negative_clip",
    )
    pairs = [opened.load(row) for row in opened.rows()]
    assert pairs[0].conjugate_start == 0.0 and len(pairs[0].conjugate) == 8
    assert [pair.conjugate for pair in pairs[1:]] == [None] * 3


def test_frozen_frame(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(6))
    opened = source(tmp_path, "video,label\na.mkv,x\n", conjugate="frozen_frame")
    pair = opened.load(opened.rows()[0])
    assert pair.conjugate.shape == pair.clip.shape and (pair.conjugate == pair.clip[0]).all()


@pytest.mark.parametrize("kind", ["remove_person", "frozen_frame"])
def test_the_clip_itself_is_no_conjugate(tmp_path, write_video, counted, kind):
    frames = counted(5)
    frames[:, 8:16, 8:16] = 255
    write_video(tmp_path / "a.mkv", frames)
    write_video(tmp_path / "one.mkv", counted(1))
    mask = np.zeros((5, 24, 32), bool)
    np.savez(tmp_path / "empty.npz", mask=mask)
    mask[:, 8:16, 8:16] = True
    np.savez(tmp_path / "actor.npz", mask=mask)
    opened = source(
        tmp_path,
        "video,label,mask\none.mkv,x,\na.mkv,x,empty.npz\na.mkv,x,actor.npz\n",
        conjugate=kind,
    )
    pairs = [opened.load(row) for row in opened.rows()]
    assert pairs[0].conjugate is None  # one frame; no mask
    # The empty mask leaves nothing to remove, but frames to freeze.
    assert (pairs[1].conjugate is None) == (kind == "remove_person")
    assert pairs[2].conjugate is not None


def test_empty_columns_of_conjugates_and_masks_are_none(tmp_path):
    header = "video,label,start,end,conjugate_video,conjugate_start,conjugate_end,mask\n"
    text = header + "x.mp4,a,1,2,,,,\n"
    assert source(tmp_path, text).conjugate == "before_after"
    for kind, column in (("given", "conjugate_video"), ("remove_person", "mask")):
        with pytest.raises(
            UsageError, match=f"a column {column}.* for .*received none or an empty"
        ):
            source(tmp_path, text, conjugate=kind)


@pytest.mark.parametrize(
    ("column", "cell", "span"),
    [("conjugate_end", "2", (0, 2)), ("conjugate_start", "0", (0, None))],
)
def test_a_lone_end_or_a_start_of_zero_is_a_conjugate(tmp_path, column, cell, span):
    opened = source(tmp_path, f"video,label,start,end,{column}\nx.mp4,a,3,4,{cell}\n")
    (row,) = opened.rows()
    assert opened.conjugate == "given" and row.conjugate_media == "x.mp4"
    assert (row.conjugate_start, row.conjugate_end) == span


def test_an_unreadable_conjugate_costs_the_conjugate_alone(tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(40), fps=20)
    header = "video,label,start,end,conjugate_video,conjugate_start\n"
    opened = source(tmp_path, header + "a.mkv,x,0,1,,9\na.mkv,x,0,1,b.mp4,\n")
    pairs = [opened.load(row) for row in opened.rows()]
    assert [(len(pair.clip), pair.conjugate) for pair in pairs] == [(20, None)] * 2
    assert pairs[0].lost == "no conjugate: a.mkv: no frame lies in the span [9, ) s"
    assert pairs[1].lost == "no conjugate: b.mp4: there is no such file"
