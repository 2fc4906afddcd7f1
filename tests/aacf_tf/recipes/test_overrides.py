"""Recipes as data."""

from __future__ import annotations

import dataclasses
import json

import pytest

from aacf_tf import recipes
from tfrecords.utils.errors import UsageError


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
        "action": 1.0,
        "average": 1.0,
        "average_uniform": 0.5,
        "background_erasing": 0.0,
        "human_mask": 0.0,
    }
    assert (loss.time_spread_floor, loss.negative) == (0.8, 0.01)
    stage = recipes.load_recipe("demo").stages[0]
    assert (stage.learning_rate, stage.epochs, stage.batch_size) == (4e-3, 24, 16)
    assert (stage.warmup, stage.pairs_first, stage.weight_decay) == (0.1, 0.5, 1e-4)


def milestones(stage):
    """The epochs at which a stage's rate falls, and to which part of its peak."""
    return [(round(share * stage.epochs, 9), factor) for share, factor in stage.milestones]


def test_the_numbers_of_the_supplement_for_video_features():
    for name, rate, epochs, falls in (
        ("actionthread", 0.01, 60, (20, 40)),
        ("hollywood2", 0.001, 30, (10, 20)),
    ):
        recipe = recipes.load_recipe(name)
        (stage,) = recipe.stages
        assert (recipe.backbone, recipe.modality) == ("i3d", "two_stream")
        assert (recipe.data.frames, recipe.data.height, recipe.data.width) == (128, 256, 352)
        assert recipe.data.resize == "stretch"
        assert (stage.optimizer, stage.learning_rate, stage.epochs) == ("adam", rate, epochs)
        assert milestones(stage) == [(falls[0], 0.1), (falls[1], 0.01)]
        assert (stage.weight_decay, stage.warmup) == (1e-4, 0)
        # Features are extracted once, the head is trained on them.
        assert (stage.backbone_rate, recipe.head) == (0, "aacf") and recipe.data.views > 0


def test_the_numbers_of_the_supplement_for_hacs():
    recipe = recipes.load_recipe("hacs30")
    data = recipe.data
    assert recipe.backbone == "resnet3d34" and recipe.modality == "rgb"
    assert (data.frames, data.fps, min(data.height, data.width)) == (32, 16.0, 128)
    assert data.resize == "whole"  # the aspect ratio is kept
    assert recipe.loss.negative == 0.01
    last_layer, network, factorization = recipe.stages
    for stage in recipe.stages:
        assert (stage.optimizer, stage.batch_size, stage.warmup) == ("sgd", 64, 0)
        assert stage.frozen_batch_norm
    assert (last_layer.head, last_layer.backbone_rate) == ("average", 0)
    assert (last_layer.learning_rate, last_layer.epochs) == (0.001, 20)
    assert (network.head, network.backbone_rate, network.keep_head) == ("average", 1, True)
    assert (network.learning_rate, network.epochs) == (0.0001, 15)
    assert milestones(last_layer) == milestones(network) == [(0, 1)]  # a constant rate
    assert (factorization.head, factorization.backbone_rate) == (None, 0)
    assert (factorization.learning_rate, factorization.epochs) == (0.0001, 5)
    assert milestones(factorization) == [(3, 0.1)]


def test_the_numbers_of_the_supplement_for_still_images():
    recipe = recipes.load_recipe("voc2012")
    data = recipe.data
    assert (recipe.backbone, data.frames, data.resize) == ("densenet161", 1, "whole")
    assert (min(data.height, data.width), data.map_crop) == (256, 8)
    assert [stage.batch_size for stage in recipe.stages] == [32]
    assert recipe.baseline == "alone"  # .782 of average pooling beside .802


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
        ("data", "3", "--set data: expected one field of it at a time, received 3"),
        ("stages", "[3]", "--set stages: expected one field of it at a time, received"),
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


@pytest.mark.parametrize(
    "path, earlier",
    [
        ("data.fps", 0),
        ("data.fps", 0.0),
        ("data.views", 0),
        ("data.map_crop", 0),
        ("data.class_weights", ""),
        ("hidden", 0),
        ("stages.0.head", "recipe"),
        ("stages.0.head", None),
    ],
)
def test_earlier_words_for_nothing_mean_none(path, earlier):
    recipe = recipes.load_recipe("demo")
    *keys, name = path.split(".")
    content = recipes.to_dict(recipe)
    part = content
    for key in keys:
        part = part[int(key) if key.isdigit() else key]
    assert part[name] is None
    part[name] = earlier
    assert recipes.from_dict(content) == recipe
    for value in (earlier, json.dumps(earlier)):
        assert recipes.override(recipe, path, value) == recipe
    with pytest.raises(UsageError, match=f"{name}: expected a value of type .*, received False"):
        recipes.override(recipe, path, False)


