"""The channels are standardized by the features that a stage begins with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aacf_tf import build_model, recipes
from aacf_tf.runs.run import Run
from aacf_tf.training import loop, restoring


@pytest.fixture
def apart(tiny_recipe):
    stage = dataclasses.replace(tiny_recipe.stages[0], epochs=1, pairs_first=0.0)
    recipe = recipes.override(tiny_recipe, "loss.form", "apart")
    return dataclasses.replace(recipe, stages=(stage,), score="average")


def test_the_initial_features_are_kept_by_checkpoints(apart, squares_data, tmp_path):
    given = build_model(apart, 2).backbone
    run = Run.open(apart, squares_data, tmp_path)
    (stage,) = apart.stages
    batches = run.batches("train", stage, training=False)
    pooled = [
        given(inputs["clip"], training=False).numpy().mean((1, 2, 3)) for inputs, *_ in batches
    ]
    pooled = np.concatenate(pooled)
    loop.train(run, given)
    head = restoring.restore(run, stage, best=False).head
    np.testing.assert_allclose(head.mean, pooled.mean(0), atol=1e-5)
    np.testing.assert_allclose(head.deviation, np.maximum(pooled.std(0), 1e-3), atol=1e-5)


@pytest.mark.slow
def test_later_epochs_begin_with_another_backbone_and_keep_the_numbers(
    apart, squares_data, tmp_path
):
    longer = recipes.override(apart, "stages.0.epochs", 2)
    heads = []
    for recipe in (apart, longer):
        run = Run.open(recipe, squares_data, tmp_path)
        loop.train(run)
        heads.append(restoring.restore(run, recipe.stages[0], best=False).head)
    first, resumed = heads
    np.testing.assert_array_equal(resumed.mean, first.mean)
    np.testing.assert_array_equal(resumed.deviation, first.deviation)
    assert np.abs(resumed.average_classifier.kernel - first.average_classifier.kernel).max() > 0
