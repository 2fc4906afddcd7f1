"""The channels are standardized by the features that a stage begins with."""

from __future__ import annotations

import dataclasses

import numpy as np

from aacf_tf import build_model, recipes
from aacf_tf.runs.run import Run
from aacf_tf.training import loop, restoring


def test_the_initial_features_are_kept_by_checkpoints(squares_data, tiny_recipe, tmp_path):
    stage = dataclasses.replace(tiny_recipe.stages[0], epochs=1, pairs_first=0.0)
    recipe = recipes.override(tiny_recipe, "loss.form", "apart")
    recipe = dataclasses.replace(recipe, stages=(stage,), score="average")
    given = build_model(recipe, 2).backbone
    run = Run.open(recipe, squares_data, tmp_path)
    batches = run.batches("train", stage, training=False)
    pooled = [
        given(inputs["clip"], training=False).numpy().mean((1, 2, 3)) for inputs, *_ in batches
    ]
    pooled = np.concatenate(pooled)
    loop.train(run, given)
    head = restoring.restore(run, stage, best=False).head
    np.testing.assert_allclose(head.mean, pooled.mean(0), atol=1e-5)
    np.testing.assert_allclose(head.deviation, np.maximum(pooled.std(0), 1e-3), atol=1e-5)
    # Later epochs begin with another backbone and keep the numbers.
    longer = recipes.override(recipe, "stages.0.epochs", 2)
    run = Run.open(longer, squares_data, tmp_path)
    loop.train(run)
    resumed = restoring.restore(run, longer.stages[0], best=False).head
    np.testing.assert_array_equal(resumed.mean, head.mean)
    np.testing.assert_array_equal(resumed.deviation, head.deviation)
    assert np.abs(resumed.average_classifier.kernel - head.average_classifier.kernel).max() > 0
