"""The pipeline: what is sampled, that a pair stays a pair, and that chance is a pure function."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.clips import (
    LABELS,
    SMALL,
    assert_equal_rows,
    clip_of,
    first,
    pair_of,
    rows,
    times,
    write,
)
from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.reading.clips import count_labels, count_steps
from tfrecords.records import codec
from tfrecords.records.dataset import load_info, shard_name
from tfrecords.records.names import CONJUGATE, FRAMES
from tfrecords.records.writer import write_shard
from tfrecords.utils.errors import UsageError

# ---- what a batch holds -------------------------------------------------------------------------


def test_contract_of_a_batch(twelve):
    dataset = read_dataset(twelve, "train", **SMALL)
    inputs, targets, weights = next(iter(dataset))
    shapes = {name: (value.dtype.name, value.shape.as_list()) for name, value in inputs.items()}
    assert shapes == {
        "clip": ("uint8", [4, 4, 24, 32, 3]),
        "conjugate": ("uint8", [4, 4, 24, 32, 3]),
        "has_conjugate": ("bool", [4]),
        "id": ("string", [4]),
    }
    assert (targets.dtype, targets.shape) == (tf.int32, [4])
    assert (weights.dtype, weights.shape) == (tf.float32, [4])
    assert dataset.element_spec[0]["clip"].shape.as_list() == [None, 4, 24, 32, 3]
    assert dataset.cardinality() == 3
    spec = read_dataset(twelve, "train", **SMALL, crop=0.8, masks=True, cache=True).element_spec[0]
    assert spec["clip"].shape.as_list() == [None, 4, 16, 24, 3]
    assert spec["mask"].shape.as_list() == [None, 4, 16, 24]


def test_test_is_in_order_and_keeps_the_remainder(twelve):
    dataset = read_dataset(twelve, "test", **{**SMALL, "batch_size": 5}, training=False)
    assert [len(targets) for _, targets, _ in dataset] == [5, 5, 2]
    # Record n is in shard n modulo 4, and shards are read one after the other.
    expected = [f"clip{n}".encode() for n in (0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)]
    assert [row["id"] for row in rows(dataset)] == expected
    assert_equal_rows(rows(dataset), rows(dataset))


def test_training_drops_the_remainder_but_never_all(twelve):
    dataset = read_dataset(twelve, "train", **{**SMALL, "batch_size": 5}, epochs=2)
    assert [len(targets) for _, targets, _ in dataset] == [5, 5, 5, 5]
    dataset = read_dataset(twelve, "train", **{**SMALL, "batch_size": 50}, epochs=2)
    assert [len(targets) for _, targets, _ in dataset] == [12, 12]
    assert dataset.cardinality() == 2


@pytest.mark.parametrize(
    ("batch_size", "training", "steps"), [(5, True, 2), (5, False, 3), (12, True, 1), (13, True, 1)]
)
def test_count_steps(twelve, batch_size, training, steps):
    assert count_steps(load_info(twelve), "train", batch_size, training) == steps


def test_each_epoch_shows_each_clip_once(twelve):
    epochs = rows(read_dataset(twelve, "train", **SMALL, epochs=2, shuffle_buffer=3))
    ids = [row["id"] for row in epochs]
    assert len(set(ids[:12])) == len(set(ids[12:])) == 12
    assert ids[:12] != ids[12:]


# ---- labels -------------------------------------------------------------------------------------


def test_single_labels_and_negative_clips(tmp_path):
    directory = write(tmp_path, pair_of(0), pair_of(1, labels=()), pair_of(2, labels=("run",)))
    dataset = read_dataset(directory, "test", **SMALL, training=False, negative_weight=0.25)
    assert [(row["target"], row["weight"]) for row in rows(dataset)] == [(1, 1), (2, 0.25), (0, 1)]


def test_multi_labels(tmp_path):
    pairs = [pair_of(n, labels=labels) for n, labels in enumerate([("walk", "run"), (), ("walk",)])]
    directory = write(tmp_path, *pairs, multi_label=True)
    dataset = read_dataset(directory, "test", **SMALL, training=False)
    assert [row["target"].tolist() for row in rows(dataset)] == [[1, 1], [0, 0], [0, 1]]
    assert [row["weight"] for row in rows(dataset)] == [1, 1, 1]
    assert next(iter(dataset))[1].dtype == tf.float32


def test_class_weights(tmp_path):
    cases = [(), ("run",), ("walk",), ("walk", "run")]
    options = {"training": False, "class_weights": [0.5, 4.0], "negative_weight": 0.25}
    pairs = [pair_of(n, labels=labels) for n, labels in enumerate(cases)]
    single = write(tmp_path / "one", *pairs[:3], num_shards=1)
    assert [row["weight"] for row in rows(read_dataset(single, "test", **SMALL, **options))] == [
        *(0.25, 0.5, 4.0)
    ]
    several = write(tmp_path / "several", *pairs, num_shards=1, multi_label=True)
    assert [row["weight"] for row in rows(read_dataset(several, "test", **SMALL, **options))] == [
        *(1.0, 0.5, 4.0, 2.25)
    ]
    assert count_labels(several, "test") == [2, 2] and count_labels(single, "train") == [1, 1]


# ---- sampling -----------------------------------------------------------------------------------


def test_test_takes_the_centre(tmp_path):
    row = first(write(tmp_path, pair_of(0, length=10)))
    assert times(row) == [3, 4, 5, 6]


def test_a_short_clip_repeats_its_last_frame(tmp_path):
    directory = write(tmp_path, pair_of(0, length=2))
    for split in ("test", "train"):
        assert times(first(directory, split)) == [0, 1, 1, 1]


def test_a_random_start_covers_the_clip(tmp_path):
    directory = write(tmp_path, pair_of(0, length=7))
    seen = {tuple(times(row)) for row in rows(read_dataset(directory, "train", **SMALL, epochs=40))}
    assert seen == {tuple(range(start, start + 4)) for start in range(4)}


@pytest.mark.parametrize(
    ("fps", "expected"),
    # 31 frames at 30 frames/s; the span of 4 frames is centred.
    [
        (None, [13, 14, 15, 16]),
        (30.0, [13, 14, 15, 16]),
        (10.0, [10, 13, 16, 19]),
        (12.0, [11, 13, 16, 18]),
        (60.0, [14, 14, 15, 15]),
        (1.0, [0, 30, 30, 30]),
    ],
)
def test_frames_are_taken_at_the_wanted_rate(tmp_path, fps, expected):
    directory = write(tmp_path, pair_of(0, length=31, fps=30.0))
    assert times(first(directory, fps=fps)) == expected
    assert times(first(directory, fps=fps, cache=True)) == expected


# ---- pairs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [False, True])
def test_the_same_clip_twice_stays_bit_equal(twelve, cache):
    dataset = read_dataset(twelve, "train", **SMALL, crop=0.7, epochs=3, cache=cache)
    seen = rows(dataset)
    for row in seen:
        assert row["has_conjugate"]
        np.testing.assert_array_equal(row["clip"], row["conjugate"])
    # All that is random did vary: start, row and column of the corner, direction.
    assert len({times(row)[0] for row in seen}) > 4
    for channel, offsets in ((1, 5), (2, 5)):
        assert len({row["clip"][0, 0, 0, channel] for row in seen}) >= offsets
    assert {bool(row["clip"][0, 0, 0, 2] > row["clip"][0, 0, -1, 2]) for row in seen} == {
        True,
        False,
    }


def test_without_flip_nothing_is_mirrored(twelve):
    seen = rows(read_dataset(twelve, "train", **SMALL, flip=False, epochs=3))
    assert all(row["clip"][0, 0, 0, 2] == 0 for row in seen)


@pytest.mark.parametrize("cache", [False, True])
def test_jpeg_and_png_stand_in_one_data_set(tmp_path, cache):
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, [2, 4, 24, 32, 3], np.uint8)
    pairs = [ClipPair(name, clips[0], clips[1], ("walk",)) for name in ("JPEG", "PNG")]
    write(tmp_path, *pairs, num_shards=1)
    examples = [codec.encode(pair, {"walk": 0}, pair.id) for pair in pairs]
    write_shard(tmp_path / shard_name("test", 0, 1), examples)
    seen = rows(read_dataset(tmp_path, "test", **SMALL, training=False, cache=cache))
    assert [row["id"] for row in seen] == [b"JPEG", b"PNG"]
    for row, example in zip(seen, examples):
        lists = tf.train.SequenceExample.FromString(example).feature_lists.feature_list
        for name, prefix in (("clip", ""), ("conjugate", CONJUGATE)):
            stored = [item.bytes_list.value[0] for item in lists[prefix + FRAMES].feature]
            expected = [tf.io.decode_image(image, 3) for image in stored]
            np.testing.assert_array_equal(row[name], expected)
    np.testing.assert_array_equal(seen[1]["conjugate"], clips[1])  # PNG is without loss


def test_a_missing_conjugate_is_a_copy(tmp_path):
    directory = write(tmp_path, pair_of(0, conjugate=None), pair_of(1, conjugate=clip_of(10, 100)))
    for options in ({}, {"cache": True}, {"split": "train"}):
        split = options.pop("split", "test")
        seen = rows(read_dataset(directory, split, **SMALL, training=split == "train", **options))
        by_id = {row["id"]: row for row in seen}
        missing, there = by_id[b"clip0"], by_id[b"clip1"]
        assert not missing["has_conjugate"] and there["has_conjugate"]
        np.testing.assert_array_equal(missing["conjugate"], missing["clip"])
        assert times(there, "conjugate") == [100 + time for time in times(there)]


def test_a_conjugate_of_another_length_is_sampled_by_itself(tmp_path):
    row = first(write(tmp_path, pair_of(0, length=10, conjugate=clip_of(3, 100))))
    assert (times(row), times(row, "conjugate")) == ([3, 4, 5, 6], [100, 101, 102, 102])


@pytest.mark.parametrize("cache", [False, True])
def test_frozen_conjugates(tmp_path, cache):
    pairs = [pair_of(n, conjugate=clip_of(10, 100)) for n in range(7)]
    directory = write(tmp_path, *pairs, pair_of(7, conjugate=None))
    options = {**SMALL, "cache": cache, "epochs": 10}
    seen = rows(read_dataset(directory, "train", **options, frozen_conjugates=0.5))
    frozen = [row for row in seen if row["has_conjugate"] and times(row, "conjugate")[0] < 100]
    for row in frozen:
        np.testing.assert_array_equal(row["conjugate"], np.repeat(row["clip"][:1], 4, axis=0))
    assert 25 <= len(frozen) <= 55 and len(seen) == 80
    assert {row["id"] for row in frozen} >= {b"clip7", b"clip0"}
    assert times(first(directory, frozen_conjugates=1.0), "conjugate")[0] >= 100  # test: never


# ---- masks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("size", [(24, 32), (16, 24)])
def test_masks_follow_the_frames(tmp_path, cache, size):
    # The actor is what is bright, in frames twice as large as the recipe wants.
    mask = np.zeros((10, 48, 64), bool)
    for n in range(10):
        mask[n, 2 * n : 2 * n + 16, 3 * n : 3 * n + 20] = True
    clip = np.repeat(mask[..., None], 3, axis=-1).astype(np.uint8) * 255
    pairs = [ClipPair(str(n), clip, None, ("run",), mask=mask) for n in range(3)]
    directory = write(tmp_path, *pairs, ClipPair("3", clip, None, ("run",)))
    for split, epochs in (("test", 1), ("train", 4)):
        seen = rows(
            read_dataset(
                directory,
                split,
                **{**SMALL, "size": size},
                training=split == "train",
                masks=True,
                crop=0.7,
                epochs=epochs,
                cache=cache,
            )
        )
        for row in seen:
            assert row["mask"].dtype == np.uint8 and row["has_mask"] == (row["id"] != b"3")
            expected = (row["clip"][..., 0] > 127) & row["has_mask"]
            np.testing.assert_array_equal(row["mask"], expected)
        # In training a crop may leave the actor out.
        assert len(seen) == 4 * epochs and sum(row["mask"].any() for row in seen) > 2 * epochs


# ---- chance -------------------------------------------------------------------------------------

RANDOM = {**SMALL, "crop": 0.7, "frozen_conjugates": 0.3, "shuffle_buffer": 5}


@pytest.mark.parametrize("cache", [pytest.param(False, marks=pytest.mark.slow), True])
def test_seed_and_epoch_decide_everything(twelve, cache):
    options = {**RANDOM, "cache": cache, "seed": 3}
    whole = rows(read_dataset(twelve, "train", **options, epochs=3))
    tf.random.set_seed(99)  # what else the program draws has no say
    tf.random.uniform([])
    assert_equal_rows(rows(read_dataset(twelve, "train", **options, epochs=3)), whole)
    resumed = read_dataset(twelve, "train", **options, first_epoch=1, epochs=2)
    assert_equal_rows(rows(resumed), whole[12:])
    assert_equal_rows(rows(resumed), whole[12:])
    other = rows(read_dataset(twelve, "train", **{**options, "seed": 4}, epochs=1))
    assert [row["id"] for row in other] != [row["id"] for row in whole[:12]]


def test_what_is_drawn_for_a_record_does_not_hang_on_the_order(twelve):
    one = rows(read_dataset(twelve, "train", **RANDOM, epochs=1))
    two = rows(read_dataset(twelve, "train", **{**RANDOM, "shuffle_buffer": 1}, epochs=1))
    cached = rows(read_dataset(twelve, "train", **RANDOM, epochs=1, cache=True))
    orders = [[row["id"] for row in order] for order in (one, two, cached)]
    assert orders[0] != orders[1] and orders[1] != orders[2]
    for order in (two, cached):
        assert_equal_rows(*(sorted(x, key=lambda row: row["id"]) for x in (one, order)))


@pytest.mark.parametrize("cache", [False, True])
def test_a_missing_record_changes_nothing_for_the_others(twelve, tmp_path, cache):
    fewer = write(tmp_path, *(pair_of(n, 10 + n) for n in range(12) if n != 2))
    options = {**RANDOM, "batch_size": 1, "cache": cache, "epochs": 1}
    there = [row for row in rows(read_dataset(twelve, "train", **options)) if row["id"] != b"clip2"]
    without = rows(read_dataset(fewer, "train", **options))
    assert_equal_rows(*(sorted(x, key=lambda row: row["id"]) for x in (there, without)))
    # Not because all are drawn alike.
    assert len({tuple(row["clip"][0, 0, 0, 1:]) for row in without}) > 5


@pytest.mark.parametrize("cache", [False, True])
def test_without_epochs_each_iteration_is_a_new_one(twelve, cache):
    dataset = read_dataset(twelve, "train", **RANDOM, cache=cache)
    one, two = rows(dataset), rows(dataset)
    assert len(one) == len(two) == 12
    assert [row["id"] for row in one] != [row["id"] for row in two]
    assert_equal_rows(one, rows(read_dataset(twelve, "train", **RANDOM, cache=cache)))


# ---- parts of an epoch --------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [False, True])
def test_an_epoch_goes_on_at_a_step(twelve, cache):
    options = {**RANDOM, "cache": cache, "batch_size": 5}
    whole = rows(read_dataset(twelve, "train", **options, epochs=3))  # two batches an epoch
    rest = read_dataset(twelve, "train", **options, first_epoch=1, first_step=1, epochs=2)
    assert rest.cardinality() == 3
    assert_equal_rows(rows(rest), whole[15:])


def test_what_is_left_out_is_not_decoded(tmp_path):
    write_dataset(tmp_path, {"train": map(pair_of, range(4))}, LABELS, num_shards=1)
    options = {**SMALL, "batch_size": 1, "epochs": 1}
    order = [row["id"] for row in rows(read_dataset(tmp_path, "train", **options))]
    path = str(tmp_path / "train-00000-of-00001.tfrecord")
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            broken = order[0] in record or order[1] in record
            writer.write(record.replace(b"\x89PNG", b"\0\0\0\0") if broken else record)
    rest = rows(read_dataset(tmp_path, "train", **options, first_step=2))
    assert [row["id"] for row in rest] == order[2:]


@pytest.mark.parametrize("first_step", [0, 1])
def test_workers_share_every_batch(twelve, first_step):
    options = {**RANDOM, "epochs": 2, "first_step": first_step}
    batches = list(read_dataset(twelve, "train", **options))
    shares = [list(read_dataset(twelve, "train", **options, worker=(n, 2))) for n in (0, 1)]
    assert len(batches) == len(shares[0]) == len(shares[1]) == 6 - first_step
    for batch, *parts in zip(batches, *shares):
        joined = tf.nest.map_structure(lambda *values: tf.concat(values, axis=0), *parts)
        for whole, part in zip(tf.nest.flatten(batch), tf.nest.flatten(joined)):
            np.testing.assert_array_equal(part, whole)
    for worker in ((0, 3), (2, 2)):
        with pytest.raises(ValueError, match=r"whose count divides batch_size.*, 4\."):
            read_dataset(twelve, "train", **SMALL, worker=worker)


def test_workers_read_files_of_their_own(twelve):
    """Three workers and four files of three clips: an epoch takes four clips of each worker."""

    def ids(number, count, **options):
        batches = read_dataset(
            twelve, "train", 2, (24, 32), 2 * count, worker=(number, count), epochs=1, **options
        )
        return [batch["id"].numpy().tolist() for batch, _, _ in batches]

    shares = [ids(number, 3, by_file=True) for number in range(3)]
    assert [[len(batch) for batch in share] for share in shares] == [[2, 2]] * 3
    clips = [[name for batch in share for name in batch] for share in shares]
    assert [len({*own}) for own in clips] == [4, 3, 3]
    assert len({*clips[0], *clips[1], *clips[2]}) == 10  # nobody reads what is another's
    assert ids(1, 3, by_file=True, first_step=1) == shares[1][1:]
    # Fewer files than workers: by record.
    assert ids(1, 6, by_file=True) == ids(1, 6) != []


# ---- views of a test ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "start", "corner"),
    # Seven starts are free; a crop of 16 x 24 pixels has 8 pixels of room each way.
    [((0.0, 0.0, 0.0), 0, (0, 0)), ((0.5, 0.5, 1.0), 3, (4, 8)), ((1.0, 1.0, 0.0), 6, (8, 0))],
)
def test_a_view_lies_where_it_is_wanted(tmp_path, view, start, corner):
    row = first(write(tmp_path, pair_of(0, length=10)), view=view, crop=0.7)
    assert times(row) == times(row, "conjugate") == list(range(start, start + 4))
    assert row["clip"].shape == (4, 16, 24, 3)
    assert (row["clip"][0, 0, 0, 1:] / 2).tolist() == list(corner)


def test_a_view_of_the_whole_frame(tmp_path):
    row = first(write(tmp_path, pair_of(0, length=10)), view=(0.0, None, None), crop=0.7)
    assert times(row) == [0, 1, 2, 3] and row["clip"].shape == (4, 24, 32, 3)


def test_wrong_arguments_are_named(twelve):
    with pytest.raises(UsageError, match=r"splits \(train, test\), received 'val'"):
        read_dataset(twelve, "val")
    for options in ({"frames": 0}, {"batch_size": 0}, {"epochs": 0}, {"frozen_conjugates": 1.1}):
        name, value = *options, *options.values()
        with pytest.raises(ValueError, match=f"Expected {name} .* Received {name}={value}"):
            read_dataset(twelve, "train", **options)
    with pytest.raises(TypeError, match=r"options among .*jitter, .* Received 'jiter'"):
        read_dataset(twelve, "train", jiter=0.1)
    with pytest.raises(ValueError, match="Expected epochs with first_step"):
        read_dataset(twelve, "train", first_step=1)
    with pytest.raises(ValueError, match="Received crop=2"):
        read_dataset(twelve, "train", crop=2)
