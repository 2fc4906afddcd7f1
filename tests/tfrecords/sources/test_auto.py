"""--conjugate=auto: the best that each clip has, and how many of each."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.build import build_dataset, summary
from tfrecords.records import codec
from tfrecords.records.dataset import conjugate_kinds, load_info
from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils.errors import UsageError

HEADER = "video,label,start,end,conjugate_video,conjugate_start,mask,split\n"


@pytest.fixture
def table(tmp_path, write_video, counted):
    """A row for each kind, in the order of ranks; no action, no motion, a bad conjugate."""
    frames = counted(60, 48, 64) // 4
    frames[:, 10:30, 10:30] = 255
    for name in ("given", "negative", "before", "mask", "frozen", "bad"):
        write_video(tmp_path / f"{name}.mkv", frames, fps=20)
    write_video(tmp_path / "still.mkv", np.full((20, 48, 64, 3), 90, np.uint8), fps=20)
    mask = np.zeros((60, 48, 64), bool)
    mask[:, 10:30, 10:30] = True
    np.savez_compressed(tmp_path / "m.npz", mask=mask)
    (tmp_path / "t.csv").write_text(
        HEADER + "given.mkv,x,1,1.5,,2.2,,\n"
        "negative.mkv,x,1,1.5,,,,\n"
        "negative.mkv,,2,2.5,,,,\n"
        "before.mkv,x,1,1.5,,,,\n"
        "mask.mkv,x,,,,,m.npz,\n"
        "frozen.mkv,x,,,,,,\n"
        "still.mkv,x,,,,,,\n"
        "bad.mkv,x,1,1.5,none.mkv,,,test\n"
    )
    return str(tmp_path / "t.csv")


def test_each_clip_has_the_best(table):
    opened = open_source("csv", SourceOptions(input=table, conjugate="auto", margin=0.1))
    pairs = {pair.id.split(".")[0]: pair for pair in map(opened.load, reversed(opened.rows()))}
    assert {name: pair.conjugate_kind for name, pair in pairs.items()} == {
        "given": "given",
        "negative": "negative_clip",
        "before": "before_after",
        "mask": "remove_person",
        "frozen": "frozen_frame",
        "still": "",
        "bad": "before_after",
    }
    assert pairs["given"].conjugate_start == pytest.approx(2.2)
    assert pairs["negative"].conjugate_start == pytest.approx(2.0)
    assert pairs["still"].conjugate is None and opened.load(opened.rows()[2]).conjugate is None
    assert pairs["bad"].lost == "no conjugate by given: none.mkv: there is no such file"
    assert [row.wants_conjugate("auto") for row in opened.rows()[1:3]] == [True, False]


def test_they_are_counted(table, tmp_path, caplog):
    options = SourceOptions(input=table, conjugate="auto", margin=0.1)
    with caplog.at_level(logging.WARNING):
        build_dataset(options, tmp_path / "out", num_shards=1)
    info = load_info(tmp_path / "out")
    said = "1 before_after, 1 frozen_frame, 1 given, 1 negative_clip, 1 remove_person"
    train = {f"pairs_{kind}": 1 for kind in said.replace("1 ", "").split(", ")}
    assert info.splits["train"].items() >= {"clips": 7, "pairs": 5, **train}.items()
    said = said.replace("1 before", "2 before")
    assert conjugate_kinds(info) == said
    assert f"  conjugates: {said}" in summary(tmp_path / "out").splitlines()
    records = tf.data.TFRecordDataset(str(tmp_path / "out" / "train-00000-of-00001.tfrecord"))
    kinds = [codec.decode(record).conjugate_kind for record in records.as_numpy_iterator()]
    assert kinds.count("") == 2 and kinds[0] == "given"


def test_photographs_and_sources_of_their_own_kinds(table, tmp_path):
    stills = open_source("csv", SourceOptions(input=table, conjugate="auto", stills=1))
    assert stills.conjugate == "remove_person"
    plain = tmp_path / "plain.csv"
    plain.write_text("video,label\nfrozen.mkv,x\n")
    options = SourceOptions(input=str(plain), conjugate="auto", stills=1)
    assert open_source("csv", options).conjugate == "none"
    with pytest.raises(UsageError, match=r"--conjugate among given, .*, auto, none"):
        open_source("csv", SourceOptions(input=table, conjugate="best"))
