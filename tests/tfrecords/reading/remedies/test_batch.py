"""Remedies of a batch by hand, and as the reader draws them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.reading.remedies.batch import erase_background, mask_person, mix_stills
from tfrecords.utils.errors import UsageError

SMALL = {"frames": 4, "size": (16, 24), "batch_size": 4, "seed": 3}


def test_a_still_is_half_of_a_chosen_clip():
    clips = tf.fill([2, 3, 2, 2, 3], tf.constant(100, tf.uint8))
    stills = tf.constant(np.arange(3, dtype=np.uint8)[:, None, None, None] * 50)
    stills = tf.broadcast_to(stills, [3, 2, 2, 3])
    inputs = {"clip": clips, "has_conjugate": tf.constant([True, True])}
    mixed = mix_stills(inputs, tf.constant([True, False]), tf.constant([0.34, 0.99]), stills)
    assert (mixed["clip"][0].numpy() == 75).all()  # frame 1 of 3: 50
    assert (mixed["clip"][1].numpy() == 100).all()
    assert mixed["has_conjugate"].numpy().tolist() == [False, True]


def test_a_frame_of_the_clip_is_mixed_into_all():
    clips = tf.constant(np.arange(8, dtype=np.uint8).reshape(2, 4, 1, 1, 1) * 10)
    clips = tf.broadcast_to(clips, [2, 4, 1, 1, 3])
    erased = erase_background(clips, tf.constant([0.0, 0.75]), tf.constant([0.2, 0.3]))
    # Frame 0 of the first clip, frame 3 of the second.
    expected = [[0, 8, 16, 24], [49, 56, 63, 70]]
    np.testing.assert_array_equal(erased[..., 0, 0, 0], expected)


def test_a_person_becomes_the_mean_colour_of_the_frame():
    clip = np.zeros((1, 1, 2, 2, 3), np.uint8)
    clip[0, 0, 0, 0] = (40, 80, 120)
    mask = np.array([[[[1, 0], [0, 0]]]], np.uint8)
    masked = mask_person(tf.constant(clip), tf.constant(mask)).numpy()
    assert masked[0, 0, 0, 0].tolist() == [10, 20, 30]
    assert not masked[0, 0, 1].any() and not masked[0, 0, 0, 1].any()


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Eight clips of 6 frames, masks of the first half of them."""
    rng = np.random.default_rng(0)
    pairs = []
    for index in range(8):
        clip, still = rng.integers(0, 255, (2, 6, 16, 24, 3)).astype(np.uint8)
        mask = np.zeros((6, 16, 24), bool)
        mask[:, 4:10, 4:10] = True
        pairs.append(ClipPair(str(index), clip, still, ("ab"[index % 2],), 6.0, mask))
    bare = [ClipPair(pair.id, pair.clip, pair.conjugate, pair.labels, 6.0) for pair in pairs]
    folder = tmp_path_factory.mktemp("moving")
    splits = {"train": [*pairs[:4], *bare[4:]], "test": bare}
    write_dataset(folder, splits, labels=["a", "b"], num_shards=1)
    return folder


def read(folder, **options):
    """Rows by their id, of two epochs."""
    rows = {}
    for inputs, *_ in read_dataset(folder, "train", **SMALL, epochs=2, **options):
        values = {name: value.numpy() for name, value in inputs.items()}
        for index, key in enumerate(values.pop("id")):
            row = {name: value[index] for name, value in values.items()}
            rows.setdefault(key.decode(), []).append(row)
    return rows


def test_remedies_leave_all_else_that_is_drawn_as_it_is(moving):
    plain = read(moving, crop=0.7, jitter=0.2)
    everything = {"fame": 0.5, "stillmix": 0.5, "background_erasing": True, "human_mask": True}
    still = tf.zeros([2, *plain["0"][0]["clip"].shape[1:]], tf.uint8)
    for _ in range(2):  # the same again
        rows = read(moving, crop=0.7, jitter=0.2, stills=still, **everything)
        unchanged = 0
        for key, pair in rows.items():
            for epoch, row in enumerate(pair):
                before = plain[key][epoch]
                assert "mask" not in row and "remedies" not in row
                np.testing.assert_array_equal(row["conjugate"], before["conjugate"])
                assert row["person"] == (int(key) < 4)
                kept = np.array_equal(row["clip"], before["clip"])
                assert kept == bool(row["has_conjugate"])
                assert not np.array_equal(row["erased"], row["clip"])
                assert np.array_equal(row["masked"], row["clip"]) != row["person"]
                unchanged += kept
        assert 0 < unchanged < 16


def test_tests_have_no_remedies(moving):
    options = {"fame": 1.0, "background_erasing": True, "human_mask": True}
    inputs, *_ = next(iter(read_dataset(moving, "test", **SMALL, training=False, **options)))
    assert set(inputs) == {"clip", "conjugate", "has_conjugate", "id"}


def test_the_person_needs_masks(moving):
    with pytest.raises(
        UsageError,
        match=r"Expected masks .*'test'.* for loss.human_mask, .* set loss.human_mask to 0",
    ):
        read_dataset(moving, "test", **SMALL, human_mask=True)
    with pytest.raises(ValueError, match="Expected stills with stillmix"):
        read_dataset(moving, "train", **SMALL, stillmix=0.5)
    with pytest.raises(ValueError, match=r"Expected fame in 0..1. Received fame=2"):
        read_dataset(moving, "train", **SMALL, fame=2.0)
