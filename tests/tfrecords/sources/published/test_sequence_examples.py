"""Records of other programs: imported, or named with the command that does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.build import build_dataset
from tfrecords.records import codec
from tfrecords.records.codec import bytes_feature, floats_feature, ints_feature
from tfrecords.records.dataset import load_info, load_skipped
from tfrecords.sources import SourceOptions
from tfrecords.sources.published.sequence_examples import split_of
from tfrecords.utils.errors import UsageError, UserError


def clip_of(seed, count=4):
    """Gray frames of one shade each, which JPEG keeps."""
    shades = np.random.default_rng(seed).integers(0, 256, (count, 1, 1, 1))
    return np.broadcast_to(shades, (count, 16, 24, 3)).astype(np.uint8)


def record(clip, suffix=".jpg", times=None, **context):
    lists = {"image/encoded": [cv2.imencode(suffix, frame)[1].tobytes() for frame in clip]}
    lists = {name: [bytes_feature(value) for value in values] for name, values in lists.items()}
    if times is not None:
        lists["image/timestamp"] = [ints_feature(time) for time in times]
    return tf.train.SequenceExample(
        context=tf.train.Features(
            feature={name.replace("__", "/"): value for name, value in context.items()}
        ),
        feature_lists=tf.train.FeatureLists(
            feature_list={name: tf.train.FeatureList(feature=f) for name, f in lists.items()}
        ),
    ).SerializeToString()


def write(path, *records):
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for serialized in records:
            writer.write(serialized)
    return path


def build(pattern, output, **options):
    build_dataset(SourceOptions(input=str(pattern), **options), output, source="tfrecords")
    info = load_info(output)
    shards = sorted(output.glob("*.tfrecord"))
    records = tf.data.TFRecordDataset([str(shard) for shard in shards]).as_numpy_iterator()
    return info, {pair.id: pair for pair in map(codec.decode, records)}


def test_records_of_three_programs_become_a_data_set(tmp_path, caplog):
    clips = [clip_of(seed) for seed in range(4)]
    write(
        tmp_path / "their" / "hmdb-train-00000-of-00001",
        record(  # MediaSequence
            clips[0], times=[5_000_000 + 100_000 * n for n in range(4)],
            example__id=bytes_feature("first"), clip__label__string=bytes_feature("run"),
            clip__label__index=ints_feature(1), clip__start__timestamp=ints_feature(5_000_000),
            clip__media_id=bytes_feature("a.mp4"),
        ),
        record(
            clips[1], clip__label__text=bytes_feature("jump"), clip__data_path=bytes_feature("b")
        ),
    )  # fmt: skip
    write(
        tmp_path / "their" / "hmdb-val-00000-of-00001",
        record(
            clips[2], ".png", image__frame_rate=floats_feature(12.5),
            clip__label__string=bytes_feature("run"),
        ),
        record(clips[3], clip__label__string=bytes_feature()),
    )  # fmt: skip
    info, pairs = build(tmp_path / "their", tmp_path / "data")
    assert info.labels == ["jump", "run"]
    assert {name: counts["clips"] for name, counts in info.splits.items()} == {
        "train": 2,
        "validation": 2,
    }
    assert [*pairs] == ["first", "b", "hmdb-val-00000-of-00001:0", "hmdb-val-00000-of-00001:1"]
    for clip, pair in zip(clips, pairs.values()):
        np.testing.assert_allclose(pair.clip.astype(int), clip, atol=2)
        assert pair.conjugate is None
    assert [pair.fps for pair in pairs.values()] == [10.0, 25.0, 12.5, 25.0]
    assert [pair.labels for pair in pairs.values()] == [("run",), ("jump",), ("run",), ()]
    assert (pairs["first"].media_id, pairs["first"].start) == ("a.mp4", 5.0)
    assert "2 records tell no frame rate: taken as 25 frames a second" in caplog.text


def test_ids_of_labels_are_lines_of_a_file_or_stay_numbers(tmp_path):
    records = [record(clip_of(n), clip__label__index=ints_feature(n)) for n in (2, 0)]
    file = write(tmp_path / "their" / "x.tfrecord", *records)
    info, _ = build(file, tmp_path / "numbers")
    assert info.labels == ["0", "2"]
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    info, pairs = build(file, tmp_path / "names", labels=str(tmp_path / "labels.txt"))
    assert info.labels == ["a", "b", "c"]
    assert [pair.labels for pair in pairs.values()] == [("c",), ("a",)]
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match=r"Record 0 of .*x\.tfrecord .*clip/label/index: exp.* 2"):
        build(file, tmp_path / "few", labels=str(tmp_path / "labels.txt"))


def test_options_act_as_on_any_source(tmp_path):
    clip = clip_of(0, count=8)
    file = write(
        tmp_path / "x.tfrecord",
        record(
            clip, image__frame_rate=floats_feature(20.0), clip__label__string=bytes_feature("a")
        ),
    )
    _, pairs = build(
        file, tmp_path / "data", fps=10.0, short_side=8, conjugate="frozen_frame", flow="tvl1"
    )
    (pair,) = pairs.values()
    assert (pair.fps, pair.clip.shape) == (10.0, (4, 8, 12, 3))
    np.testing.assert_allclose(pair.clip[:, 0, 0, 0].astype(int), clip[::2, 0, 0, 0], atol=2)
    np.testing.assert_array_equal(pair.conjugate, np.repeat(pair.clip[:1], 4, axis=0))
    assert pair.flow.shape == (4, 8, 12, 2)


@pytest.mark.parametrize(
    "serialized, message",
    [
        (record(clip_of(0)), r"expected labels \(clip/label/string, .* received a SequenceEx.* of"),
        (
            tf.train.Example(
                features=tf.train.Features(feature={"image/encoded": bytes_feature("x")})
            ).SerializeToString(),
            r"image/encoded: expected frames, received .* such as a tf\.train\.Example",
        ),
        (b"\xff\xff", "expected a SequenceExample"),
        (
            record(clip_of(0), clip__label__string=bytes_feature("a", "b")),
            r"expected one label \(several need --multi_label\), received 2",
        ),
    ],
)
def test_what_lacks_frames_or_labels_is_named(tmp_path, serialized, message):
    good = record(clip_of(0), clip__label__string=bytes_feature("a"))
    file = write(tmp_path / "their" / "x.tfrecord", good, serialized)
    with pytest.raises(UserError, match=rf"Record 1 of .*x\.tfrecord is corrupt: .*{message}"):
        build(file, tmp_path / "data")


def test_a_broken_frame_costs_its_record(tmp_path):
    broken = record(clip_of(0), clip__label__string=bytes_feature("a"))
    broken = broken.replace(b"\xff\xd8\xff", b"\xff\xd8\x00", 1)
    good = record(clip_of(1), clip__label__string=bytes_feature("a"))
    file = write(tmp_path / "x.tfrecord", broken, good)
    _, pairs = build(file, tmp_path / "data")
    assert [*pairs] == ["x.tfrecord:1"]
    ((name, reason),) = load_skipped(tmp_path / "data")
    assert name.endswith("x.tfrecord")
    assert reason.startswith("record 0: ") and "expected a JPEG or PNG" in reason


@pytest.mark.parametrize("pattern", ["", "nothing-*"])
def test_no_files_are_said(tmp_path, pattern):
    with pytest.raises(UsageError, match="TFRecord files"):
        build(tmp_path / pattern if pattern else "", tmp_path / "data")


def test_reading_them_at_once_names_the_command(tmp_path):
    good = record(clip_of(0), clip__label__string=bytes_feature("a"))
    file = write(tmp_path / "their" / "train.tfrecord", good)
    for given in (file.parent, file):
        with pytest.raises(UsageError, match=r"holds SequenceExamples .* --source=tfrecords --inp"):
            read_dataset(given, "train", 4, (16, 24), 1)
    write(file, record([]))
    with pytest.raises(UsageError, match="without image/encoded and clip/label"):
        load_info(file.parent)
    write_dataset(tmp_path / "ours", {"train": [ClipPair("a", clip_of(0), None, ("a",))]}, ["a"])
    (tmp_path / "ours" / "dataset.json").unlink()
    (tmp_path / "ours" / "build.json").write_text("{}")
    with pytest.raises(UsageError, match="an unfinished build is continued"):
        load_info(tmp_path / "ours")


@pytest.mark.parametrize(
    "name, split",
    [
        ("kinetics-val-00000-of-00010", "validation"),
        ("hmdb_test.tfrecord", "test"),
        ("Training.tfrecord", "train"),
        ("clips.tfrecord", "train"),
        ("latest.tfrecord", "train"),
    ],
)
def test_the_split_is_a_word_of_the_name(name, split):
    assert split_of(f"/data/test/{name}") == split
