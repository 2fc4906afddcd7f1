"""The source hacs: clips and segments, layouts of videos, which negatives become conjugates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from tfrecords import read_dataset
from tfrecords.build import command
from tfrecords.records.dataset import load_info
from tfrecords.sources import SourceOptions, open_source
from tfrecords.sources.published.hacs_tables import read_clips, read_segments
from tfrecords.utils.errors import UsageError

HEADER = "classname,youtube_id,subset,start,end,label\n"
CLIPS = (
    HEADER
    + "Archery,aaaaaaaaaaa,training,1.0,3.0,1\n"  # 2
    + "Archery,aaaaaaaaaaa,training,3.0,5.0,-1\n"
    + "Archery,aaaaaaaaaaa,training,8.0,10.0,-1\n"
    + "Tug of war,bbbbbbbbbbb,training,0.0,2.0,1\n"  # 5: the negative is in another video
    + "Tug of war,-cc_ccccccc,training,0.0,2.0,-1\n"
    + "Tug of war,ddddddddddd,validation,0.0,2.0,1\n"  # 7: no negative in this split
    + "Archery,bbbbbbbbbbb,training,1.0,3.0,-1\n"  # overlaps a tug of war
    + "Archery,-cc_ccccccc,training,0.0,2.0,-1\n"  # the negative of line 6 again
    + "Archery,ggggggggggg,training,0.0,2.0,1\n"  # not on disk
    + "Archery,ggggggggggg,training,4.0,6.0,-1\n"
    + ",eeeeeeeeeee,testing,0.0,2.0,0\n"
)


@pytest.fixture
def folder(tmp_path, write_video, counted) -> Path:
    """The videos as HACS's script saves them, and as others do."""
    root = tmp_path / "HACS"
    (root / "HACS_v1.1.1").mkdir(parents=True)
    (root / "HACS_v1.1.1" / "HACS_clips_v1.1.1.csv").write_text(CLIPS)
    for name, count in (
        ("Archery/v_aaaaaaaaaaa.mp4", 55),  # 11 s
        ("training/Tug of war/bbbbbbbbbbb.mkv", 20),
        ("v_-cc_ccccccc.webm", 20),
        ("ddddddddddd.mp4", 20),
        ("Archery/v_zzzzzzzzzzz.mp4", 5),  # in no list
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        video = write_video(tmp_path / "video.mkv", counted(count), fps=5 if count == 55 else 10)
        video.rename(root / name)
    (root / "Archery" / "v_ggggggggggg.mp4.part").write_bytes(b"half")
    return root


def opened(folder: Path, **options):
    return open_source("hacs", SourceOptions(input=str(folder), **options))


def run(**options) -> None:
    values = command.define_flags(flags.FlagValues())
    values(["build", *(f"--{name}={value}" for name, value in options.items())])
    command.main([], values)


def test_rows(folder):
    rows = {row.line: row for row in opened(folder).rows()}
    assert sorted(rows) == [2, 3, 4, 5, 6, 7, 10, 11]
    assert [rows[n].labels for n in (2, 3, 5)] == [("Archery",), (), ("Tug of war",)]
    assert {rows[n].split for n in (2, 3, 4, 5, 6)} == {"train"} and rows[7].split == "test"
    assert (rows[2].id, rows[2].start, rows[2].end) == ("aaaaaaaaaaa@1.000-3.000", 1.0, 3.0)
    media = {number: rows[number].media for number in (2, 5, 6, 7, 10)}
    assert media == {
        2: "Archery/v_aaaaaaaaaaa.mp4",
        5: "training/Tug of war/bbbbbbbbbbb.mkv",
        6: "v_-cc_ccccccc.webm",
        7: "ddddddddddd.mp4",
        10: "Archery/v_ggggggggggg.mp4",
    }


def test_negatives_of_the_same_video_then_of_the_class(folder):
    source = opened(folder)
    rows = {row.line: row for row in source.rows()}
    assert (rows[2].conjugate_media, rows[2].conjugate_start) == ("Archery/v_aaaaaaaaaaa.mp4", 3.0)
    assert (rows[5].conjugate_media, rows[5].conjugate_end) == ("v_-cc_ccccccc.webm", 2.0)
    assert [rows[number].conjugate_media for number in (3, 6, 7)] == [None] * 3
    assert source.remarks[0].startswith("1 of 5 videos are not below")
    assert "1 have a negative of the same video, 1 of another" in source.remarks[1]
    assert source.remarks[1].endswith("1 have none.")
    assert source.remarks[2].startswith("1 negatives overlap")
    pair = source.load(rows[2])
    assert pair.fps == 16 and len(pair.clip) == len(pair.conjugate) == 32
    assert (pair.clip[::16, 0, 0, 0] // 4).tolist() == [5, 10]
    assert (pair.conjugate[::16, 0, 0, 0] // 4).tolist() == [15, 20]
    assert source.load(rows[3]).labels == () and source.load(rows[3]).conjugate is None


def test_a_negative_that_cannot_be_read_costs_no_clip(folder):
    (folder / "v_-cc_ccccccc.webm").write_bytes(b"broken")
    source = opened(folder)
    row = source.rows()[3]
    assert row.line == 5 and row.conjugate_media
    pair = source.load(row)
    assert pair.conjugate is None and len(pair.clip) == 32


def test_build_and_read_back(folder, tmp_path, caplog):
    output = tmp_path / "data"
    table = folder / "HACS_v1.1.1" / "HACS_clips_v1.1.1.csv"
    run(source="hacs", input=table, data_root=folder, output=output, workers=2)
    info = load_info(output)
    assert info.labels == ["Archery", "Tug of war"] and info.fps == 16
    counts = {"clips": 5, "pairs": 2, "negatives": 3, "skipped": 2}
    assert info.splits["train"].items() >= counts.items()
    assert info.splits["test"].items() >= {"clips": 1, "pairs": 0, "negatives": 0}.items()
    skipped = (output / "skipped.csv").read_text().splitlines()
    assert skipped[1:] == ["Archery/v_ggggggggggg.mp4,there is no such file"] * 2
    assert "videos are not below" in caplog.text
    batches = read_dataset(
        str(output), "train", frames=32, size=(24, 32), batch_size=5, training=False
    )
    inputs, targets, weights = next(iter(batches))
    assert inputs["has_conjugate"].numpy().tolist() == [True, False, False, True, False]
    assert targets.numpy()[[0, 3]].tolist() == [0, 1]
    flat = weights["combined"] if isinstance(weights, dict) else weights
    np.testing.assert_allclose(np.asarray(flat).ravel()[:5], [1, 0.01, 0.01, 1, 0.01])


@pytest.mark.parametrize("as_file", [False, True])
def test_classes(folder, tmp_path, as_file):
    given = "tug_of_war"
    if as_file:
        (tmp_path / "classes.txt").write_text("Tug of war\n")
        given = str(tmp_path / "classes.txt")
    source = opened(folder, classes=given)
    assert source.labels == ["Tug of war"]
    assert [row.line for row in source.rows()] == [5, 6, 7]
    with pytest.raises(UsageError, match=r"--classes to name classes of the 2 .*received 'Kiss'"):
        opened(folder, classes="Archery,Kiss")
    with pytest.raises(UsageError, match="no --classes for --source=demo"):
        open_source("demo", SourceOptions(classes="Archery"))


def test_a_span_of_two_actions_keeps_both(folder):
    table = folder / "HACS_v1.1.1" / "HACS_clips_v1.1.1.csv"
    table.write_text(HEADER + "".join(f"{name},aaaaaaaaaaa,training,1,3,1\n" for name in "xy"))
    rows = opened(folder).rows()
    assert [row.labels for row in rows] == [("x",), ("y",)]
    assert [row.id for row in rows] == ["aaaaaaaaaaa@1.000-3.000", "aaaaaaaaaaa@1.000-3.000#3"]


SEGMENTS = {
    "database": {
        "aaaaaaaaaaa": {
            "subset": "training",
            "annotations": [{"label": "Archery", "segment": [4.0, 6.0]}],
        },
        "ddddddddddd": {
            "subset": "validation",
            "annotations": [{"label": "Tug of war", "segment": [0.0, 2.0]}],
        },
        "eeeeeeeeeee": {"subset": "testing", "annotations": []},
    }
}


def test_segments(folder, tmp_path, write_video):
    # One scene: nothing there may be taken for a cut.
    video = write_video(tmp_path / "video.mkv", np.full((55, 24, 32, 3), 90, np.uint8), fps=5)
    video.rename(folder / "Archery" / "v_aaaaaaaaaaa.mp4")
    table = tmp_path / "HACS_segments_v1.1.1.json"
    table.write_text(json.dumps(SEGMENTS))
    source = opened(table, data_root=str(folder))
    assert source.conjugate == "before_after" and source.labels == ["Archery", "Tug of war"]
    first, second = source.rows()
    assert (first.split, second.split) == ("train", "test")
    pair = source.load(first)
    assert len(pair.clip) == 32 and pair.conjugate is not None
    assert pair.conjugate_start >= 6.0 or pair.conjugate_start <= 2.0
    with pytest.raises(UsageError, match="before_after, frozen_frame, auto, none, received neg"):
        opened(table, data_root=str(folder), conjugate="negative_clip")


def test_clips_come_before_segments_in_a_folder(folder):
    (folder / "HACS_v1.1.1" / "HACS_segments_v1.1.1.json").write_text(json.dumps(SEGMENTS))
    assert len(opened(folder).rows()) == 8
    (folder / "HACS_clips_v1.1.csv").write_text(CLIPS)
    with pytest.raises(UsageError, match=r"one of .*clips_v1.1.csv, .*clips_v1.1.1.csv"):
        opened(folder)


ROW = "Archery,aaaaaaaaaaa,training,1.0,3.0,1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns classname, .*received an empty file"),
        ("a,b\n1,2\n", "expected the columns classname, .*received a, b"),
        (HEADER, "a row with label 1, received none"),
        (HEADER + ROW.replace(",1\n", ",0\n"), "line 2: expected 1 or -1 .*received '0'"),
        (HEADER + ROW + ROW.replace("training", "train"), "line 3: .*subset.*received 'train'"),
        (HEADER + ROW.replace("3.0", "0.5"), "line 2: .*'1.0' and '0.5'"),
        (HEADER + ROW.replace("Archery", ""), "line 2: .*classname"),
    ],
)
def test_wrong_tables(folder, text, message):
    (folder / "HACS_v1.1.1" / "HACS_clips_v1.1.1.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        opened(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "expected an object, received"),
        ('{"database": {"a": {"subset": "training"}}}', "the field database.a.annotations"),
        ('{"database": {}}', "with annotations, received none"),
        (json.dumps(SEGMENTS).replace("[4.0, 6.0]", "[6.0, 4.0]"), "video aaaaaaaaaaa: .*6.0 and"),
        (json.dumps(SEGMENTS).replace("[4.0, 6.0]", "[4.0]"), r"segment .* of length 2, received"),
        (json.dumps(SEGMENTS).replace("[4.0, 6.0]", '["4", 6.0]'), r"segment\[0\] .*number, rec"),
    ],
)
def test_wrong_segments(folder, tmp_path, content, message):
    table = tmp_path / "HACS_segments_v1.1.1.json"
    table.write_text(content)
    with pytest.raises(UsageError, match=message):
        opened(table, data_root=str(folder))


def test_wrong_places(folder, tmp_path):
    with pytest.raises(UsageError, match=r"--input to name HACS_clips.*received none"):
        open_source("hacs", SourceOptions())
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=f"HACS_clips.*received {empty}"):
        opened(empty)
    with pytest.raises(UsageError, match="folder of videos at nowhere"):
        opened(folder, data_root="nowhere")


def test_original_annotations(shared_data, tmp_path):
    samples = shared_data / "annotations" / "hacs"
    entries = read_clips(str(samples / "HACS_clips_sample.csv"))
    assert len(entries) == 3 and sum(entry.positive for entry in entries) == 1
    assert entries[0] == ("Archery", "a2X2hz1G6i8", "train", 15.5, 17.5, True, 2)
    segments = read_segments(str(samples / "HACS_segments_sample.json"))
    assert [entry[:5] for entry in segments] == [
        ("Dodgeball", "--0edUL8zmA", "train", 5.4, 11.6),
        ("Dodgeball", "--0edUL8zmA", "train", 12.6, 88.16),
    ]
    (row, *_) = opened(samples / "HACS_clips_sample.csv", data_root=str(tmp_path)).rows()
    assert row.media == "Archery/v_a2X2hz1G6i8.mp4"
