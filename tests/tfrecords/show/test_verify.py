"""Damage of every kind is found and named; a good data set passes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfrecords import ClipPair, write_dataset
from tfrecords.records.dataset import MANIFEST_FILE
from tfrecords.records.names import (
    CONJUGATE,
    EXAMPLE_ID,
    FLOW_FRAMES,
    FRAMES,
    LABEL_INDEX,
    TIMESTAMPS,
)
from tfrecords.show.verify import verify
from tfrecords.utils.errors import UserError

PROJECT = Path(__file__).resolve().parents[3]
LAST = "train-00001-of-00002.tfrecord"


@pytest.fixture
def directory(tmp_path, rng) -> Path:
    """Shard 0 holds records a, c, e; shard 1, `LAST`, b and d."""
    pairs = []
    for n, name in enumerate("abcde"):
        clip = rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
        mask = np.zeros((4, 8, 8), bool)
        mask[:, :n] = True
        labels = () if name == "e" else ("run",)
        pairs.append(ClipPair(name, clip, clip[:2] if n % 2 else None, labels, mask=mask))
    write_dataset(tmp_path, {"train": pairs, "empty": []}, ["jump", "run"], num_shards=2)
    return tmp_path


def rewrite(path: Path, change=None, keep: int = 2, note: bool = True) -> None:
    """Writes the shard's records again; `change` alters the last; `note`: in the manifest too."""
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())[:keep]
    if change is not None:
        example = tf.train.SequenceExample.FromString(records[-1])
        change(example)
        records[-1] = example.SerializeToString(deterministic=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    if note:
        place = path.with_name(MANIFEST_FILE)
        manifest = json.loads(place.read_text())
        manifest["shards"][path.name] = {
            "records": len(records),
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        place.write_text(json.dumps(manifest))


def test_a_good_data_set(directory):
    # 5 clips of 4 frames with masks, 2 conjugates of 2; the split without clips is not read.
    expected = f"{directory}: 5 records in 2 shards, 44 images: checksums agree."
    assert verify(directory) == expected
    (directory / MANIFEST_FILE).unlink()
    assert verify(directory).endswith("44 images: no manifest.json, no checksums.")


def test_damage_on_disk(directory):
    path = directory / LAST
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    message = rf"Record 1 of .*{LAST} is corrupt: the file is damaged\."
    with pytest.raises(UserError, match=message) as caught:
        verify(directory)
    assert caught.value.exit_code == 1


def test_another_file_under_the_same_name(directory):
    rewrite(
        directory / LAST, lambda e: e.context.feature["more"].int64_list.value.append(1), 2, False
    )
    with pytest.raises(UserError, match=rf"{LAST}: the checksum is not that of manifest.json"):
        verify(directory)


def test_a_record_less(directory):
    rewrite(directory / LAST, keep=1, note=False)
    with pytest.raises(UserError, match=rf"{LAST}: expected 2 records, received 1"):
        verify(directory)
    rewrite(directory / LAST, keep=1)
    with pytest.raises(UserError, match=r"Expected 5 clips in split 'train' .* received 4"):
        verify(directory)


def first(example, name):
    return example.feature_lists.feature_list[name].feature[0].bytes_list


def cut(example):
    """The first frame ends early."""
    image = cv2_jpeg()
    first(example, FRAMES).value[0] = image[: len(image) * 2 // 3]


def cv2_jpeg() -> bytes:
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "image/encoded, entry 0: it cannot be decoded"),
        (
            lambda e: e.context.feature[LABEL_INDEX].int64_list.value.__setitem__(0, 7),
            "clip/label/index: expected label ids of 0 to 1, received 7",
        ),
        (
            lambda e: e.feature_lists.feature_list[TIMESTAMPS].feature.pop(),
            "image/timestamp: 4 frames have 3 timestamps",
        ),
    ],
)
def test_records_that_break_the_rules(directory, change, message):
    """What is checked of a record is tested with `check_record`."""
    rewrite(directory / LAST, change)
    with pytest.raises(UserError, match=rf"Record 1 of .*{LAST} is corrupt: {message}") as caught:
        verify(directory)
    assert "\n" not in str(caught.value)


def test_an_id_twice(directory):
    def rename(example):
        example.context.feature[EXAMPLE_ID].bytes_list.value[0] = b"a"

    rewrite(directory / LAST, rename)
    with pytest.raises(UserError, match=rf"{LAST}: the id 'a' stands twice"):
        verify(directory)


def test_flow_in_every_record(tmp_path, rng):
    clips = rng.integers(0, 256, (3, 4, 8, 8, 3), np.uint8)
    pairs = [
        ClipPair(
            name, clip, clip[:2], ("run",), flow=clip[..., :2], conjugate_flow=clip[:2, ..., 1:]
        )
        for name, clip in zip("abc", clips)
    ]
    write_dataset(tmp_path, {"train": pairs}, ["run"], num_shards=1)
    assert "3 records in 1 shards, 36 images" in verify(tmp_path)

    def drop(example):
        for name in (FLOW_FRAMES, CONJUGATE + FLOW_FRAMES):
            example.feature_lists.feature_list.pop(name)

    rewrite(tmp_path / "train-00000-of-00001.tfrecord", drop, keep=3)
    with pytest.raises(UserError, match=r"Record 2 .*no optical flow, which dataset.json names\."):
        verify(tmp_path)


@pytest.mark.slow
def test_the_command(directory):
    command = [sys.executable, "-m", "tfrecords.show", str(directory), "--verify"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    rewrite(directory / LAST, keep=1)
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: Expected 5 clips")
