"""Cached features: the order of the clips, the view and the cut that chance has chosen, errors."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.reading import features as feature_reader
from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.features import _fitting, read_features
from tfrecords.records import codec
from tfrecords.records.dataset import load_info, shard_paths
from tfrecords.records.feature_codec import FeatureInfo, encode_features
from tfrecords.records.writer import finish_dataset, write_shard
from tfrecords.show import contact_sheet
from tfrecords.show.describe import describe
from tfrecords.show.verify import verify
from tfrecords.utils.errors import UsageError, UserError

VIEWS, SHAPE = 3, (2, 5, 6, 8)
NO_PAIR = "clip4"


def maps_of(number: int, view: int, shape=SHAPE, conjugate=False) -> np.ndarray:
    """Channels tell clip, view, row and column, and whether it is a conjugate."""
    maps = np.zeros(shape, np.float16)
    maps[..., 0], maps[..., 1], maps[..., 4] = number, view, conjugate
    maps[..., 2] = np.arange(shape[1])[:, None]
    maps[..., 3] = np.arange(shape[2])
    return maps


def cache(data, directory, shape_of=lambda number: SHAPE, conjugates=True) -> str:
    """Features of a data set, from its ids."""
    info, shapes, manifest = load_info(data), {}, {}
    for split in info.splits:
        views = VIEWS if split == "train" else 1
        found = set()
        for path in shard_paths(data, info, split):

            def records(path=path, views=views, found=found):
                for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
                    pair = codec.decode(serialized)
                    number = int(pair.id[4:])
                    shape = shape_of(number)
                    found.add(shape)
                    paired = pair.conjugate is not None
                    yield encode_features(
                        serialized,
                        "Mixed_5c",
                        [maps_of(number, v, shape) for v in range(views)],
                        [maps_of(number, v, shape, True) if paired else None for v in range(views)]
                        if conjugates
                        else (),
                        None if pair.mask is None else pair.mask.view(np.uint8),
                    )

            name = path.rpartition("/")[2]
            manifest[name] = write_shard(directory / name, records())
        shapes[split] = [side[0] if len({*side}) == 1 else None for side in zip(*found)]
    FeatureInfo("Mixed_5c", VIEWS, conjugates, shapes, [2, 8, 8], {}).write(directory)
    finish_dataset(directory, dataclasses.replace(info, modality="features"), manifest=manifest)
    return str(directory)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """Twelve clips a split in four shards; clip 3 without an action, clip 4 without a conjugate."""
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    mask = np.zeros((2, 8, 8), bool)
    mask[1, 2:4] = True
    splits = {
        split: [
            ClipPair(
                f"{name}{n}",
                clip,
                None if f"{name}{n}" == NO_PAIR else clip,
                () if n == 3 else (["run", "walk"][n % 2],),
                mask=mask if n % 2 else None,
            )
            for n in range(12)
        ]
        for split, name in (("train", "clip"), ("test", "seen"))
    }
    directory = tmp_path_factory.mktemp("data") / "twelve"
    write_dataset(directory, splits, labels=["run", "walk"])
    return str(directory)


@pytest.fixture(scope="module")
def features(data, tmp_path_factory) -> str:
    return cache(data, tmp_path_factory.mktemp("features"))


def rows(dataset) -> list[tuple]:
    return list(dataset.unbatch().as_numpy_iterator())


def read(directory, **options) -> list[tuple]:
    return rows(read_features(directory, "train", **{"batch_size": 4, "seed": 3, **options}))


def assert_equal(one, two):
    assert len(one) == len(two) > 0
    for left, right in zip(tf.nest.flatten(one), tf.nest.flatten(two)):
        np.testing.assert_array_equal(left, right)


def place(row) -> tuple[float, ...]:
    """View, top and left of what a row shows."""
    return tuple(row[0]["features"][0, 0, 0, 1:4].tolist())


def test_clips_come_as_from_the_data_itself(data, features):
    weights = {"negative_weight": 0.2, "class_weights": [0.5, 3.0]}
    clips = read_dataset(data, "train", 2, (8, 8), 5, seed=3, epochs=3, **weights)
    maps = read_features(features, "train", 5, seed=3, epochs=3, **weights)
    assert maps.cardinality() == clips.cardinality() == 6
    seen, expected = rows(maps), rows(clips)
    assert [row[0]["id"] for row in seen] == [row[0]["id"] for row in expected]
    assert [row[1:] for row in seen] == [row[1:] for row in expected]
    assert {row[2] for row in seen} == {np.float32(x) for x in (0.2, 0.5, 3.0)}
    for inputs, *_ in seen:
        number = int(inputs["id"][4:])
        view = int(inputs["features"][0, 0, 0, 1])
        paired = inputs["has_conjugate"]
        assert paired == (inputs["id"] != NO_PAIR.encode())
        np.testing.assert_array_equal(inputs["features"], maps_of(number, view))
        np.testing.assert_array_equal(
            inputs["conjugate_features"], maps_of(number, view, conjugate=paired)
        )


def test_contract_of_a_batch(features):
    inputs, targets, weights = next(iter(read_features(features, "train", 4)))
    kinds = {name: (value.dtype.name, value.shape.as_list()) for name, value in inputs.items()}
    assert kinds == {
        "id": ("string", [4]),
        "has_conjugate": ("bool", [4]),
        "features": ("float16", [4, *SHAPE]),
        "conjugate_features": ("float16", [4, *SHAPE]),
    }
    assert (targets.dtype, weights.dtype) == (tf.int32, tf.float32)
    spec = read_features(features, "train", 4, map_crop=3, conjugates=False).element_spec[0]
    assert "conjugate_features" not in spec
    assert spec["features"].shape.as_list() == [None, 2, 3, 3, 8]


def test_view_and_cut_are_functions_of_seed_epoch_and_id(features):
    whole = read(features, map_crop=4, epochs=6)
    for inputs, *_ in whole:
        view, top, left = (int(x) for x in inputs["features"][0, 0, 0, 1:4])
        number = int(inputs["id"][4:])
        expected = maps_of(number, view)[:, top : top + 4, left : left + 4]
        np.testing.assert_array_equal(inputs["features"], expected)
        # The conjugate is of the same view, cut at the same place.
        np.testing.assert_array_equal(inputs["conjugate_features"][..., :4], expected[..., :4])
    places = [place(row) for row in whole]
    assert {p[0] for p in places} == {0, 1, 2}
    assert {p[1] for p in places} == {0, 1} and {p[2] for p in places} == {0, 1, 2}
    by_id = [
        sorted((row[0]["id"], place(row)) for row in order)
        for order in (whole, read(features, map_crop=4, epochs=6, shuffle_buffer=2))
    ]
    assert by_id[0] == by_id[1]
    assert [row[0]["id"] for row in read(features, epochs=1, seed=4)] != [
        row[0]["id"] for row in whole[:12]
    ]


def test_an_epoch_goes_on_and_workers_share_it(features):
    options = {"map_crop": 4, "epochs": 3}
    whole = read(features, **options)
    rest = read(features, map_crop=4, first_epoch=1, first_step=2, epochs=2)
    assert_equal(rest, whole[20:])
    shares = [read(features, **options, worker=(n, 2)) for n in (0, 1)]
    joined = [shares[n // 2 % 2][2 * (n // 4) + n % 2] for n in range(len(whole))]
    assert_equal(joined, whole)
    with pytest.raises(ValueError, match="whose count divides batch_size"):
        read(features, worker=(0, 3))


def test_a_test_sees_the_first_view_in_order(data, features):
    clips = rows(read_dataset(data, "test", 2, (8, 8), 5, training=False, masks=True))
    batches = read_features(features, "test", 5, training=False, map_crop=3, masks=True)
    assert [len(targets) for _, targets, _ in batches] == [5, 5, 2]
    seen = rows(batches)
    assert place(seen[0]) == (0, 0, 0) and seen[0][0]["features"].shape == SHAPE
    for (inputs, *rest), (expected, *others) in zip(seen, clips):
        assert (inputs["id"], rest) == (expected["id"], others)
        np.testing.assert_array_equal(inputs["mask"], expected["mask"])
        assert inputs["has_mask"] == expected["has_mask"]
    assert len(seen) == len(clips) == 12
    trained = read_features(features, "train", 5, training=False)
    assert {place(row) for row in rows(trained)} == {(0, 0, 0)}


def test_maps_of_several_sizes(data, tmp_path):
    mixed = cache(data, tmp_path, lambda number: (1, 3 + number % 3, 4, 8))
    assert {row[0]["features"].shape for row in read(mixed, map_crop=3)} == {(1, 3, 3, 8)}
    seen = rows(read_features(mixed, "test", 8, training=False))
    assert {row[0]["features"].shape for row in seen} == {(1, n, 4, 8) for n in (3, 4, 5)}
    with pytest.raises(UsageError, match=r"data\.map_crop: expected cells .* differ in size"):
        read(mixed)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"data\.map_crop is larger"):
        read(mixed, map_crop=4)


def test_the_shuffle_keeps_to_its_memory(features, monkeypatch):
    size = 2 * 2 * np.prod(SHAPE)  # float16, clip and conjugate
    assert _fitting(1024, SHAPE, True) == 1024
    monkeypatch.setattr(feature_reader, "SHUFFLE_BYTES", 5 * size + 1)
    assert _fitting(1024, SHAPE, True) == 5
    assert _fitting(1024, SHAPE, False) == 10
    assert _fitting(1024, (2, None, 6, 8), True) == 1024


def test_wrong_use_is_named(data, features, tmp_path):
    with pytest.raises(UsageError, match=r"at most the 5 x 6 cells .*received 6"):
        read(features, map_crop=6)
    with pytest.raises(UsageError, match=r"Expected cached features in .*another data set"):
        read(data)
    with pytest.raises(UsageError, match=r"Expected records of frames .*received cached features"):
        read_dataset(features, "train")
    with pytest.raises(UsageError, match="Expected maps of conjugates"):
        read(cache(data, tmp_path, conjugates=False))
    with pytest.raises(ValueError, match="Expected masks=False in training"):
        read(features, masks=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end_point": 5}, "end_point to be a text, received 5"),
        ({"views": 0}, "views to be a whole number of 1 to 1,048,576, received 0"),
        ({"views": "3"}, "views to be a whole number"),
        ({"conjugates": 1}, "conjugates to be true or false"),
        ({"shapes": {}}, r"shapes.train to be \[T, H, W, D\], received None"),
        ({"shapes": {"train": [2, 5], "test": [2, 5, 6, 8]}}, r"shapes.train .* received \[2, 5\]"),
        ({"shapes": {"train": [2, 5, 0, 8]}}, r"shapes.train\[2\] to be a whole number of 1 to"),
        ({"shapes": [2, 5, 6, 8]}, "shapes to be an object"),
        ({"frames": [2, 8]}, "frames to be a list of length 3"),
        ({"frames": [1 << 25] * 3}, "shapes of at most 1,073,741,824 cells"),
        ({"made_from": None}, "made_from to be an object"),
    ],
)
def test_a_wrong_description_is_named(features, tmp_path, change, message):
    for name in ("dataset.json", "labels.txt", "features.json"):
        shutil.copy(f"{features}/{name}", tmp_path / name)
    path = tmp_path / "features.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=rf"features\.json: .*{message}"):
        FeatureInfo.load(tmp_path)


def test_damage_is_named(data, tmp_path):
    directory = cache(data, tmp_path)
    path = tmp_path / "train-00001-of-00004.tfrecord"
    path.write_bytes(path.read_bytes()[:-20])
    message = r"Record 2 of .*train-00001-of-00004\.tfrecord is corrupt: the file is damaged"
    with pytest.raises(UserError, match=message), translate_errors(directory):
        read(directory)


def test_features_are_shown_and_verified(features, data, tmp_path):
    text = describe(features, "train")
    assert "Mixed_5c 3 of 3 views (2, 5, 6, 8)" in text and "features frames 8 x 8" in text
    assert "CONJUGATE/Mixed_5c 3 of 3 views" in text
    assert verify(features).endswith("24 records in 8 shards, 24 images: checksums agree.")
    with pytest.raises(UsageError, match="Expected records of frames"):
        contact_sheet.write_pairs(features, tmp_path / "sheet.png", None, 4)
    broken = cache(data, tmp_path / "broken", lambda number: (1, 2, 2, 8))
    path = tmp_path / "broken" / "test-00002-of-00004.tfrecord"
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    example = tf.train.SequenceExample.FromString(records[1])
    maps = example.feature_lists.feature_list["Mixed_5c/feature/bytes"].feature[0]
    maps.bytes_list.value[0] = maps.bytes_list.value[0][:-2]
    records[1] = example.SerializeToString()
    write_shard(path, records)
    with pytest.raises(
        UserError, match=r"Record 1 of .*test-00002.* is corrupt: Expected a record of cached"
    ):
        verify(broken)
