"""Clips whose pixels tell where they were sampled, and rows of a data set to compare."""

from __future__ import annotations

import numpy as np

from tfrecords import ClipPair, read_dataset, write_dataset

LABELS = ["run", "walk"]
SMALL = {"frames": 4, "size": (24, 32), "batch_size": 4}


def clip_of(length: int, value: int = 0, height: int = 24, width: int = 32) -> np.ndarray:
    """Channel 0 tells the frame, 1 the row, 2 the column: what was sampled can be read off."""
    t, y, x = np.mgrid[:length, :height, :width]
    return np.stack([t + value, 2 * y, 2 * x], -1).astype(np.uint8)


def pair_of(n: int, length: int = 10, conjugate="same", labels=("walk",), **options) -> ClipPair:
    clip = clip_of(length)
    conjugate = clip if isinstance(conjugate, str) else conjugate
    return ClipPair(f"clip{n}", clip, conjugate, labels, **options)


def write(directory, *pairs, **options) -> str:
    write_dataset(directory, {"train": pairs, "test": pairs}, labels=LABELS, **options)
    return str(directory)


def rows(dataset) -> list[dict[str, np.ndarray]]:
    """All rows of a data set, unbatched."""
    return [
        {**inputs, "target": target, "weight": weight}
        for inputs, target, weight in dataset.unbatch().as_numpy_iterator()
    ]


def first(directory, split="test", **options) -> dict[str, np.ndarray]:
    training = split == "train"
    return rows(read_dataset(directory, split, **{**SMALL, "training": training, **options}))[0]


def assert_equal_rows(one, two):
    assert [row["id"] for row in one] == [row["id"] for row in two] and one
    for left, right in zip(one, two):
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def times(row, name="clip") -> list[int]:
    return row[name][:, 0, 0, 0].tolist()
