"""Whatever a reader would refuse is found in a record, and named with its feature."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfrecords import ClipPair
from tfrecords.records import codec, names
from tfrecords.records.checking import check_record, naming, read_shard
from tfrecords.records.dataset import DatasetInfo
from tfrecords.records.example import image_size
from tfrecords.records.feature_codec import FeatureInfo, encode_features
from tfrecords.utils.errors import UserError

INFO = DatasetInfo("python", None, None, ["jump", "run"])
CONJUGATE_FRAMES = names.CONJUGATE + names.FRAMES


def bomb(height: int, width: int) -> bytes:
    """A PNG that says it is large; its pixels are not there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def record() -> bytes:
    """Four frames of 8 x 10 with a mask, a conjugate of two, flow of both; label `run`."""
    clip = np.random.default_rng(0).integers(0, 256, (4, 8, 10, 3), np.uint8)
    mask = np.zeros((4, 8, 10), bool)
    flows = {"flow": clip[..., :2], "conjugate_flow": clip[:2, ..., :2]}
    pair = ClipPair("a", clip, clip[:2], ("run",), mask=mask, start=1.0, **flows)
    return codec.encode(pair, {"jump": 0, "run": 1}, "PNG")


def changed(record: bytes, change) -> bytes:
    example = tf.train.SequenceExample.FromString(record)
    change(example.context.feature, example.feature_lists.feature_list)
    return example.SerializeToString()


def value(name: str, *values):
    """Replaces the values of a feature of the context."""

    def change(context, lists):
        context[name].Clear()
        kind = {int: "int64_list", float: "float_list", bytes: "bytes_list"}[type(values[0])]
        getattr(context[name], kind).value.extend(values)

    return change


def picture(name: str, encoded: bytes, entry: int = 1):
    def change(context, lists):
        lists[name].feature[entry].bytes_list.value[0] = encoded

    return change


def time(entry: int, microseconds: int):
    def change(context, lists):
        lists[names.TIMESTAMPS].feature[entry].int64_list.value[0] = microseconds

    return change


def twice(name: str):
    """Puts a second value into the first entry of a list."""

    def change(context, lists):
        values = lists[name].feature[0].WhichOneof("kind")
        values = getattr(lists[name].feature[0], values).value
        values.append(values[0])

    return change


def png(height: int, width: int, channels: int = 3) -> bytes:
    return cv2.imencode(".png", np.zeros((height, width, channels), np.uint8))[1].tobytes()


