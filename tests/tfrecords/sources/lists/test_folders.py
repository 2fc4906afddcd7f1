"""The source folders: a folder a class, of videos, photographs or frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils.errors import UsageError


def tree(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def source(folder: Path, **options):
    return open_source("folders", SourceOptions(input=str(folder), **options))


def test_a_folder_a_class(tmp_path):
    names = ("run/b.mp4", "run/a (1).AVI", "cafe\u0301/c.mkv", ".git/x.mp4", "run/._b.mp4")
    tree(tmp_path, *names, "run/notes.txt", "README")
    (tmp_path / "jump").mkdir()
    opened = source(tmp_path)
    rows = [(row.split, row.id, row.labels) for row in opened.rows()]
    assert rows == [
        ("train", "cafe\u0301/c.mkv", ("caf\u00e9",)),
        ("train", "run/a (1).AVI", ("run",)),
        ("train", "run/b.mp4", ("run",)),
    ]
    assert (opened.labels, opened.conjugate) == (["caf\u00e9", "run"], "frozen_frame")
    assert opened.remarks == (
        "Files that are no videos or photographs are passed over: 1 others, 1 .txt.",
        "Folders without a clip: jump.",
        "All clips are in the split train; --make_splits=70,15,15 divides them.",
    )


def test_a_folder_a_split(tmp_path):
    tree(tmp_path, "Training/run/a.mp4", "val/run/b.mp4", "test/jump/c.mp4", "night/run/d.mp4")
    opened = source(tmp_path)
    assert [(row.split, row.labels[0]) for row in opened.rows()] == [
        ("train", "run"),
        ("night", "run"),
        ("test", "jump"),
        ("validation", "run"),
    ]
    assert opened.remarks == ()
    with pytest.raises(UsageError, match=r"SPLIT names the splits already; .*,overwrite"):
        source(tmp_path, make_splits="70,15,15")
    moved = source(tmp_path, make_splits="100,0,0,overwrite").rows()
    assert {row.split for row in moved} == {"train"}


def test_the_same_records_as_of_a_table_and_of_frames(tmp_path, write_video, counted):
    (tmp_path / "films" / "run").mkdir(parents=True)
    write_video(tmp_path / "films" / "run" / "a.mkv", counted(6), fps=10)
    (tmp_path / "stills" / "run" / "a.mkv").mkdir(parents=True)
    for n, frame in enumerate(counted(6)):
        Image.fromarray(frame).save(tmp_path / "stills" / "run" / "a.mkv" / f"{n:05}.png")
    (tmp_path / "films" / "clips.csv").write_text("video,label\nrun/a.mkv,run\n")
    table = SourceOptions(input=str(tmp_path / "films" / "clips.csv"), conjugate="frozen_frame")
    pairs = [
        opened.load(opened.rows()[0])
        for opened in (
            source(tmp_path / "films"),
            source(tmp_path / "stills", frames_fps=10.0),
            open_source("csv", table),
        )
    ]
    for pair in pairs[1:]:
        for name, value in vars(pairs[0]).items():
            np.testing.assert_equal(getattr(pair, name), value)


def test_photographs(tmp_path):
    for place, shade in (("run/a.jpg", 10), ("jump/b.png", 200)):
        tree(tmp_path, place)
        Image.new("RGB", (40, 30), (shade,) * 3).save(tmp_path / place)
    opened = source(tmp_path)
    assert [(row.id, row.labels) for row in opened.rows()] == [
        ("jump/b.png#0", ("jump",)),
        ("run/a.jpg#0", ("run",)),
    ]
    assert opened.load(opened.rows()[1]).clip[0, 0, 0].tolist() == [10, 10, 10]
    tree(tmp_path, "run/c.mp4")
    opened = source(tmp_path)
    assert [row.id for row in opened.rows()] == ["run/c.mp4"]
    assert opened.remarks[0].startswith("2 photographs beside videos are passed over, such as jump")
    assert len(source(tmp_path, stills=2).rows()) == 4


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["a.mp4"], {}, "expected DIR/CLASS/clip.mp4 or .*, received a.mp4"),
        (["x/y/z/a.mp4"], {}, "received x/y/z/a.mp4"),
        (["run/notes.txt"], {}, "received no video and no photograph"),
        (["run/a.mp4", "jump/day1/b.mp4"], {}, "received run/a.mp4 and jump/day1/b.mp4"),
        (["run/day1/a.mp4"], {}, "with SPLIT among train, validation, test .* the folder run"),
        (["val/run/a.mp4", "valid/run/b.mp4"], {}, "expected one folder for each split"),
        (["run/a.mp4"], {"conjugate": "before_after"}, "--conjugate=frozen_frame, auto, none"),
        (["run/a.mp4"], {"input": "nowhere"}, "a folder with a folder a class, received nowhere"),
    ],
)
def test_other_trees_are_refused(tmp_path, paths, options, message):
    tree(tmp_path, *paths)
    with pytest.raises(UsageError, match=message):
        open_source("folders", SourceOptions(**{"input": str(tmp_path), **options}))


def test_links_lead_out_only_where_data_root_says_so(tmp_path):
    tree(tmp_path, "store/a.mp4", "data/run/b.mp4")
    (tmp_path / "data" / "run" / "a.mp4").symlink_to(tmp_path / "store" / "a.mp4")
    (tmp_path / "data" / "jump").symlink_to(tmp_path / "store")
    with pytest.raises(UsageError, match=r"Expected files inside .*data_root.* jump/a.mp4, which "):
        source(tmp_path / "data")
    rows = source(tmp_path / "data", data_root=str(tmp_path)).rows()
    assert [row.media for row in rows] == ["data/jump/a.mp4", "data/run/a.mp4", "data/run/b.mp4"]
