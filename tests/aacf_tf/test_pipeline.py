"""The order of the steps, and what a run directory refuses."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf import pipeline, recipes
from aacf_tf.runs.run import Run
from tfrecords.records.dataset import INFO_FILE
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UsageError


@pytest.fixture
def quick(tiny_recipe):
    """A recipe of one epoch without a baseline."""
    recipe = recipes.override(tiny_recipe, "stages.0.epochs", 1)
    return dataclasses.replace(recipe, baseline="none")


@pytest.fixture
def without_tests(squares_data, tmp_path):
    """The data set of moving squares with no split to judge on."""
    data = tmp_path / "data"
    shutil.copytree(squares_data, data)
    info = json.loads((data / INFO_FILE).read_text())
    info["splits"] = {name: info["splits"][name] for name in ("train", "validation")}
    (data / INFO_FILE).write_text(json.dumps(info))
    return data


@pytest.mark.slow
def test_without_a_test_split_the_model_is_exported_all_the_same(
    quick, without_tests, tmp_path, caplog
):
    workdir = tmp_path / "run"
    pipeline.run(quick, without_tests, workdir)
    assert "no split whose name begins with 'test'" in caplog.text
    assert (workdir / "export/aacf/1/saved_model.pb").is_file()
    assert not (workdir / "metrics.json").exists()
    with pytest.raises(UsageError, match="whose name begins with 'test'"):
        pipeline.run(quick, without_tests, workdir, mode="evaluate")


def test_a_directory_holds_one_run(quick, squares_data, without_tests, tmp_path):
    workdir = tmp_path / "run"
    for mode in ("evaluate", "export", "report"):
        with pytest.raises(UsageError, match="--workdir: expected a trained run"):
            pipeline.run(quick, squares_data, workdir, mode=mode)
        assert not workdir.exists()
    pipeline.run(quick, squares_data, workdir, mode="train")
    (plan,) = json.loads((workdir / "config.json").read_text())["plan"]
    assert (plan["stage"], plan["head"], plan["steps"]) == ("main", "aacf", 4)
    other = recipes.override(quick, "loss.context", 0)
    with pytest.raises(UsageError, match=r"another recipe \(loss.context 0.5, now 0.0\)"):
        pipeline.run(other, squares_data, workdir, mode="train")
    with pytest.raises(UsageError, match="another data"):
        pipeline.run(quick, without_tests, workdir, mode="train")
    # Where a run goes on is not what it is.
    moved = dataclasses.replace(quick, precision="auto", strategy="one_device", keep=3)
    moved = recipes.override(moved, "data.test_clips", 2)
    pipeline.run(moved, squares_data, workdir, mode="train")  # finished already


def test_a_run_refused_before_it_began_leaves_its_directory_free(quick, squares_data, tmp_path):
    wrong = recipes.override(quick, "weights", str(tmp_path / "rgb_imagent.ckpt"))
    with pytest.raises(UsageError, match="rgb_imagent"):
        pipeline.run(wrong, squares_data, tmp_path / "run", mode="train")
    with pytest.raises(UsageError, match="--workdir: expected a trained run"):
        pipeline.run(quick, squares_data, tmp_path / "run", mode="evaluate")
    assert Run.open(quick, squares_data, tmp_path / "run").recipe == quick


def test_plan_says_what_would_be_done(quick, squares_data, tmp_path, capsys):
    pipeline.run(quick, squares_data, tmp_path / "run", mode="plan")
    text = capsys.readouterr().out
    assert "stage main: aacf, epochs: 1, steps of each: 4, pairs a step: 4" in text
    assert "train: 16 clips, 16 with a conjugate" in text
    assert "1 combined + 1 difference + 0.5 context + 1 agreement" in text
    assert "adam, weight decay 0.0001 (coupled, kernels)" in text
    assert "to step 2 only difference and presence" in text
    assert not (tmp_path / "run").exists()


def test_plan_refuses_data_that_do_not_fit(quick, squares_data, tmp_path):
    flow = dataclasses.replace(quick, modality="flow")
    with pytest.raises(UsageError, match="Expected optical flow in the records"):
        pipeline.run(flow, squares_data, tmp_path / "run", mode="plan")
    wrong = recipes.override(quick, "weights", str(tmp_path / "rgb_imagent.ckpt"))
    with pytest.raises(UsageError, match="rgb_imagent"):
        pipeline.run(wrong, squares_data, tmp_path / "run", mode="plan")


def test_plan_shows_each_stage_s_schedule(tiny_recipe, squares_data, tmp_path, capsys):
    hacs = recipes.load_recipe("hacs30")
    stages = tuple(dataclasses.replace(stage, batch_size=4) for stage in hacs.stages)
    recipe = dataclasses.replace(
        tiny_recipe, stages=stages, data=dataclasses.replace(tiny_recipe.data, views=2)
    )
    pipeline.run(recipe, squares_data, tmp_path / "run", mode="plan")
    text = capsys.readouterr().out
    parts = text.split("\nstage ")[1:]
    rates = [part.split("  rate       ")[1].split("\n")[0] for part in parts]
    assert rates == [
        "0.001 at epoch 0",
        "0.0001 at epoch 0",
        "0.0001 at epoch 0, 1e-05 at epoch 3",
    ]
    assert (
        "head average, a new one; the backbone small is frozen, its features cached in 2 views"
        in (parts[0])
    )
    assert "Warning: a frozen backbone of random weights" in parts[0]
    assert "that of the stage before; the backbone small, its batch norms frozen" in parts[1]
    assert "1 classification" in parts[1] and "0.25 presence" in parts[2]


def test_features_mode_wants_a_frozen_backbone(quick, squares_data, tmp_path):
    with pytest.raises(UsageError, match=r"--mode=features: expected .* data.views=0 and main: 1"):
        pipeline.run(quick, squares_data, tmp_path / "run", mode="features")


def test_several_seeds_are_summed_up(quick, squares_data, tmp_path, capsys, monkeypatch):
    def run(recipe, data, workdir, **options):
        """In the place of a run: what it would reach depends on the seed."""
        for folder, head in ((workdir, "aacf"), (workdir / "baselines/average", "average")):
            scores = {"top1": 0.1 * recipe.seed, "mean_ap": None}
            entry = {"clips": 8, "combined": scores, "localization": {"action_mass": 0.5}}
            content = {"recipe": "demo", "head": head, "labels": ["a"], "splits": {"test": entry}}
            write_json(folder / "metrics.json", content)

    monkeypatch.setattr(pipeline, "run", run)
    pipeline.run_seeds(quick, [3, 6], squares_data, tmp_path)
    content = json.loads((tmp_path / "seeds.json").read_text())
    assert content["seeds"] == [3, 6] and content["head"] == "aacf"
    for splits in (content["splits"], content["average"]):
        found = splits["test"]["combined"]
        assert found["top1"]["mean"] == pytest.approx(0.45)
        assert found["top1"]["std"] == pytest.approx(0.3 / 2**0.5)
        assert found["mean_ap"] is None
        assert splits["test"]["clips"]["values"] == [8, 8]
    text = capsys.readouterr().out
    assert text.count("0.450 ± 0.212") == 2 and "0.500 ± 0.000" in text


@pytest.mark.slow
def test_a_seed_of_several_is_the_run_with_that_seed(quick, squares_data, tmp_path):
    pipeline.run_seeds(quick, [3, 4], squares_data, tmp_path)
    alone = dataclasses.replace(quick, seed=4)
    pipeline.run(alone, squares_data, tmp_path / "alone", mode="train")
    readers = [
        tf.train.load_checkpoint(
            tf.train.latest_checkpoint(str(tmp_path / folder / "checkpoints/main"))
        )
        for folder in ("seed-4", "alone", "seed-3")
    ]
    name = "head/action_classifier/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    one, other, first = (reader.get_tensor(name) for reader in readers)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert abs(one - first).max() > 1e-2
