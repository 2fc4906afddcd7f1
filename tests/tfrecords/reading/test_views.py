"""Views of every record: each is what a test or an epoch of training sees."""

from __future__ import annotations

import numpy as np
import pytest

from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.reading.views import read_views
from tfrecords.records.dataset import load_info, shard_paths

SMALL = {"frames": 3, "size": (24, 32), "seed": 7}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """Seven clips of noise of 5..11 frames in two shards; clip 2 has no conjugate, 3 no mask."""
    random = np.random.default_rng(0)
    pairs = []
    for n in range(7):
        clip, conjugate = random.integers(0, 256, (2, 5 + n, 24, 32, 3)).astype(np.uint8)
        mask = random.random((5 + n, 24, 32)) < 0.3
        conjugate, mask = None if n == 2 else conjugate, None if n == 3 else mask
        pairs.append(ClipPair(f"clip{n}", clip, conjugate, ("walk",), mask=mask))
    directory = tmp_path_factory.mktemp("views") / "data"
    write_dataset(directory, {"train": pairs}, labels=["walk"], num_shards=2)
    return str(directory)


def rows(dataset) -> list[dict[str, np.ndarray]]:
    return list(dataset.unbatch().as_numpy_iterator())


def assert_same(row, expected):
    for name, value in row.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_views_are_what_test_and_training_see(data):
    options = {**SMALL, "crop": 0.7, "frozen_conjugates": 0.4}
    paths = shard_paths(data, load_info(data), "train")
    seen = rows(read_views(paths, **options, batch_size=4, views=3))
    expected = [
        rows(read_dataset(data, "train", **SMALL, crop=0.7, training=False, view=(0.5, 0.5, 0.5)))
    ]
    for epoch in (1, 2):
        batches = read_dataset(data, "train", **options, batch_size=7, first_epoch=epoch, epochs=1)
        expected.append(rows(batches))
    order = [inputs["id"] for inputs, _, _ in expected[0]]
    assert [row["id"] for row in seen] == np.repeat(order, 3).tolist()
    assert len({row["clip"].tobytes() for row in seen}) == 21  # the views do differ
    for view, batch in enumerate(expected):
        by_id = {inputs["id"]: inputs for inputs, _, _ in batch}
        for row in seen[view::3]:
            wanted = by_id[row["id"]]
            # Between two middle starts a test takes the first, `view` the second.
            if view or int(row["id"][4:]) % 2 == 0:
                assert_same(row, wanted)


def test_the_first_view_is_that_of_a_test(data):
    """Uncropped, in time too: the centre between two starts is one of them."""
    paths = shard_paths(data, load_info(data), "train")
    seen = rows(read_views(paths, **SMALL, views=1, masks=True))
    expected = rows(read_dataset(data, "train", **SMALL, training=False, masks=True))
    assert len(seen) == len(expected) == 7 and not all(row["has_mask"] for row in seen)
    for row, (wanted, _, _) in zip(seen, expected):
        assert_same(row, wanted)
    both = rows(read_views(paths, **SMALL, views=2))
    for row, again in zip(seen, both[::2]):
        np.testing.assert_array_equal(again["clip"], row["clip"])


def test_without_a_crop_whole_frames_stay_whole(data):
    paths = shard_paths(data, load_info(data), "train")
    options = {"frames": 1, "size": (12, 12), "resize": "whole", "batch_size": 1, "views": 2}
    shapes = {row["clip"].shape for row in rows(read_views(paths, **options))}
    assert shapes == {(1, 12, 16, 3)}
    shapes = {row["clip"].shape for row in rows(read_views(paths, **options, crop=1.0))}
    assert shapes == {(1, 12, 12, 3)}
