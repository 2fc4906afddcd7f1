"""The record: what goes in comes out, the same bytes each time, and wrong input is named."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrecords import ClipPair
from tfrecords.records import codec, feature_codec
from tfrecords.utils.errors import UsageError, UserError

LABELS = {"run": 0, "walk": 1}


def make_pair(seed: int = 0, **changes) -> ClipPair:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, 16 * 24 * 3).reshape(16, 24, 3)
    values = {
        "id": "clip/7",
        "clip": (ramp + rng.integers(0, 50, (5, 1, 1, 3))).astype(np.uint8),
        "conjugate": (ramp + rng.integers(0, 50, (4, 1, 1, 3))).astype(np.uint8),
        "labels": ("walk",),
        "fps": 12.5,
        "mask": rng.random((5, 16, 24)) < 0.3,
        "media_id": "videos/ä b.mp4",
        "start": 1.25,
        "conjugate_start": 10.0,
        "conjugate_end": 10.5,
    }
    return ClipPair(**{**values, **changes})


def test_png_round_trip_is_exact():
    pair = make_pair(labels=("walk", "run"))
    back = codec.decode(codec.encode(pair, LABELS, "PNG"))
    for name in ("clip", "conjugate", "mask"):
        np.testing.assert_array_equal(getattr(back, name), getattr(pair, name))
        assert getattr(back, name).dtype == getattr(pair, name).dtype
    assert (back.id, back.labels, back.fps) == ("clip/7", ("walk", "run"), 12.5)
    assert (back.media_id, back.start, back.end) == ("videos/ä b.mp4", 1.25, 1.25 + 5 / 12.5)
    assert (back.conjugate_media_id, back.conjugate_start) == ("videos/ä b.mp4", 10.0)
    assert back.conjugate_end == 10.5


def test_jpeg_keeps_colour_edges():
    # One-pixel red and blue columns: chroma subsampling would blur them (rms above 60).
    frame = np.zeros((16, 24, 3), np.uint8)
    frame[:, ::2, 0] = frame[:, 1::2, 2] = 200
    clip = np.stack([frame] * 3)
    pair = make_pair(clip=clip, conjugate=None, mask=None)
    back = codec.decode(codec.encode(pair, LABELS, "JPEG"))
    assert np.sqrt(np.mean((back.clip.astype(float) - clip) ** 2)) < 5
    assert back.conjugate is None and back.mask is None


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_same_pair_same_bytes(image_format):
    assert codec.encode(make_pair(), LABELS, image_format) == codec.encode(
        make_pair(), LABELS, image_format
    )


def test_features_have_the_contract_s_names():
    example = tf.train.SequenceExample.FromString(codec.encode(make_pair(), LABELS))
    context, lists = example.context.feature, example.feature_lists.feature_list
    assert set(context) == {
        *("example/id", "clip/media_id", "clip/label/index", "clip/label/string"),
        *("clip/start/timestamp", "clip/end/timestamp"),
        *("image/frame_rate", "image/height", "image/width", "image/format"),
        "CONJUGATE/clip/media_id",
        *("CONJUGATE/clip/start/timestamp", "CONJUGATE/clip/end/timestamp"),
    }
    assert {name: len(values.feature) for name, values in lists.items()} == {
        "image/encoded": 5,
        "image/timestamp": 5,
        "CONJUGATE/image/encoded": 4,
        "CLASS_SEGMENTATION/image/encoded": 5,
    }
    times = [f.int64_list.value[0] for f in lists["image/timestamp"].feature]
    assert times == [1_250_000, 1_330_000, 1_410_000, 1_490_000, 1_570_000]
    assert context["clip/label/index"].int64_list.value == [1]
    assert context["image/format"].bytes_list.value == [b"JPEG"]
    assert lists["image/encoded"].feature[0].bytes_list.value[0].startswith(b"\xff\xd8")


def test_parse_in_a_graph():
    parse = tf.function(codec.parse)
    record = parse(tf.constant(codec.encode(make_pair(), LABELS, "PNG")))
    assert record["id"].numpy() == b"clip/7" and record["labels"].numpy().tolist() == [1]
    assert record["fps"].numpy() == 12.5
    assert [len(record[name]) for name in ("clip", "conjugate", "mask")] == [5, 4, 5]
    bare = make_pair(conjugate=None, mask=None, labels=())
    record = parse(tf.constant(codec.encode(bare, LABELS, "PNG")))
    assert [len(record[name]) for name in ("labels", "conjugate", "mask")] == [0, 0, 0]


def make_image(**changes) -> ClipPair:
    still = {"clip": make_pair().clip[:1], "mask": None, "conjugate": None}
    return make_pair(**{**still, "boxes": [[0.25, 0.5, 0.75, 1], [0, 0.1, 0.3, 0.4]], **changes})


def test_boxes_of_a_still_image():
    image = make_image()
    encoded = codec.encode(image, LABELS, "PNG")
    lists = tf.train.SequenceExample.FromString(encoded).feature_lists.feature_list
    stored = {name: [list(f.float_list.value) for f in lists[name].feature] for name in lists}
    assert stored["region/bbox/xmin"] == [[0.25, 0]] and stored["region/bbox/ymax"][0][0] == 1
    assert stored["region/bbox/ymin"] == [pytest.approx([0.5, 0.1])]
    assert stored["region/bbox/xmax"] == [pytest.approx([0.75, 0.3])]
    back = codec.decode(encoded)
    np.testing.assert_array_equal(back.boxes, image.boxes)
    assert back.boxes.dtype == np.float32

    parse = tf.function(lambda record: codec.parse(record, boxes=True)["boxes"])
    np.testing.assert_array_equal(parse(tf.constant(encoded)), image.boxes)
    none = codec.encode(make_image(boxes=None), LABELS)
    assert parse(tf.constant(none)).shape == (0, 4) and codec.decode(none).boxes is None
    assert parse(tf.constant(codec.encode(make_pair(), LABELS))).shape == (0, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip": make_pair().clip}, "boxes with a still image only. Received a clip of 5 frames"),
        ({"boxes": [0, 0, 1, 1]}, r"Expected boxes as \[n, 4\]. Received \(4,\)"),
        ({"boxes": [[0, 0, 1, 1.5]]}, r"ymax <= 1. Received \[\[0.0, 0.0, 1.0, 1.5\]\]"),
        ({"boxes": [[0.5, 0, 0.5, 1]]}, "0 <= xmin < xmax"),
        ({"boxes": [[0, np.nan, 1, 1]]}, "0 <= ymin < ymax"),
    ],
)
def test_wrong_boxes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_image(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip": np.zeros((2, 4, 4, 3))}, "Expected clip as uint8 .* Received float64"),
        ({"clip": np.zeros((0, 4, 4, 3), np.uint8)}, r"Received uint8 \(0, 4, 4, 3\)"),
        ({"conjugate": np.zeros((5, 16, 23, 3), np.uint8)}, r"Received \(16, 23\)"),
        ({"mask": np.zeros((5, 16, 24), np.uint8)}, "Expected mask as bool .* Received uint8"),
        ({"mask": np.zeros((4, 16, 24), bool)}, r"Received bool \(4, 16, 24\)"),
        ({"fps": 0.0}, "Expected fps above 0"),
        ({"labels": "walk"}, "Expected labels as a sequence .* 'walk'"),
    ],
)
def test_wrong_pairs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_pair(**changes)


def test_unknown_label_and_format_are_named():
    with pytest.raises(UsageError, match=r"'clip/7'.*among run, walk, received 'jump'"):
        codec.encode(make_pair(labels=("walk", "jump")), LABELS)
    with pytest.raises(UsageError, match="received 'GIF'"):
        codec.encode(make_pair(), LABELS, "GIF")


@pytest.mark.parametrize("cut", [slice(0, 100), slice(0, 0)])
def test_broken_bytes_are_one_sentence(cut):
    with pytest.raises(UserError, match="cannot be decoded") as caught:
        codec.decode(codec.encode(make_pair(), LABELS)[cut])
    assert "\n" not in str(caught.value)


def test_broken_frame_is_a_user_error():
    good = codec.encode(make_pair(), LABELS, "PNG")
    with pytest.raises(UserError, match="cannot be decoded"):
        codec.decode(good.replace(b"\x89PNG", b"\x00\x00\x00\x00"))


# ---- cached features ----------------------------------------------------------------------------


def make_features(mask=None, conjugates=True):
    record = codec.encode(make_pair(), LABELS)
    rng = np.random.default_rng(1)
    maps = list(rng.standard_normal((3, 2, 4, 5, 6)).astype(np.float16))
    others = [maps[1] + 1, None, maps[0] - 1] if conjugates else []
    encoded = feature_codec.encode_features(record, "Mixed_5c", maps, others, mask)
    return record, maps, others, encoded


def test_features_round_trip_exactly():
    mask = (np.arange(2 * 4 * 5).reshape(2, 4, 5) % 3 == 0).astype(np.uint8)
    record, maps, others, encoded = make_features(mask)
    found = feature_codec.decode_features(encoded)
    assert list(found) == ["CONJUGATE/Mixed_5c/feature/bytes", "Mixed_5c/feature/bytes"]
    for expected, received in zip((others, maps), found.values()):
        assert [value is None for value in received] == [value is None for value in expected]
        for one, two in zip(expected, received):
            if one is not None:
                np.testing.assert_array_equal(two, one)
    parsed = feature_codec.parse_features(tf.constant(encoded), "Mixed_5c", masks=True)
    assert (parsed["id"].numpy(), parsed["labels"].numpy().tolist()) == (b"clip/7", [1])
    assert parsed["dimensions"].numpy().tolist() == [2, 4, 5, 6]
    assert parsed["features"].numpy()[2] == maps[2].tobytes()
    assert [len(entry) for entry in parsed["conjugate_features"].numpy()] == [480, 0, 480]
    images = [tf.io.decode_png(image, 1).numpy()[..., 0] for image in parsed["mask"]]
    np.testing.assert_array_equal(images, mask)
    # All that was known of the clip is still there, and no frame.
    before, after = (tf.train.SequenceExample.FromString(x) for x in (record, encoded))
    for name, value in before.context.feature.items():
        assert after.context.feature[name] == value
    assert len(encoded) < 6 * 480 + 2000
    assert encoded == make_features(mask)[-1]


def test_features_without_conjugates():
    parsed = feature_codec.parse_features(
        tf.constant(make_features(conjugates=False)[-1]), "Mixed_5c", conjugates=False, masks=True
    )
    assert "conjugate_features" not in parsed and parsed["mask"].shape == [0]


@pytest.mark.parametrize("broken", [b"\xff no record", b""])
def test_what_are_no_features_is_named(broken):
    with pytest.raises(UserError, match="Expected a record of cached features"):
        feature_codec.decode_features(broken)
