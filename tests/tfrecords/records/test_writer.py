"""Shards: atomic, in a place that only the input decides, the same bytes each time."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrecords import ClipPair, write_dataset
from tfrecords.records import codec
from tfrecords.records.dataset import load_info
from tfrecords.records.writer import write_shard
from tfrecords.utils.errors import UsageError, UserError


def make_pairs(count: int, conjugates: int = 100, fps: float = 25.0):
    for n in range(count):
        clip = np.full((2, 8, 8, 3), n, np.uint8)
        yield ClipPair(str(n), clip, clip if n < conjugates else None, ["ab"[n % 2]], fps)


def ids(path) -> list[str]:
    return [codec.decode(x).id for x in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]


def contents(directory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_data_set_of_iterables(tmp_path):
    splits = {"train": make_pairs(5, conjugates=3), "test": make_pairs(1)}
    info = write_dataset(tmp_path, splits, labels=["b", "a"], num_shards=2)
    assert info == load_info(tmp_path)
    assert info.splits == {
        "train": {"shards": 2, "clips": 5, "pairs": 3, "negatives": 0, "skipped": 0},
        "test": {"shards": 2, "clips": 1, "pairs": 1, "negatives": 0, "skipped": 0},
    }
    assert (info.labels, info.fps, info.frame_size, info.multi_label) == (
        ["b", "a"],
        25.0,
        [8, 8],
        False,
    )
    assert ids(tmp_path / "train-00000-of-00002.tfrecord") == ["0", "2", "4"]
    assert ids(tmp_path / "train-00001-of-00002.tfrecord") == ["1", "3"]
    assert sorted(contents(tmp_path)) == [
        "dataset.json",
        "labels.txt",
        "manifest.json",
        "skipped.csv",
        *(f"{split}-0000{n}-of-00002.tfrecord" for split in ("test", "train") for n in (0, 1)),
    ]


def test_what_differs_between_records_is_null(tmp_path):
    pairs = [*make_pairs(1), *make_pairs(1, fps=30.0)]
    assert write_dataset(tmp_path, {"train": pairs}, labels=["a"]).fps is None


def test_same_bytes_on_every_run(tmp_path):
    for name in ("one", "two"):
        write_dataset(tmp_path / name, {"train": make_pairs(5)}, labels=["a", "b"])
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_shard_is_whole_or_absent(tmp_path):
    path = tmp_path / "train-00000-of-00001.tfrecord"

    def broken():
        yield b"first"
        assert not path.exists()  # nothing under the final name while it is being written
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(path, broken())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / (path.name + ".tmp")).write_bytes(b"left over by a killed process")
    assert write_shard(path, iter([b"first", b"second"]))["records"] == 2
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == [b"first", b"second"]
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_rewrite_is_no_data_set(tmp_path):
    write_dataset(tmp_path, {"train": make_pairs(2)}, labels=["a", "b"])
    with pytest.raises(UsageError, match="received 'b'"):
        write_dataset(tmp_path, {"train": make_pairs(2)}, labels=["a"])
    with pytest.raises(UserError, match=r"dataset\.json"):
        load_info(tmp_path)


@pytest.mark.parametrize(
    ("split", "labels", "message"),
    [
        ("Train", ["a"], r"\[a-z0-9_\]\+, received 'Train'"),
        ("train", ["a", "a"], "'a' twice"),
        ("train", [], "empty name"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_written(tmp_path, split, labels, message):
    with pytest.raises(UsageError, match=message):
        write_dataset(tmp_path / "new", {split: make_pairs(1)}, labels=labels)
    assert not (tmp_path / "new").exists()


def test_several_labels_need_multi_label(tmp_path):
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    pairs = [ClipPair("one", clip, None, ("a",)), ClipPair("two", clip, None, ("a", "b"))]
    with pytest.raises(UsageError, match=r"one label for the clip 'two' .*received a, b\."):
        write_dataset(tmp_path, {"train": pairs}, labels=["a", "b"])
    assert write_dataset(tmp_path, {"train": pairs}, labels=["a", "b"], multi_label=True)


def test_a_rewrite_replaces_all_splits_and_shards(tmp_path):
    labels, path = ["a", "b"], tmp_path / "data"
    write_dataset(path, {"train": make_pairs(6), "test": make_pairs(2)}, labels, num_shards=3)
    (path / "build.json").write_text("{}")  # a build of that plan would take it for its own
    (path / "notes.txt").write_text("mine")

    def doubled():  # reads what it replaces
        for n in range(3):
            name = f"train-{n:05d}-of-00003.tfrecord"
            for record in tf.data.TFRecordDataset(str(path / name)).as_numpy_iterator():
                yield codec.decode(record)

    write_dataset(path, {"train": doubled()}, labels, num_shards=2)
    assert sorted(contents(path)) == [
        "dataset.json",
        "labels.txt",
        "manifest.json",
        "notes.txt",
        "skipped.csv",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
    ]
    assert ids(path / "train-00000-of-00002.tfrecord") == ["0", "1", "2"]


def test_clips_without_a_label_are_counted(tmp_path):
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    pairs = [ClipPair("a", clip, None, ()), ClipPair("b", clip, None, ("walk",))]
    info = write_dataset(tmp_path, {"train": pairs}, labels=["walk"], num_shards=1)
    assert info.splits["train"]["negatives"] == 1
