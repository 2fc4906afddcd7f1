"""Damaged shards, records and pictures are named by file, record and feature."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tests.helpers.clips import (
    LABELS,
    SMALL,
    pair_of,
    rows,
)
from tfrecords import read_dataset, write_dataset
from tfrecords.reading.clips import count_labels
from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.preprocess import refuse_large
from tfrecords.records.names import LABEL_INDEX
from tfrecords.records.writer import write_shard
from tfrecords.utils.errors import UserError


def flip_a_byte(data: bytes) -> bytes:
    return data[:-50] + bytes([data[-50] ^ 255]) + data[-49:]


def cut_the_end(data: bytes) -> bytes:
    return data[:-20]


def empty(data: bytes) -> bytes:
    return b""


DAMAGED = r"Record 2 of .*train-00001-of-00002\.tfrecord is corrupt: the file is damaged"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, DAMAGED),
        (cut_the_end, DAMAGED),
        (empty, "Expected 6 records in split 'train' .* received 3"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_damaged_shard_is_named(tmp_path, damage, message, training):
    write_dataset(tmp_path, {"train": map(pair_of, range(6))}, LABELS, num_shards=2)
    path = tmp_path / "train-00001-of-00002.tfrecord"
    path.write_bytes(damage(path.read_bytes()))
    dataset = read_dataset(tmp_path, "train", **SMALL, training=training)
    with pytest.raises(UserError, match=message) as caught, translate_errors(tmp_path):
        rows(dataset)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 1


def test_a_broken_image_is_named(tmp_path):
    write_dataset(tmp_path, {"train": [pair_of(0)]}, LABELS, num_shards=1)
    path = tmp_path / "train-00000-of-00001.tfrecord"
    (record,) = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record.replace(b"\x89PNG", b"\x00\x00\x00\x00"))
    message = (
        r"Record 0 of .*train-00000.* is corrupt: image/encoded, entry 0: expected a JPEG or PNG"
    )
    with pytest.raises(UserError, match=message), translate_errors(tmp_path):
        rows(read_dataset(tmp_path, "train", **SMALL))


def relabelled(directory, number: int) -> str:
    """One clip in `train`, whose label id is this number; the class by name is right."""
    write_dataset(directory, {"train": [pair_of(0)]}, LABELS, num_shards=1)
    path = directory / "train-00000-of-00001.tfrecord"
    (record,) = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    example = tf.train.SequenceExample.FromString(record)
    example.context.feature[LABEL_INDEX].int64_list.value[0] = number
    write_shard(path, [example.SerializeToString()])
    return str(directory)


@pytest.mark.parametrize("number", [-1, 2])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_label_out_of_range_is_named(tmp_path, number, multi_label):
    directory = relabelled(tmp_path, number)
    info = tmp_path / "dataset.json"
    info.write_text(
        info.read_text().replace('multi_label": false', f'multi_label": {multi_label}'.lower())
    )
    message = f"clip/label/index: expected label ids of 0 to 1, received {number}"
    dataset = read_dataset(directory, "train", **SMALL)
    with (
        pytest.raises(UserError, match=rf"Record 0 of .* is corrupt: {message}"),
        translate_errors(directory),
    ):
        rows(dataset)
    with pytest.raises(UserError, match=message):
        count_labels(directory, "train")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)expected label ids .*clip0"):
        rows(dataset)


def test_a_picture_that_says_it_is_large_is_not_decoded():
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (20_000).to_bytes(4, "big") * 2
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)at most.*67108864"):
        refuse_large(tf.constant([b"", b"\xff\xd8\xff", header]))
    small = tf.constant([header.replace((20_000).to_bytes(4, "big"), (8000).to_bytes(4, "big"))])
    assert refuse_large(small) == small
    assert refuse_large(tf.constant([], tf.string)).shape == 0


def test_an_error_of_something_else_passes_unchanged(twelve):
    error = tf.errors.InvalidArgumentError(None, None, "shapes differ")
    with pytest.raises(type(error), match="shapes differ"), translate_errors(twelve):
        raise error
