"""Variants of recipes for pretrained weights."""

from __future__ import annotations

import pytest

from aacf_tf import recipes
from tfrecords.utils.errors import UsageError


@pytest.mark.parametrize("name", ["default", "stills"])
@pytest.mark.parametrize("tuned", [False, True])
def test_the_users_recipes_have_one_short_stage(name, tuned):
    recipe = recipes.pretrained(recipes.load_recipe(name), fine_tune=tuned)
    recipes.check(recipe)
    (stage,) = recipe.stages
    assert stage.learning_rate == 2e-3 and stage.optimizer == "adamw"
    assert stage.epochs == (8 if tuned else 16)
    assert (stage.backbone_rate, stage.frozen_batch_norm) == ((0.2, True) if tuned else (0, False))
    assert recipes.plan_stage(recipe, stage).cached_views == (0 if tuned else 1)
    assert recipe.data.height % 32 == recipe.data.width % 32 == 1
    whole = name == "stills"
    # Windows of photographs keep such sides in training, too, or are cut out of features.
    assert recipe.data.crop == (0.875 if tuned and not whole else 1)
    assert recipe.data.map_crop == (8 if whole and not tuned else None)
    assert (recipe.score, recipe.baseline, recipe.loss.form) == ("combined", "alone", "apart")
    assert (recipe.pooled_length, recipe.action_maps) == (8, 4)
    weights = (recipe.average_weight, recipe.context_weight)
    assert weights == ((1, 0.1) if name == "stills" else (0.5, 0))
    assert recipes.plan_stage(recipe, stage).loss_weights == {
        "action": 1.0,
        "difference": 0.5,
        "context": 0.5,
        "uniform": 0.25,
        "agreement": 1.0,
        "disagreement": 0.5,
        "presence": 0.5,
        "average": 1.0,
    }


@pytest.mark.parametrize("name", ["actionthread", "hollywood2", "hacs30", "voc2012"])
def test_the_papers_keep_schedule_and_size(name):
    before = recipes.load_recipe(name)
    recipe = recipes.pretrained(before)
    recipes.check(recipe)
    assert (recipe.stages, recipe.data) == (before.stages, before.data)
    assert (recipe.loss.form, recipe.score) == ("apart", "combined")


@pytest.mark.parametrize("name", ["demo", "jhmdb"])
def test_recipes_from_scratch_stay(name):
    assert recipes.pretrained(recipes.load_recipe(name)) == recipes.load_recipe(name)


def test_only_apart_has_an_average_expert():
    recipe = recipes.override(recipes.load_recipe("demo"), "score", "average")
    with pytest.raises(UsageError, match=r"score: .* received average with aacf and scratch"):
        recipes.check(recipe)
    recipes.check(recipes.override(recipe, "loss.form", "apart"))
    recipes.check(recipes.override(recipe, "head", "average"))


def test_an_old_recipe_is_of_the_form_scratch():
    content = recipes.to_dict(recipes.load_recipe("demo"))
    for name in ("form", "average_on", "branch_gradient", "action", "average", "average_uniform"):
        del content["loss"][name]
    del content["context_weight"], content["average_weight"], content["pooled_length"]
    assert recipes.from_dict(content) == recipes.load_recipe("demo")
