"""dataset.json and labels.txt: read back as written, checked against each other."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tfrecords import ClipPair, write_dataset
from tfrecords.records.dataset import (
    DatasetInfo,
    class_warnings,
    digest,
    load_info,
    load_labels,
    load_manifest,
    load_skipped,
    shard_name,
    shard_paths,
)
from tfrecords.records.writer import finish_dataset
from tfrecords.utils.errors import UsageError, UserError

INFO = DatasetInfo(
    source="csv",
    fps=25.0,
    frame_size=None,
    labels=["jump", "walk ä"],
    multi_label=True,
    splits={
        "train": {"shards": 2, "clips": 3, "pairs": 2, "skipped": 1},
        "test_a": {"shards": 1, "clips": 0, "pairs": 0, "skipped": 0},
    },
)


@pytest.fixture
def directory(tmp_path):
    finish_dataset(tmp_path, INFO, [("b.mp4", "no frames, at all")])
    for index in range(2):
        (tmp_path / shard_name("train", index, 2)).touch()
    return tmp_path


def test_round_trip(directory):
    assert load_info(directory) == INFO
    assert (directory / "labels.txt").read_text(encoding="utf-8") == "jump\nwalk ä\n"
    assert (directory / "skipped.csv").read_bytes() == b'file,reason\nb.mp4,"no frames, at all"\n'
    content = json.loads((directory / "dataset.json").read_text(encoding="utf-8"))
    assert content["schema_version"] == 1 and content["modality"] == "rgb"
    assert sorted(path.name for path in directory.iterdir() if path.suffix == ".tmp") == []


def test_shards_and_splits(directory):
    names = [path.rsplit("/", 1)[1] for path in shard_paths(directory, INFO, "train")]
    assert names == ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
    with pytest.raises(UsageError, match=r"splits \(train, test_a\), received 'test'"):
        INFO.require_split("test")
    with pytest.raises(UsageError, match="'test_a', received an empty split"):
        INFO.require_split("test_a")
    (directory / names[1]).unlink()
    with pytest.raises(UserError, match=r"Expected the shard .*train-00001-of-00002"):
        shard_paths(directory, INFO, "train")


def test_a_digest_knows_the_records_not_the_place(tmp_path):
    """Two classes change places: all sizes and counts are what they were."""
    clip = np.zeros((1, 8, 8, 3), np.uint8)
    digests = []
    for place, labels in (("a", "ab"), ("b", "ba"), ("c", "ab")):
        pairs = [ClipPair(str(n), clip, clip, (label,)) for n, label in enumerate(labels)]
        write_dataset(tmp_path / place, {"train": pairs}, labels=["a", "b"])
        digests.append(digest(tmp_path / place))
    assert digests[0] == digests[2] != digests[1]


def test_no_data_set_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match=r"with a dataset\.json, received .*nowhere"):
        load_info(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"dataset\.json: expected JSON"),
        ("[]", r"dataset\.json: expected an object"),
        ("{}", "expected the field source, received none"),
        (INFO.to_json().replace('"clips": 3', '"clips": "3"'), "splits.train.clips to be a whole"),
        (INFO.to_json().replace('"clips": 3', '"clips": -3'), "splits.train.clips .*received -3"),
        (INFO.to_json().replace('"clips": 3', '"clip": 3'), "field splits.train.clips, rec"),
        (INFO.to_json().replace('"clips": 3', '"clips": 1'), "splits.train to be counts of"),
        (INFO.to_json().replace('"shards": 2', '"shards": 1000000000'), "at most 99999, received"),
        (INFO.to_json().replace('"shards": 2', '"shards": 0'), "splits.train to be counts of"),
        (
            INFO.to_json().replace('"train"', '"../train"'),
            r"splits named .*, received '../train'",
        ),
        (INFO.to_json().replace("25.0", '"x"'), "expected fps to be a number, received 'x'"),
        (INFO.to_json().replace("25.0", "0"), "expected fps to be .* received 0"),
        (INFO.to_json().replace("25.0", "NaN"), "expected finite numbers, received NaN"),
        (INFO.to_json().replace('frame_size": null', 'frame_size": 24'), "frame_size to be a list"),
        (INFO.to_json().replace('frame_size": null', 'frame_size": [4]'), "a list of length 2"),
        (INFO.to_json().replace('"rgb"', '"RGB"'), "modality to be one of 'rgb', 'rgb.flow'"),
        (INFO.to_json().replace('"source": "csv"', '"source": 1'), "source to be a text"),
        (INFO.to_json().replace('_label": true', '_label": 1'), "multi_label to be true or false"),
        ('{"source": "x", "fps": 1, "frame_size": null, "labels": null}', "labels to be a list"),
        (INFO.to_json().replace('schema_version": 1', 'schema_version": 9'), "received version 9"),
        (INFO.to_json().replace('"jump"', '"run"'), "Expected the 2 classes of .*labels.txt"),
    ],
)
def test_corrupt_files_are_named(directory, text, message):
    (directory / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        load_info(directory)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "expected the field shards, received none"),
        ('{"shards": {"a": {"records": 1, "bytes": 2}}}', "field shards.a.sha256, received none"),
        ('{"shards": {"a": {"records": "1", "bytes": 2, "sha256": ""}}}', "records to be a whole"),
        ('{"shards": [', "expected JSON"),
    ],
)
def test_a_damaged_manifest_is_named(directory, content, message):
    assert load_manifest(directory) is None
    (directory / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=rf"manifest\.json: .*{message}"):
        load_manifest(directory)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "row 1: expected the columns file, reason, received a, b"),
        (b"", "row 1: expected the columns file, reason, received none"),
        (b"file,reason\nx\n", "row 2: expected the columns file, reason, received x"),
        (b"file,reason\nx,y,z\n", "row 2: .* received x, y, z"),
        (b"file,reason\n\xff,y\n", "expected a table of files and reasons"),
        (b"file,reason\nx," + b"y" * 200_000, "expected a table of files and reasons"),
    ],
)
def test_a_damaged_list_of_skipped_rows_is_named(directory, content, message):
    assert load_skipped(directory) == [("b.mp4", "no frames, at all")]
    (directory / "skipped.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"skipped\.csv.*{message}"):
        load_skipped(directory)
    (directory / "skipped.csv").unlink()
    assert load_skipped(directory) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\nb\na\n", "'a' twice"), ("a\n\nb\n", "an empty name"), ("", "an empty name")],
)
def test_lists_of_classes_are_checked(tmp_path, text, message):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_labels(path)
    with pytest.raises(UsageError, match=r"absent\.txt"):
        load_labels(tmp_path / "absent.txt")


def test_lists_of_classes_from_other_systems(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffb\r\na\r\n".encode())
    assert load_labels(path) == ["b", "a"]


@pytest.mark.parametrize(
    ("labels", "counts", "expected"),
    [
        ("ab", {"train": {"a": 1, "b": 1}, "validation": {}, "test_new": {"a": 2}}, []),
        ("ab", {"train": {"a": 1, "b": 1}, "test": {}}, ["split 'test' has a label"]),
        ("abc", {"train": {"a": 1}}, ["the split 'train' has the label 'b', 'c'"]),
        ("ab", {"train": {}, "test": {"a": 1}}, ["no clip of the split 'train' has a label"]),
        ("a", {"train": {"a": 1}}, ["'a' is the only class"]),
        ("ab", {"test": {"a": 1, "b": 1}}, ["no split is named 'train' but 'test'"]),
        (["Kiss", "kiss "], {"train": {"Kiss": 1, "kiss ": 1}}, ["'Kiss', 'kiss ' differ"]),
        (
            ["é", "e\u0301"],
            {"train": {"é": 1, "e\u0301": 1}},
            ["differ by case, blanks or Unicode"],
        ),
    ],
)
def test_suspicious_classes(labels, counts, expected):
    warnings = class_warnings(list(labels), counts)
    assert len(warnings) == len(expected)
    for warning, text in zip(warnings, expected):
        assert warning.startswith("Warning: ") and text in warning


@pytest.mark.parametrize(
    ("split", "meant"),
    [
        ("val", "validation"),
        ("valid", "validation"),
        ("dev", "validation"),
        ("training", "train"),
        ("trian", "train"),
        ("tset", "test"),
        ("other", None),
        ("test_anti", None),
    ],
)
def test_splits_that_look_like_another(split, meant):
    counts = {"train": {"a": 1, "b": 1}, split: {"a": 1, "b": 1}}
    warnings = class_warnings(["a", "b"], counts)
    assert [f"{split!r} looks like {meant!r}" in warning for warning in warnings] == (
        [True] if meant else []
    )


@pytest.mark.parametrize("label", ["a\nb", "a\rb", " a", "a\u2028b"])
def test_labels_that_no_list_of_lines_can_hold(tmp_path, label):
    with pytest.raises(UsageError, match="a class on one line"):
        write_dataset(tmp_path / "data", {}, labels=[label, "b"])


def test_warnings_are_kept_with_the_data(tmp_path):
    pair = ClipPair("x", np.zeros((2, 8, 8, 3), np.uint8), None, ("a",))
    write_dataset(tmp_path / "data", {"train": [pair]}, labels=["a", "b"], num_shards=1)
    (warning,) = load_info(tmp_path / "data").warnings
    assert warning == "Warning: no clip of the split 'train' has the label 'b'."
    other = dataclasses.replace(pair, id="y", labels=("b",))
    write_dataset(tmp_path / "data", {"train": [pair, other]}, labels=["a", "b"], num_shards=1)
    assert "warnings" not in json.loads((tmp_path / "data" / "dataset.json").read_text())
