"""Swapped actors: an actor is pasted into another clip's scene, alike however it is read."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.clips import (
    LABELS,
    SMALL,
    assert_equal_rows,
    first,
    pair_of,
    rows,
    write,
)
from tfrecords import read_dataset
from tfrecords.utils.errors import UsageError

SWAP = {**SMALL, "masks": True, "crop": 0.7, "frozen_conjugates": 0.3, "epochs": 4, "seed": 5}


@pytest.fixture(scope="module")
def actors(tmp_path_factory) -> str:
    """Twelve clips with noise for pixels; one without a mask, two without a conjugate.

    The actor leaves the frame of clip 4 half way and is never in that of clip 5.
    """
    random = np.random.default_rng(0)
    pairs = []
    for n in range(12):
        clip, conjugate = random.integers(0, 256, (2, 8, 24, 32, 3)).astype(np.uint8)
        mask = np.zeros((8, 24, 32), bool)
        for t in range(0 if n == 5 else 4 if n == 4 else 8):
            mask[t, 4 + t : 14 + t, 2 * t : 9 + 2 * t] = True
        mask = None if n == 1 else mask
        conjugate = None if n in (2, 3) else conjugate
        pairs.append(pair_of(n, 8, conjugate, labels=[LABELS[n % 2]], mask=mask))
        pairs[-1].clip = clip
    # One shard: cached or not, the order is then the same.
    return write(tmp_path_factory.mktemp("data") / "actors", *pairs, num_shards=1)


def paste(row, scene) -> np.ndarray:
    """The actor of a row on another row's conjugate, by plain numpy."""
    result = np.empty_like(row["clip"])
    height, width = row["mask"].shape[1:]
    for t, y, x in np.ndindex(*row["mask"].shape):
        around = [
            (v, u)
            for v in range(max(0, y - 1), min(height, y + 2))
            for u in range(max(0, x - 1), min(width, x + 2))
        ]
        near = [
            row["mask"][t, max(0, v - 1) : v + 2, max(0, u - 1) : u + 2].max() for v, u in around
        ]
        alpha = np.mean(near)
        mixed = alpha * row["clip"][t, y, x] + (1 - alpha) * scene["conjugate"][t, y, x]
        result[t, y, x] = np.rint(mixed)
    return result


@pytest.mark.parametrize("cache", [False, True])
def test_an_actor_is_swapped_into_the_scene_of_its_neighbour(actors, cache):
    # What is drawn else does not change with `swap`: the rows to build the answer from.
    plain = rows(read_dataset(actors, "train", **SWAP, cache=cache))
    seen = rows(read_dataset(actors, "train", **SWAP, cache=cache, swap=0.6))
    possible = 0
    for n, (before, after) in enumerate(zip(plain, seen)):
        neighbour = plain[n - n % 4 + (n - 1) % 4]
        still = np.array_equal(neighbour["conjugate"], neighbour["clip"][[0] * 4])
        can = before["mask"].any() and neighbour["has_conjugate"] and not still
        possible += can
        assert can or not after["swapped"]
        for name in ("id", "target", "weight", "mask", "has_mask"):
            np.testing.assert_array_equal(after[name], before[name])
        if after["swapped"]:
            difference = after["clip"].astype(int) - paste(before, neighbour)
            assert np.abs(difference).max() <= 1  # where float32 rounds the other way
            assert np.mean(difference != 0) < 0.01
            np.testing.assert_array_equal(after["conjugate"], neighbour["conjugate"])
            assert after["has_conjugate"]
            assert after["context_target"] == neighbour["target"]
        else:
            for name in ("clip", "conjugate", "has_conjugate"):
                np.testing.assert_array_equal(after[name], before[name])
            assert after["context_target"] == before["target"]
    count = sum(row["swapped"] for row in seen)
    assert len(seen) == 48 and 0.35 * possible < count < 0.85 * possible and count > 6
    assert sum(row["context_target"] != row["target"] for row in seen) > 2
    assert not any(row["swapped"] for row in seen if row["id"] in (b"clip1", b"clip5"))
    assert any(row["swapped"] for row in seen if row["id"] in (b"clip2", b"clip3"))


def test_swaps_cached_or_not_resumed_or_not_are_the_same(actors):
    options = {**SWAP, "swap": 0.7, "masks": False}
    whole = rows(read_dataset(actors, "train", **options))
    assert "mask" not in whole[0] and "has_mask" not in whole[0] and "swap" not in whole[0]
    assert any(row["swapped"] for row in whole[24:])
    assert_equal_rows(rows(read_dataset(actors, "train", **options, cache=True)), whole)
    rest = {**options, "first_epoch": 2, "epochs": 2}
    for cache in (False, True):
        assert_equal_rows(rows(read_dataset(actors, "train", **rest, cache=cache)), whole[24:])


def test_contract_of_a_swapped_batch(actors):
    inputs, targets, _ = next(iter(read_dataset(actors, "train", **SMALL, swap=1.0)))
    shapes = {name: (value.dtype.name, value.shape.as_list()) for name, value in inputs.items()}
    assert set(shapes) == {"clip", "conjugate", "has_conjugate", "id", "swapped", "context_target"}
    assert shapes["clip"] == shapes["conjugate"] == ("uint8", [4, 4, 24, 32, 3])
    assert shapes["swapped"] == ("bool", [4])
    assert shapes["context_target"] == ("int32", targets.shape.as_list())


def test_no_swap_in_a_batch_of_one_nor_in_tests(actors):
    options = {**SMALL, "swap": 1.0, "batch_size": 1}
    assert not any(row["swapped"] for row in rows(read_dataset(actors, "train", **options)))
    assert "swapped" not in first(actors, swap=1.0)


def test_swap_needs_masks(twelve):
    with pytest.raises(UsageError, match=r"Expected masks .* split 'train' .*twelve.*data\.swap"):
        read_dataset(twelve, "train", **SMALL, swap=0.5)
    read_dataset(twelve, "test", **SMALL, training=False, swap=0.5)  # tests swap nothing
