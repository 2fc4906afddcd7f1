"""The phases of a schedule in the curves of a report."""

from __future__ import annotations

import dataclasses

import pytest

from aacf_tf import recipes
from aacf_tf.recipes import plan_stage
from aacf_tf.report.schedule import find_phases, trained_stages


def test_phases_are_those_of_the_plan(tiny_recipe):
    stage = dataclasses.replace(
        tiny_recipe.stages[0], epochs=10, warmup=0.1, milestones=[(0.6, 0.1)], backbone_start=0.25
    )
    phases = find_phases(plan_stage(tiny_recipe, stage, steps=100))
    assert [phase.epoch for phase in phases] == [1, 2.5, 5, 6]
    texts = [phase.text for phase in phases]
    assert "warm-up" in texts[0] and "backbone" in texts[1]
    assert "only those of the pairs" in texts[2] and "0.1 of its peak" in texts[3]
    assert not find_phases(plan_stage(tiny_recipe, stage, steps=0))  # data without training clips


def test_curves_of_every_stage_are_marked(run, squares_data):
    from aacf_tf.runs.run import Run

    workdir, recipe, _ = run
    (stage,) = trained_stages(Run.open(recipe, squares_data, workdir))
    assert stage.name == "stage main"
    assert [title for title, _ in stage.plots] == ["loss", "terms of the loss", "accuracy"]
    # A pairs-first half of two epochs; no step of warm-up is left of eight.
    assert [phase.epoch for phase in stage.phases] == [1]


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_s_phases_have_a_text(name):
    recipe = recipes.load_recipe(name)
    for stage in recipe.stages:
        phases = find_phases(plan_stage(recipe, stage, steps=100 * stage.epochs))
        assert all(0 < phase.epoch <= stage.epochs and phase.text for phase in phases)
