"""A recipe small enough to train in seconds on `squares_data`."""

from __future__ import annotations

import dataclasses

import pytest

from aacf_tf import recipes


@pytest.fixture(autouse=True)
def fixed_weights():
    """Initial weights are the same in every run."""
    from tensorflow import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
def tiny_recipe() -> recipes.Recipe:
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