GOOD = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 256, (8, 10, 3), np.uint8))[1]
CHANGES = [
    *((lambda c, f, n=n: c.pop(n), f"{n}: expected .* received no such feature") for n in (
        names.EXAMPLE_ID, names.MEDIA_ID, names.LABEL_INDEX, names.LABEL_STRING, names.CLIP_START,
        names.CLIP_END, names.FRAME_RATE, names.HEIGHT, names.WIDTH, names.FORMAT,
        names.CONJUGATE + names.MEDIA_ID, names.CONJUGATE + names.CLIP_END,
    )),
    *((lambda c, f, n=n: f.pop(n), f"{n}: .*received none") for n in (
        names.FRAMES, names.TIMESTAMPS, CONJUGATE_FRAMES, names.CONJUGATE + names.FLOW_FRAMES,
    )),
    *((lambda c, f, n=n: f[n].feature.pop(), f"{n}: ") for n in (
        names.TIMESTAMPS, names.MASKS, names.FLOW_FRAMES,
        names.CONJUGATE + names.FLOW_FRAMES,
    )),
    *((twice(n), f"{n}, entry 0: expected one .*, received 2") for n in (
        names.FRAMES, names.TIMESTAMPS, names.MASKS, names.FLOW_FRAMES, CONJUGATE_FRAMES,
    )),
    *((value(n, b"x"), f"{n}: expected .* values, received bytes values") for n in (
        names.LABEL_INDEX, names.CLIP_START, names.FRAME_RATE, names.HEIGHT,
    )),
    (value(names.EXAMPLE_ID, b"\xff"), "example/id: expected text in UTF-8"),
    (value(names.EXAMPLE_ID, b"a", b"b"), "example/id: expected one text, received 2"),
    (value(names.HEIGHT, 8, 8), "image/height: expected one integer, received 2"),
    (value(names.HEIGHT, 0), "image/height, image/width: expected 1 to .* received 0 x 10"),
    (value(names.HEIGHT, 1 << 40), "expected 1 to 67,108,864 pixels, received 1099511627776 x 10"),
    (value(names.HEIGHT, 9), r"image/encoded, entry 0: expected a picture of 9 x 10 .* 8 x 10"),
    (value(names.FORMAT, b"GIF"), "image/format: expected JPEG or PNG, received 'GIF'"),
    *((value(names.FRAME_RATE, rate), "image/frame_rate: expected a number above 0") for rate in (
        0.0, -1.0, float("nan"), float("inf"),
    )),
    (value(names.LABEL_INDEX, -1), "clip/label/index: expected label ids of 0 to 1, received -1"),
    (value(names.LABEL_INDEX, 2), "clip/label/index: expected label ids of 0 to 1, received 2"),
    (value(names.LABEL_INDEX, 0), r"label/string: expected the labels of the ids \[0\] .*'run'"),
    (value(names.CLIP_START, -1), "clip/start/timestamp, clip/end/timestamp: .* received -1, "),
    (value(names.CLIP_END, 0), "expected rising microseconds of 0 or more, received 1000000, 0"),
    (value(names.CONJUGATE + names.CLIP_END, -5), "CONJUGATE/clip/start/timestamp, "),
    (time(2, 0), "image/timestamp, entry 2: expected microseconds above 1040000, received 0"),
    (time(2, 1_040_000), "image/timestamp, entry 2: .* received 1040000"),
    (time(0, -1), "image/timestamp, entry 0: expected microseconds above -1, received -1"),
    (time(3, 1 << 62), "image/timestamp, entry 3: "),
    (picture(names.FRAMES, bomb(20_000, 20_000)), "image/encoded, entry 1: .* 20000 x 20000"),
    (picture(names.FRAMES, bomb(8, 10)), "image/encoded, entry 1: it cannot be decoded"),
    (picture(names.FRAMES, GOOD[: len(GOOD) * 2 // 3].tobytes()), "entry 1: it cannot be decoded"),
    (picture(names.FRAMES, b"GIF89a" + bytes(20)), "entry 1: expected a JPEG or PNG, received"),
    (picture(names.FRAMES, b""), "entry 1: expected a JPEG or PNG, received"),
    (picture(CONJUGATE_FRAMES, png(8, 11)), f"{CONJUGATE_FRAMES}, entry 1: .* 8 x 11"),
    (picture(names.MASKS, png(7, 10)), f"{names.MASKS}, entry 1: .* received 7 x 10"),
    (picture(names.FLOW_FRAMES, png(8, 10, 1)), f"{names.FLOW_FRAMES}, entry 1: .* of 2 channels"),
    (value(names.DECOY, b"x"), "clip/decoy: expected integer values"),
]  # fmt: skip


def test_a_good_record(record):
    name, counts = check_record(record, INFO, "train")
    assert name == "a" and counts == {
        "clips": 1, "pairs": 1, "negatives": 0, "decoys": 0, "images": 4 + 4 + 4 + 2 + 2
    }  # fmt: skip
    jpeg = changed(record, picture(names.FRAMES, GOOD.tobytes()))
    assert check_record(jpeg, INFO, "train")[1]["images"] == 16


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_what_is_wrong_is_named_with_its_feature(record, change, message):
    with pytest.raises(UserError, match=message) as caught, naming("a.tfrecord", 3):
        check_record(changed(record, change), INFO, "train")
    text = str(caught.value)
    assert text.startswith("Record 3 of a.tfrecord is corrupt: ") and "\n" not in text
    assert "{{" not in text and len(text) < 400


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (DatasetInfo("x", 30.0, None, INFO.labels), "frame_rate: expected 30 as in dataset.json"),
        (DatasetInfo("x", None, [8, 12], INFO.labels), "expected 8 x 12 as in dataset.json"),
        (DatasetInfo("x", None, None, ["run", "jump"]), r"expected the labels of the ids \[1\]"),
    ],
)
def test_a_record_of_another_data_set(record, info, message):
    check_record(record, DatasetInfo("x", 25.0, [8, 10], INFO.labels), "train")
    with pytest.raises(UserError, match=message):
        check_record(record, info, "train")


@pytest.mark.parametrize("content", [b"\xff no record", b"\x0a\xff\xff\xff\xff\x7f"])
def test_bytes_that_are_no_record(content):
    with pytest.raises(UserError, match=r"expected a SequenceExample, received \d+ bytes"):
        check_record(content, INFO, "train")
    with pytest.raises(UserError, match=r"example/id: expected text values, received no"):
        check_record(b"", INFO, "train")


def test_boxes_are_checked():
    still = np.zeros((1, 8, 10, 3), np.uint8)
    pair = ClipPair("a", still, None, ("run",), boxes=np.array([[0.1, 0.2, 0.5, 0.6]]))
    record = codec.encode(pair, {"run": 1})
    check_record(record, INFO, "train")

    def wider(context, lists):
        lists[names.BOXES[2]].feature[0].float_list.value[0] = 1.5

    def longer(context, lists):
        lists[names.BOXES[2]].feature[0].float_list.value.append(0.5)

    for change, message in (
        (wider, "region/bbox/xmin, .*: expected 0 <= xmin < xmax <= 1"),
        (longer, r"expected as many values in each, received \[1, 1, 2, 1\]"),
        (lambda c, f: f.pop(names.BOXES[1]), "region/bbox/ymin: expected one entry, received 0"),
    ):
        with pytest.raises(UserError, match=message):
            check_record(changed(record, change), INFO, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end_point": "Mixed_4f"}, "Mixed_4f/feature/bytes: expected as features.json says"),
        ({"views": 3}, "Mixed_5c/feature/bytes: expected 3 views .* received 2"),
        ({"shapes": {"train": [2, 4, 5, 7]}}, r"maps of \[2, 4, 5, 7\] .* received \[2, 4, 5, 6\]"),
    ],
)
def test_feature_maps_are_checked_against_their_description(record, change, message):
    maps = [np.zeros((2, 4, 5, 6), np.float16)] * 2
    features = encode_features(record, "Mixed_5c", maps, [maps[0], None])
    info = DatasetInfo("x", None, None, INFO.labels, modality="features")
    said = {
        "end_point": "Mixed_5c", "views": 2, "conjugates": True,
        "shapes": {"train": [2, None, 5, 6]}, "frames": [4, 8, 10], "made_from": {},
    }  # fmt: skip
    assert check_record(features, info, "train", FeatureInfo(**said))[1]["pairs"] == 1
    with pytest.raises(UserError, match=message):
        check_record(features, info, "train", FeatureInfo(**{**said, **change}))

    def cut(context, lists):
        entry = lists["Mixed_5c/feature/bytes"].feature[1].bytes_list
        entry.value[0] = entry.value[0][:-2]

    with pytest.raises(UserError, match=r"bytes, entry 1: expected 480 bytes of float16 .* 478"):
        check_record(changed(features, cut), info, "train", FeatureInfo(**said))
    for shape, sound in (((4, 8, 10), True), ((3, 8, 10), False), ((4, 8, 9), False)):
        masks = np.ones(shape, np.uint8)
        masked = encode_features(record, "Mixed_5c", maps, [maps[0], None], masks)
        if sound:
            check_record(masked, info, "train", FeatureInfo(**said))
            continue
        with pytest.raises(UserError, match=r"CLASS_SEGMENTATION/image/encoded"):
            check_record(masked, info, "train", FeatureInfo(**said))


