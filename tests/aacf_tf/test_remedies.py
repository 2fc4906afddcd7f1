"""Every remedy on another head, from the plan to one trained epoch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aacf_tf import pipeline, recipes
from aacf_tf.runs.run import Run
from aacf_tf.training import loop
from tfrecords import ClipPair, write_dataset
from tfrecords.utils.errors import UsageError

APART = {"loss.form": "apart"}


@pytest.fixture(scope="module")
def masked_data(tmp_path_factory):
    """Eight moving squares with masks to train on, and two to validate."""
    rng = np.random.default_rng(0)

    def pairs(split, count):
        for index in range(count):
            still = rng.integers(0, 60, (6, 24, 24, 3)).astype(np.uint8)
            clip, mask = still.copy(), np.zeros((6, 24, 24), bool)
            for t in range(6):
                y, x = (4, 2 + 3 * t) if index % 2 else (2 + 3 * t, 4)
                clip[t, y : y + 5, x : x + 5] = 220
                mask[t, y : y + 5, x : x + 5] = True
            yield ClipPair(f"{split}-{index}", clip, still, ("ab"[index % 2],), 6.0, mask)

    directory = tmp_path_factory.mktemp("masked")
    splits = {"train": pairs("train", 8), "validation": pairs("validation", 2)}
    write_dataset(directory, splits, labels=["a", "b"], num_shards=1)
    return directory


def change(recipe, **fields):
    for path, value in fields.items():
        recipe = recipes.override(recipe, path.replace("__", "."), value)
    return recipe


@pytest.fixture
def recipe(tiny_recipe):
    return change(
        tiny_recipe,
        stages__0__epochs=1,
        stages__0__pairs_first=0.0,
        data__crop=1.0,
        baseline="none",
    )


@pytest.mark.parametrize(
    ("remedy", "head", "form", "line"),
    [
        pytest.param(
            *("data.fame", "aacf", "scratch", "changes    fame in 0.5 of the clips"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("data.stillmix", "average", "scratch", "changes    stillmix in 0.5 of the clips"),
            marks=pytest.mark.slow,
        ),
        ("loss.background_erasing", "average", "scratch", "+ 0.5 background_erasing"),
        pytest.param(
            *("loss.background_erasing", "aacf", "apart", "+ 0.5 background_erasing"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("loss.human_mask", "linear_factors", "scratch", "+ 0.5 human_mask"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_one_epoch(masked_data, recipe, tmp_path, capsys, remedy, head, form, line):
    recipe = change(recipe, head=head, loss__form=form)
    recipe = recipes.override(recipe, remedy, 0.5)
    recipes.check(recipe)
    pipeline.run(recipe, masked_data, tmp_path, mode="plan")
    assert line in capsys.readouterr().out
    run = Run.open(recipe, masked_data, tmp_path)
    loop.train(run)
    entry = json.loads((run.log_folder(recipe.stages[0]) / "history.json").read_text())[-1]
    assert np.isfinite(entry["loss"])
    name = remedy.partition(".")[2]
    if remedy.startswith("loss"):
        # Validation has no such view, but the model has its term.
        assert entry[name] > 0 and entry[f"val_{name}"] == 0
    if name == "stillmix":
        stills = np.load(tmp_path / "stillmix" / "frames.npy")
        # Eight passes over eight clips, the better half.
        assert stills.shape == (32, 24, 24, 3) and stills.dtype == np.uint8
        again = Run.open(recipe, masked_data, tmp_path)
        loop.train(again)
        np.testing.assert_array_equal(again.stills, stills)
        inputs, *_ = Run.open(recipe, masked_data, tmp_path).replay(recipe.stages[0], 1, 1)
        assert inputs["clip"].shape == (4, 6, 24, 24, 3)


def test_a_stage_of_another_head_has_no_remedy(recipe):
    recipe = change(
        recipe, data__fame=0.5, data__stillmix=0.5, loss__human_mask=1.0, stages__0__head="average"
    )
    plan = recipes.plan_stage(recipe, recipe.stages[0])
    assert (plan.fame, plan.stillmix) == (0, 0) and [*plan.loss_weights] == ["classification"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.fame": 1.5}, r"data.fame: expected 0 to 1, received 1.5"),
        ({"loss.human_mask": -1.0}, r"loss.human_mask: expected at least 0, received -1"),
        (
            {"data.stillmix": 0.5, "modality": "flow"},
            r"data.stillmix: expected 0 with modality=flow",
        ),
        ({"data.fame": 0.5, "data.frames": 1}, r"data.fame: expected 0 where a clip is one frame"),
        (
            {"loss.background_erasing": 1.0, "data.views": 2, "stages.0.backbone_rate": 0.0},
            r"data.views: expected 0 with loss.background_erasing, .* received 2",
        ),
    ],
)
def test_what_cannot_be_trained_is_named(recipe, changes, message):
    for path, value in changes.items():
        recipe = recipes.override(recipe, path, value)
    with pytest.raises(UsageError, match=message):
        recipes.check(recipe)


def test_the_person_needs_masks(recipe, squares_data, tmp_path):
    run = Run.open(change(recipe, loss__human_mask=1.0), squares_data, tmp_path)
    with pytest.raises(UsageError, match=r"Expected masks .*'train' .*--set loss.human_mask=0"):
        run.check_data()
