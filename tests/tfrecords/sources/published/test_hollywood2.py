"""The source hollywood2: its lists, clips of other kinds, what is missing."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from tfrecords import read_dataset
from tfrecords.build import command
from tfrecords.records.dataset import load_info
from tfrecords.sources import SourceOptions, open_source
from tfrecords.sources.published import hollywood2
from tfrecords.utils.errors import UsageError

# Clip -> its actions; test00002 is not on disk.
CLIPS = {
    "actioncliptrain00001": ("HugPerson", "Kiss"),
    "actioncliptrain00002": ("DriveCar",),
    "actioncliptrain00003": (),
    "actioncliptest00001": ("Run",),
    "actioncliptest00002": ("Eat",),
}


def write_lists(folder: Path, clips: dict[str, tuple[str, ...]]) -> None:
    sets = folder / "ClipSets"
    sets.mkdir(parents=True)
    for action in hollywood2.ACTIONS:
        for split in ("train", "test"):
            lines = [
                f"{name}  {1 if action in actions else -1}\n"
                for name, actions in clips.items()
                if f"clip{split}" in name
            ]
            (sets / f"{action}_{split}.txt").write_text("".join(lines))


@pytest.fixture
def folder(tmp_path, write_video, counted) -> Path:
    tree = tmp_path / "Hollywood2"
    write_lists(tree, CLIPS)
    # What else lies there.
    (tree / "ClipSets" / "actions_train.txt").write_text("actioncliptrain00009  1\n")
    (tree / "ClipSets" / "Kiss_autotrain.txt").write_text("actionclipautoautotrain00001  1\n")
    (tree / "ShotBounds").mkdir()
    (tree / "AVIClips").mkdir()
    for count, name in enumerate(list(CLIPS)[:-1], 5):
        write_video(tree / "AVIClips" / f"{name}.avi", counted(count))
    (tree / "AVIClips" / "actioncliptrain00002.avi").rename(
        tree / "AVIClips" / "actioncliptrain00002_h264.avi"
    )
    write_video(tree / "AVIClips" / "actioncliptrain00002.mkv", counted(6))
    return tree


def run(**options) -> None:
    values = command.define_flags(flags.FlagValues())
    values(["build", *(f"--{name}={value}" for name, value in options.items())])
    command.main([], values)


def test_build_and_read_back(folder, tmp_path, caplog):
    output = tmp_path / "data"
    run(source="hollywood2", input=folder, output=output)
    info = load_info(output)
    assert info.labels == list(hollywood2.ACTIONS) and info.multi_label
    counts = {"shards": 1, "clips": 3, "pairs": 3, "negatives": 1, "skipped": 0}
    assert info.splits["train"].items() >= counts.items()
    assert info.splits["test"].items() >= {"clips": 1, "pairs": 1, "skipped": 1}.items()
    with (output / "skipped.csv").open(newline="") as file:
        rows = [(row["file"], row["reason"]) for row in csv.DictReader(file)]
    assert rows == [("AVIClips/actioncliptest00002.avi", "there is no such file")]
    assert "1 of 5 clips are not in " in caplog.text
    batches = read_dataset(
        str(output), "train", frames=4, size=(24, 32), batch_size=3, training=False
    )
    inputs, targets, _ = next(iter(batches))
    shown = {
        name.decode(): {info.labels[n] for n in np.flatnonzero(target)}
        for name, target in zip(inputs["id"].numpy(), targets.numpy())
    }
    assert shown == {
        "actioncliptrain00001": {"HugPerson", "Kiss"},
        "actioncliptrain00002": {"DriveCar"},
        "actioncliptrain00003": set(),
    }


def test_a_clip_may_have_another_extension(folder):
    rows = open_source("hollywood2", SourceOptions(input=str(folder))).rows()
    media = {row.id: row.media for row in rows}
    assert media["actioncliptrain00002"] == "AVIClips/actioncliptrain00002.mkv"
    assert media["actioncliptrain00001"] == "AVIClips/actioncliptrain00001.avi"
    shutil.copy(
        folder / "AVIClips/actioncliptrain00002.mkv", folder / "AVIClips/actioncliptrain00001.mkv"
    )
    rows = open_source("hollywood2", SourceOptions(input=str(folder))).rows()
    assert rows[0].media == "AVIClips/actioncliptrain00001.avi"  # the original comes first


def test_conjugates(folder):
    frozen = open_source("hollywood2", SourceOptions(input=str(folder)))
    assert frozen.conjugate == "frozen_frame"
    pair = frozen.load(frozen.rows()[0])
    assert (pair.conjugate == pair.clip[0]).all()
    negative = open_source(
        "hollywood2", SourceOptions(input=str(folder), conjugate="negative_clip")
    )
    pairs = {row.id: negative.load(row) for row in negative.rows()[:4]}
    for name in ("actioncliptrain00001", "actioncliptrain00002"):
        assert pairs[name].conjugate_media_id == "AVIClips/actioncliptrain00003.avi"
        assert len(pairs[name].conjugate) == 7
    assert pairs["actioncliptrain00003"].conjugate is None  # it has no action itself
    assert pairs["actioncliptest00001"].conjugate is None  # the only such clip is of train
    (folder / "AVIClips/actioncliptrain00003.avi").write_bytes(b"broken")
    pair = negative.load(negative.rows()[0])
    assert pair.conjugate is None and len(pair.clip) == 5  # the clip is none the worse
    for kind in ("before_after", "given", "remove_person"):
        with pytest.raises(UsageError, match=f"negative_clip, auto, none, received {kind}"):
            open_source("hollywood2", SourceOptions(input=str(folder), conjugate=kind))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda sets: shutil.rmtree(sets), "ClipSets and AVIClips, received"),
        (lambda sets: [path.unlink() for path in sets.iterdir()], "AnswerPhone_train.txt"),
        (lambda sets: (sets / "Kiss_test.txt").unlink(), "at .*Kiss_test.txt: No such file"),
        (lambda sets: (sets / "Run_test.txt").write_text("x  0\n"), "line 1: .*1 or -1, .*'x  0'"),
        (lambda sets: (sets / "Eat_test.txt").write_text("x 1\nx -1"), "line 2: .*x once.* as -1"),
        (lambda sets: (sets / "Run_test.txt").write_text("x  1\n"), "clips of AnswerPhone_test"),
        (lambda sets: (sets / "Run_test.txt").write_text(""), "Run_test.txt: .*received none"),
    ],
)
def test_wrong_layouts(folder, spoil, message):
    spoil(folder / "ClipSets")
    with pytest.raises(UsageError, match=message):
        open_source("hollywood2", SourceOptions(input=str(folder)))


@pytest.mark.parametrize("given", [None, "s3://bucket/Hollywood2"])
def test_no_folder(given):
    with pytest.raises(UsageError, match="--input"):
        open_source("hollywood2", SourceOptions(input=given))


def test_labels_give_the_order_and_must_name_all(folder, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(reversed(hollywood2.ACTIONS)))
    opened = open_source("hollywood2", SourceOptions(input=str(folder), labels=str(labels)))
    assert opened.labels == list(reversed(hollywood2.ACTIONS))
    labels.write_text("Kiss\n")
    with pytest.raises(UsageError, match="name the class 'AnswerPhone'"):
        open_source("hollywood2", SourceOptions(input=str(folder), labels=str(labels)))


def test_the_train_lists_alone_will_do(folder):
    for path in (folder / "ClipSets").glob("*_test.txt"):
        path.unlink()
    rows = open_source("hollywood2", SourceOptions(input=str(folder))).rows()
    assert [row.split for row in rows] == ["train"] * 3


@pytest.mark.parametrize("codec", ["h264.mp4", "mpeg4.avi"])
def test_an_original_clip_in_both_codecs(shared_data, tmp_path, codec):
    original = shared_data / "clips/hollywood2" / f"hollywood2_actioncliptrain00001_{codec}"
    write_lists(tmp_path, {"actioncliptrain00001": ("AnswerPhone",), "actioncliptest00001": ()})
    (tmp_path / "AVIClips").mkdir()
    extension = os.path.splitext(codec)[1]
    (tmp_path / "AVIClips" / f"actioncliptrain00001{extension}").symlink_to(original)
    options = SourceOptions(input=str(tmp_path), data_root=str(shared_data))
    opened = open_source("hollywood2", options)
    pair = opened.load(opened.rows()[0])
    assert pair.clip.shape == (201, 128, 302, 3) and pair.fps == 25
    assert len(opened.remarks) == 1


def test_links_that_lead_out_of_the_folder(folder, tmp_path):
    (tmp_path / "store").mkdir()
    clip = folder / "AVIClips" / "actioncliptrain00001.avi"
    shutil.move(clip, tmp_path / "store")
    clip.symlink_to(tmp_path / "store" / clip.name)
    with pytest.raises(UsageError, match=r"inside .*--data_root.* received AVIClips/.*a link to "):
        open_source("hollywood2", SourceOptions(input=str(folder)))
    root = str(tmp_path / "store")
    assert open_source("hollywood2", SourceOptions(input=str(folder), data_root=root)).rows()
