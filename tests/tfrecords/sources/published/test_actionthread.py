"""The source actionthread: conjugates from the thread of the action."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from absl import flags

from tfrecords import read_dataset
from tfrecords.build import command
from tfrecords.records.dataset import load_info
from tfrecords.sources import SourceOptions, open_source
from tfrecords.sources.published.actionthread import Shot, own_thread, span_in_thread
from tfrecords.utils.errors import UsageError

ACTIONS = (
    "video,label,start,end,split\n"
    "series/one.mkv,Kiss,2.0,2.6,train\n"
    "series/one.mkv,Hug,0.4,0.8,train\n"
    "two.mkv,Kiss,1.0,1.4,test\n"
)
# Two cameras by turns: left 0-1, right 1-2, left 2-3, right 3-4.
THREADS = (
    "video,thread,start,end\n"
    "series/one.mkv,left,0,1\n"
    "series/one.mkv,right,1,2\n"
    "series/one.mkv,left,2,3\n"
    "series/one.mkv,right,3,4\n"
    "three.mkv,left,0,1\n"
)


@pytest.fixture
def folder(tmp_path, write_video, counted) -> Path:
    tree = tmp_path / "ActionThread"
    (tree / "series").mkdir(parents=True)
    frames = counted(40) // 2
    for start in (10, 30):
        frames[start : start + 10] = 255 - frames[start : start + 10]
    write_video(tree / "series" / "one.mkv", frames, fps=10)
    write_video(tree / "two.mkv", np.full((30, 24, 32, 3), 90, np.uint8), fps=10)
    (tree / "actions.csv").write_text(ACTIONS)
    (tree / "threads.csv").write_text(THREADS)
    return tree


def opened(folder: Path, **options):
    return open_source("actionthread", SourceOptions(input=str(folder), **options))


def run(**options) -> None:
    values = command.define_flags(flags.FlagValues())
    values(["build", *(f"--{name}={value}" for name, value in options.items())])
    command.main([], values)


def test_a_conjugate_beyond_the_cut_in_the_same_thread(folder):
    # The shot of the kiss, left 2-3, has .3 s left behind the margin; left 0-1 has .4 s before the
    # hug, which is nobody's conjugate.
    source = opened(folder, margin=0.1)
    kiss, hug, other = (source.load(row) for row in source.rows())
    assert kiss.labels == ("Kiss",) and len(kiss.clip) == 6
    assert (kiss.conjugate_media_id, kiss.conjugate_start) == ("series/one.mkv", 0.0)
    assert len(kiss.conjugate) == 4 and kiss.conjugate.max() < 128
    assert hug.conjugate_start == pytest.approx(2.6) and len(hug.conjugate) == 4
    # No threads are known of this video: the span is in the shot of the action.
    assert other.conjugate is not None and other.conjugate_media_id == "two.mkv"
    assert source.remarks[0].startswith("threads.csv names the threads of 1 of 2 videos")


def test_the_most_alike_of_the_thread(folder, write_video):
    """The thread's last shot is of another light; near is what the default takes, alike the first.

    Alike never takes what shows something else, though it be of the thread.
    """
    frames = np.full((80, 24, 32, 3), 60, np.uint8)
    frames[10:20], frames[40:80] = 160, 240
    write_video(folder / "series" / "one.mkv", frames, fps=10)
    spans = {"left": ["0,1", "2,4", "4,6"], "right": ["1,2", "6,8"]}
    lines = [f"series/one.mkv,{name},{span}" for name, of in spans.items() for span in of]
    (folder / "threads.csv").write_text("video,thread,start,end\n" + "\n".join(lines) + "\n")
    (folder / "actions.csv").write_text(
        "video,label,start,end\nseries/one.mkv,Kiss,3.0,3.8\nseries/one.mkv,Hug,2,2.9\n"
    )
    starts = {}
    for rank in ("longer", "alike"):
        source = opened(folder, margin=0.1, conjugate_rank=rank)
        starts[rank] = source.load(source.rows()[0]).conjugate_start
    assert starts == {"longer": pytest.approx(4.0), "alike": pytest.approx(0.2)}


def test_without_threads_the_cut_is_the_end(folder):
    (folder / "threads.csv").unlink()
    source = opened(folder, margin=0.1)
    kiss, hug, _ = (source.load(row) for row in source.rows())
    assert kiss.conjugate is None  # 3 frames behind the kiss are too few
    assert hug.conjugate is None
    assert source.remarks == ()


def test_build_and_read_back(folder, tmp_path):
    output = tmp_path / "data"
    run(source="actionthread", input=folder, output=output, margin=0.1)
    info = load_info(output)
    assert info.labels == ["Hug", "Kiss"]
    assert info.splits["train"].items() >= {"clips": 2, "pairs": 2, "skipped": 0}.items()
    batches = read_dataset(
        str(output), "train", frames=4, size=(24, 32), batch_size=2, training=False
    )
    inputs, targets, _ = next(iter(batches))
    assert targets.numpy().tolist() == [1, 0]
    assert inputs["has_conjugate"].numpy().all()


def test_the_fingerprint_knows_the_threads(folder):
    first = opened(folder).fingerprint()
    assert opened(folder).fingerprint() == first
    (folder / "threads.csv").write_text(THREADS.replace("left,2,3", "left,2,2.9"))
    assert opened(folder).fingerprint() != first


LEFT, RIGHT = "left", "right"


@pytest.mark.parametrize(
    ("shots", "actions", "expected"),
    [
        # Room on both sides of the same shot: a tie, so before.
        ([Shot(LEFT, 0, 20)], [], (8.5, 9.5)),
        # Before is taken by another action: after.
        ([Shot(LEFT, 0, 20)], [(8, 9.8)], (11.5, 12.5)),
        # Another shot of the thread has the room; the nearest of the two.
        (
            [Shot(LEFT, 0, 4), Shot(RIGHT, 4, 9), Shot(LEFT, 9, 12), Shot(LEFT, 13, 16)],
            [],
            (13, 14),
        ),
        # As long as the clip goes before near.
        ([Shot(LEFT, 9, 12.2), Shot(LEFT, 40, 50)], [], (40, 41)),
        # Most of the clip is right's.
        ([Shot(LEFT, 0, 10.2), Shot(RIGHT, 10.2, 13)], [], (11.5, 12.5)),
        ([Shot(LEFT, 9.8, 11.2)], [], None),
        ([Shot(LEFT, 0, 5)], [], None),
    ],
)
def test_span_in_thread(shots, actions, expected):
    found = span_in_thread((10.0, 11.0), own_thread((10.0, 11.0), shots), actions, margin=0.5)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("actions.csv", "video,label,start,end\ntwo.mkv,Kiss,1.0,\n", "line 2: .*start and an end"),
        ("actions.csv", "video,kind\ntwo.mkv,Kiss\n", "columns video and label"),
        ("threads.csv", "video,shot\n", "columns video, thread, start, end, received video, shot"),
        ("threads.csv", "video,thread,start,end\ntwo.mkv,a,2,1\n", "line 2: .*'2' and '1'"),
        ("threads.csv", "video,thread,start,end\ntwo.mkv,,1,2\n", "line 2: .*name of a thread"),
        ("threads.csv", "video,thread,start,end\nno.mkv,a,1,2\n", "video that actions.csv names"),
    ],
)
def test_wrong_tables(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        opened(folder)


def test_wrong_folders(tmp_path):
    with pytest.raises(UsageError, match=r"folder with an actions.csv, received"):
        opened(tmp_path)
    with pytest.raises(UsageError, match=r"folder with an actions.csv on this machine, .*s3://x"):
        open_source("actionthread", SourceOptions(input="s3://x"))
