"""A stage compiled by hand."""

from __future__ import annotations

import dataclasses

from aacf_tf import recipes
from aacf_tf.recipes import plan_stage


def test_a_stage_of_the_demo_by_hand():
    recipe = recipes.load_recipe("demo")
    plan = plan_stage(recipe, recipe.stages[0], steps=24 * 93)
    assert (plan.head, plan.pairs, plan.swap, plan.frozen_conjugates) == ("aacf", True, 0, 0)
    assert plan.steps_per_epoch == 93
    assert plan.warmup_steps == 223  # a tenth, rounded down
    assert plan.milestones == ()
    assert (plan.pairs_first_steps, plan.first_judged_epoch) == (1116, 12)
    assert (plan.coupled_decay, plan.decoupled_decay) == (1e-4, None)
    assert (plan.test_batch_size, plan.cached_views, plan.backbone_start_step) == (16, 0, 0)
    assert plan.loss_weights == {
        "combined": 1.0,
        "difference": 1.0,
        "context": 0.5,
        "agreement": 1.0,
        "disagreement": 0.5,
        "presence": 0.25,
        "time_spread": 1.0,
    }


def test_stages_of_other_recipes_by_hand():
    recipe = recipes.load_recipe("jhmdb")
    backbone, factorization = (plan_stage(recipe, stage, 1000) for stage in recipe.stages)
    assert (backbone.head, backbone.pairs, backbone.swap) == ("average", False, 0)
    assert backbone.frozen_conjugates == 1  # nothing looks at conjugates
    assert backbone.loss_weights == {"classification": 1.0}
    assert (backbone.coupled_decay, backbone.decoupled_decay) == (0, 0.05)
    assert (factorization.head, factorization.swap, factorization.warmup_steps) == (
        "aacf",
        0.67,
        30,
    )
    assert {"swap_action", "swap_uniform"} < {*factorization.loss_weights}
    assert "difference" not in factorization.loss_weights  # its weight is 0
    hacs = recipes.load_recipe("hacs30")
    last = plan_stage(hacs, hacs.stages[-1], 50)
    assert last.milestones == ((30, 0.1),) and last.test_batch_size == 1
    frozen = plan_stage(recipes.load_recipe("voc2012"), recipes.load_recipe("voc2012").stages[0])
    assert frozen.cached_views == 1


def test_what_a_head_without_factors_leaves_out():
    recipe = dataclasses.replace(recipes.load_recipe("jhmdb"), head="average")
    stage = dataclasses.replace(recipe.stages[1], pairs_first=0.5, epochs=3)
    plan = plan_stage(recipe, stage, 30)
    assert plan.pairs_first_steps == 0  # it has no pair terms to begin with
    # Swapped pairs are data that it is trained on, but it has no terms of their own.
    assert plan.swap == 0.67 and plan.loss_weights == {"classification": 1.0}
    named = plan_stage(recipe, dataclasses.replace(stage, head="aacf"), 30)
    assert named.swap == 0 and "swap_action" not in named.loss_weights


def test_the_terms_of_the_form_apart():
    recipe = recipes.override(recipes.load_recipe("jhmdb"), "loss.form", "apart")
    backbone, factorization = (recipes.plan_stage(recipe, stage) for stage in recipe.stages)
    assert backbone.loss_weights == {"classification": 1.0}
    assert factorization.loss_weights == {
        "action": 1.0,
        "context": 0.5,
        "uniform": 1.0,
        "agreement": 1.0,
        "disagreement": 0.5,
        "presence": 0.5,
        "average": 1.0,
        "average_swap": 1.0,
        "average_uniform": 0.5,
    }
    clips = recipes.override(recipe, "loss.average_on", "clips")
    kept = recipes.plan_stage(clips, recipe.stages[1]).loss_weights
    left = {*factorization.loss_weights} - {*kept}
    assert left == {"average_swap", "average_uniform"}