def test_warmup_is_steps_or_a_share_of_them():
    recipe = recipes.override(recipes.load_recipe("demo"), "stages.0.warmup", "80")
    assert recipes.plan_stage(recipe, recipe.stages[0], 1000).warmup_steps == 80
    assert recipes.plan_stage(recipe, recipe.stages[0], 50).warmup_steps == 50
    recipe = recipes.override(recipe, "stages.0.warmup", "0.05")
    assert recipes.plan_stage(recipe, recipe.stages[0], 1000).warmup_steps == 50


def test_unknown_recipe():
    with pytest.raises(UsageError, match=r"default, demo, .* or a config.json, received 'x'"):
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
        ("score", "x", "score: expected one of action, context, combined, average, received 'x'"),
        ("seed", "-1", "seed: expected 0 to"),
        ("data.test_crops", "2", "test_crops: expected 1, 3 or 5, received 2"),
        ("stages.0.keep_head", "true", "keep_head: expected the stage before .* received 'none'"),
        ("stages.1.keep_head", "true", "train the head 'recipe', received 'average'"),
        ("keep", "0", "keep: expected at least 1, received 0"),
        ("export_precision", "auto", "export_precision: expected one of float32, mixed_bfloat16"),
        ("data.class_weights", "some", "weights: expected one of nothing, balanced, received"),
        ("data.frames", "1", r"frozen_conjugates: expected 0 .* \(data.frames=1\).*, received 0.5"),
        ("data.map_crop", "4", r"map_crop: expected 0 where no .* \(data.views=0\), received 4"),
        ("stages.1.name", "backbone", "stages: expected .* of its own .*'backbone', 'backbone'"),
        ("stages.0.name", "../x", r"a folder can have, received '\.\./x', 'factorization'"),
    ],
)
def test_values_no_run_can_use_are_refused(path, value, message):
    recipe = recipes.override(recipes.load_recipe("jhmdb"), "data.frozen_conjugates", 0.5)
    recipe = recipes.override(recipe, path, value)
    with pytest.raises(UsageError, match=message):
        recipes.check(recipe)


def test_winograd_is_for_float32():
    recipe = recipes.override(recipes.load_recipe("jhmdb"), "export_winograd", "true")
    recipes.check(recipe)
    recipe = recipes.override(recipe, "export_precision", "mixed_bfloat16")
    with pytest.raises(UsageError, match=r"export_winograd: expected .*, received true"):
        recipes.check(recipe)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"swap": 0.5}, r"data\.views: expected 0 with data\.swap, .* received 1"),
        ({"frozen_conjugates": 0.5}, "expected 2 or more with data.frozen_conjugates, .* 1"),
    ],
)
def test_what_a_cache_cannot_hold_is_refused(fields, message):
    recipe = recipes.load_recipe("hollywood2")
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **fields))
    with pytest.raises(UsageError, match=message):
        recipes.check(recipe)


def test_an_edited_config_is_checked(tmp_path):
    content = recipes.to_dict(recipes.load_recipe("demo"))
    path = tmp_path / "config.json"
    for stages, message in (
        ([], "stages: expected one or more, .* received none"),
        ([{**content["stages"][0], "epochs": "5"}], "0.epochs: expected .* int, received '5'"),
        ([{**content["stages"][0], "epochs": 1.5}], "0.epochs: expected .* int, received 1.5"),
        ([{**content["stages"][0], "milestones": [3]}], r"0.milestones: expected pairs such as"),
        ([{**content["stages"][0], "rate": 1}], "stages.0.rate: expected one of name, head, .*'r"),
    ):
        path.write_text(json.dumps({"recipe": {**content, "stages": stages}}))
        with pytest.raises(UsageError, match=message):
            recipes.check(recipes.load_recipe(str(path)))
    for fields, message in (
        ({"data": {**content["data"], "flip": "no"}}, "data.flip: expected .* bool, received 'no'"),
        ({"backbone_options": [1]}, r"backbone_options: expected a value of type dict"),
        (
            {"stages": [{**content["stages"][0], "milestones": "x"}]},
            r"0.milestones: expected pairs",
        ),
        ({"recipe": "demo"}, "recipe: expected one of name, data, .* received 'recipe'"),
    ):
        path.write_text(json.dumps({"recipe": {**content, **fields}}))
        with pytest.raises(UsageError, match=message):
            recipes.load_recipe(str(path))


def test_a_recipe_from_a_runs_config(tmp_path):
    recipe = recipes.override(recipes.load_recipe("demo"), "stages.0.epochs", 3)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"recipe": recipes.to_dict(recipe)}))
    assert recipes.load_recipe(str(path)) == recipe
    path.write_text("{}")
    with pytest.raises(
        UsageError, match=r"expected the config.json of a run, .* \(recipe: expected fields by name"
    ):
        recipes.load_recipe(str(path))