def test_sizes_are_read_off_headers():
    for extension in (".png", ".jpg"):
        image = cv2.imencode(extension, np.zeros((37, 21, 3), np.uint8))[1].tobytes()
        assert image_size(image) == (37, 21)
        assert all(image_size(image[:n]) in (None, (37, 21)) for n in range(len(image)))
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    image = cv2.imencode(".jpg", np.zeros((37, 21), np.uint8), progressive)[1].tobytes()
    assert image_size(image) == (37, 21)
    assert image_size(b"\xff\xd8" + b"\xff" * 50) is None


def test_a_shard_is_read_to_its_damage(tmp_path, record):
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record)
        writer.write(record)
    assert [number for number, _ in read_shard(path)] == [0, 1]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"Record 1 of .*a\.tfrecord is corrupt: the file is damag"):
        list(read_shard(path))


def test_a_length_that_would_crash_tensorflow_is_refused(tmp_path, record):
    """If its checksum were right, TensorFlow would allocate 2^60 bytes and die."""
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record)
    length = struct.pack("<Q", 1 << 60)
    path.write_bytes(path.read_bytes() + length + bytes(100))
    with pytest.raises(UserError, match=r"Record 1 of .*a\.tfrecord is corrupt: expected at most"):
        list(read_shard(path))
