"""Recipes as data."""

from __future__ import annotations

import json

import pytest

from aacf_tf import recipes
from tfrecords.errors import UsageError


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_round_trip_and_docstring(name):
    recipe = recipes.load_recipe(name)
    assert recipe.name == name
    assert recipes.from_dict(recipes.to_dict(recipe)) == recipe
    assert "Command:" in recipes.RECIPES[name].__doc__


def test_another_backbone_leaves_the_options_of_the_first_behind():
    demo = recipes.load_recipe("demo")
    assert recipes.override(demo, "backbone", "small").backbone_options == {"width": 64}
    assert recipes.override(demo, "backbone", "i3d").backbone_options == {}


def test_the_methods_numbers():
    loss = recipes.LossOptions()
    assert loss.weights() == {
        "combined": 1.0,
        "difference": 1.0,
        "context": 0.5,
        "agreement": 1.0,
        "disagreement": 0.5,
        "presence": 0.25,
        "time_spread": 1.0,
        "swap_action": 0.5,
        "swap_uniform": 1.0,
        "background": 1.0,
        "uniform": 1.0,
    }
    assert (loss.time_spread_floor, loss.negative) == (0.8, 0.01)
    stage = recipes.load_recipe("demo").stages[0]
    assert (stage.learning_rate, stage.epochs, stage.batch_size) == (4e-3, 24, 16)
    assert (stage.warmup, stage.pairs_first, stage.weight_decay) == (0.1, 0.5, 1e-4)


def test_override_any_field():
    recipe = recipes.load_recipe("jhmdb")
    assert recipes.override(recipe, "loss.context", "0").loss.context == 0.0
    assert recipes.override(recipe, "stages.1.epochs", "7").stages[1].epochs == 7
    assert recipes.override(recipe, "data.flip", "false").data.flip is False
    assert recipes.override(recipe, "backbone", "i3d").backbone == "i3d"
    assert recipes.override(recipe, "backbone_options.width", "48").backbone_options["width"] == 48
    assert recipe.loss.context == 0.5


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("loss.nothing", "1", "expected one of combined, .* received 'nothing'"),
        ("stages.2.epochs", "1", "expected a number 0..1, received 2"),
        ("stages.1.epochs", "1.5", "type int, received 1.5"),
        ("data.flip", "1", "type bool, received 1"),
        ("seed.more", "1", "no further field"),
    ],
)
def test_wrong_fields_are_named(path, value, message):
    with pytest.raises(UsageError, match=message):
        recipes.override(recipes.load_recipe("jhmdb"), path, value)


def test_the_settings_of_an_earlier_version_are_read():
    content = recipes.to_dict(recipes.load_recipe("demo"))
    for name in ("modality", "synchronized_batch_norm", "keep", "save_minutes"):
        del content[name]
    for name in ("views", "map_crop", "class_weights", "test_clips", "test_crops"):
        del content["data"][name]
    for name in ("patience", "keep_head"):
        del content["stages"][0][name]
    assert recipes.from_dict(content) == recipes.load_recipe("demo")


def test_unknown_recipe():
    with pytest.raises(UsageError, match=r"default, demo, jhmdb or a config.json, received 'x'"):
        recipes.load_recipe("x")


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_every_recipe_passes_its_check(name):
    recipes.check(recipes.load_recipe(name))


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("data.frames", "0", "data.frames: expected at least 1, received 0"),
        ("data.crop", "2", "data.crop: expected 0.01 to 1, received 2"),
        ("data.resize", "squeeze", "data.resize: expected one of stretch, short_side"),
        ("loss.context", "NaN", "loss.context: expected at least 0, received nan"),
        ("stages.0.optimizer", "foo", "stages.0.optimizer: expected one of adam, adamw, sgd"),
        ("stages.1.epochs", "0", "stages.1.epochs: expected at least 1, received 0"),
        ("stages.0.batch_size", "0", "stages.0.batch_size: expected at least 1"),
        ("score", "x", "score: expected one of action, combined, received 'x'"),
        ("seed", "-1", "seed: expected 0 to"),
        ("keep", "0", "keep: expected at least 1, received 0"),
        ("data.class_weights", "some", "weights: expected one of nothing, balanced, received"),
    ],
)
def test_values_no_run_can_use_are_refused(path, value, message):
    recipe = recipes.override(recipes.load_recipe("jhmdb"), path, value)
    with pytest.raises(UsageError, match=message):
        recipes.check(recipe)


def test_a_recipe_from_a_runs_config(tmp_path):
    recipe = recipes.override(recipes.load_recipe("demo"), "stages.0.epochs", 3)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"recipe": recipes.to_dict(recipe)}))
    assert recipes.load_recipe(str(path)) == recipe
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"expected the config.json of a run, received .*config"):
        recipes.load_recipe(str(path))
