"""What `show` says of a data set."""

from __future__ import annotations

import numpy as np
import pytest

from tfrecords import ClipPair, show, write_dataset
from tfrecords.errors import UsageError, UserError


@pytest.fixture
def directory(tmp_path):
    clip = np.zeros((3, 8, 10, 3), np.uint8)
    mask = np.zeros((3, 8, 10), bool)
    mask[:, :4] = True
    train = [
        ClipPair("a", clip, clip, ("jump",)),
        ClipPair("b", clip, None, ("run",), mask=mask),
        ClipPair("c", clip, None, ("run",)),
        ClipPair("d", clip, None, ()),
    ]
    splits = {"train": train, "test": train[:1], "empty": []}
    write_dataset(tmp_path, splits, labels=["jump", "run"], num_shards=2)
    (tmp_path / "skipped.csv").write_text("file,reason\nx.mp4,the file is empty\n")
    return tmp_path


def test_counts_classes_and_a_record(directory):
    text = show.describe(str(directory))
    lines = [line.split() for line in text.splitlines()]
    assert ["train", "4", "1", "0", "2"] in lines
    assert ["empty", "0", "0", "0", "2"] in lines
    assert ["0", "jump", "1", "1"] in lines
    assert ["1", "run", "2", "0"] in lines
    assert ["(no", "action)", "1", "0"] in lines
    assert ["x.mp4", "the", "file", "is", "empty"] in lines
    assert ["example/id", "a"] in lines
    assert "10 x 8, 25 frames/s, 2 classes, one label a clip" in text
    assert "clip (3, 8, 10, 3); conjugate (3, 8, 10, 3)" in text


def test_another_record(directory):
    # The first of two shards holds a and c, the second b and d.
    lines = [line.split() for line in show.describe(str(directory), "train", 1).splitlines()]
    assert ["example/id", "c"] in lines and ["example/id", "a"] not in lines
    with pytest.raises(UsageError, match="--record among those"):
        show.describe(str(directory), "train", 2)
    with pytest.raises(UsageError, match="received 'val'"):
        show.describe(str(directory), "val")


def test_mask_is_measured(tmp_path):
    clip, mask = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), bool)
    mask[:, :1] = True
    write_dataset(tmp_path, {"train": [ClipPair("a", clip, None, ("x",), mask=mask)]}, ["x"])
    assert "mask (2, 4, 4), 25.0% actor" in show.describe(str(tmp_path))


def test_no_data_set_and_a_corrupt_one(directory, tmp_path_factory):
    with pytest.raises(UsageError, match="data set directory"):
        show.describe(str(tmp_path_factory.mktemp("none")))
    shard = directory / "train-00001-of-00002.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"train-00001-of-00002\.tfrecord is corrupt"):
        show.describe(str(directory))
