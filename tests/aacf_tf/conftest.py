"""A tiny data set of moving squares, and a recipe small enough to train in seconds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aacf_tf import recipes
from tfrecords import ClipPair, write_dataset


def moving_squares(split: str, count: int, seed: int) -> list[ClipPair]:
    """Clips of two classes (a square moves right or down), the square absent in the conjugate."""
    rng = np.random.default_rng(seed)
    pairs = []
    for index in range(count):
        clip = rng.integers(0, 60, (6, 24, 24, 3)).astype(np.uint8)
        conjugate = clip.copy()
        mask = np.zeros((6, 24, 24), bool)
        for t in range(6):
            y, x = (4, 2 + 3 * t) if index % 2 == 0 else (2 + 3 * t, 4)
            clip[t, y : y + 5, x : x + 5] = 220
            mask[t, y : y + 5, x : x + 5] = True
        pairs.append(
            ClipPair(
                id=f"{split}-{index}",
                clip=clip,
                conjugate=conjugate,
                labels=("right",) if index % 2 == 0 else ("down",),
                fps=6.0,
                mask=mask if split != "train" else None,
            )
        )
    return pairs


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Directory of a data set: train 16, validation 4, test 8, test_more 8 clips."""
    directory = tmp_path_factory.mktemp("data") / "squares"
    counts = {"train": 16, "validation": 4, "test": 8, "test_more": 8}
    splits = {
        split: moving_squares(split, count, seed) for seed, (split, count) in enumerate(counts.items())
    }
    write_dataset(directory, splits, labels=["down", "right"], num_shards=2)
    return directory


@pytest.fixture
def tiny_recipe():
    """The demo's recipe for that data: two epochs of four steps."""
    recipe = recipes.load_recipe("demo")
    stage = dataclasses.replace(recipe.stages[0], epochs=2, batch_size=4)
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, frames=6, height=24, width=24),
        stages=(stage,),
        backbone_options={"width": 12},
        hidden=8,
        precision="float32",
    )
