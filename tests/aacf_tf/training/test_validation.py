"""Validation after an epoch judges as the evaluation after training does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aacf_tf.evaluation.evaluate import evaluate
from aacf_tf.runs.run import Run
from aacf_tf.training.validation import Validation
from tfrecords import ClipPair, write_dataset

ACTION = {f"action_{name}" for name in ("pointing", "mass", "auc", "time_share")}
CONTEXT = {"context_mass", "context_auc"}


def both(recipe, data, workdir) -> tuple[dict, dict]:
    """(logs of the validation, evaluation) of an untrained model on the split `test`."""
    run = Run.open(recipe, data, workdir)
    stage = run.recipe.stages[-1]
    model = run.build(stage)
    model.compile(optimizer="adam")
    batches = run.batches("test", stage, training=False, masks=True)
    batches = batches.map(
        lambda inputs, *rest: ({k: v for k, v in inputs.items() if k != "id"}, *rest)
    )
    callback, logs = Validation(run, stage, model, batches), {}
    callback.set_model(model)
    callback.on_epoch_end(0, logs)
    return logs, evaluate(run, model, "aacf", workdir)["splits"]["test"]


def test_of_clips(tiny_recipe, squares_data, tmp_path):
    logs, entry = both(tiny_recipe, squares_data, tmp_path)
    assert logs["val_mean_ap"] == pytest.approx(entry[tiny_recipe.score]["mean_ap"])
    assert logs["val_accuracy"] == pytest.approx(entry["combined"]["top1"])
    for name in ACTION | CONTEXT:
        assert logs[f"val_{name}"] == pytest.approx(entry["localization"][name], abs=1e-6), name


@pytest.mark.slow
def test_of_photographs_of_several_sizes(tiny_recipe, tmp_path):
    """One has nobody in it, one no mask: neither counts; a photograph has no time."""
    random, pairs = np.random.default_rng(0), []
    for number, width in enumerate((24, 32, 24, 40)):
        image = random.integers(0, 255, (1, 24, width, 3), np.uint8)
        mask = np.zeros((1, 24, width), bool)
        mask[:, :, : width // 3] = number != 2
        known = None if number == 3 else mask
        pairs.append(ClipPair(f"{number}", image, None, ("a",), 1.0, known))
    splits = dict.fromkeys(("train", "validation", "test"), pairs)
    write_dataset(tmp_path / "data", splits, ["a", "b"], num_shards=1)
    data = dataclasses.replace(tiny_recipe.data, frames=1, height=24, width=24, resize="whole")
    recipe = dataclasses.replace(tiny_recipe, data=data)
    logs, entry = both(recipe, tmp_path / "data", tmp_path / "run")
    assert entry["localization"]["clips_with_mask"] == 2
    measured = {name[4:] for name in logs} & (ACTION | CONTEXT)
    assert measured == (ACTION | CONTEXT) - {"action_time_share"}
    for name in measured:
        assert logs[f"val_{name}"] == pytest.approx(entry["localization"][name], abs=1e-6), name
