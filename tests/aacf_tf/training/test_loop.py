"""Training: resume, history, optimisers, precision, strategies."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow import keras

from aacf_tf import build_model, recipes
from aacf_tf.backbones.batch_norm import freeze_batch_norm
from aacf_tf.runs import devices
from aacf_tf.runs.run import Run
from aacf_tf.training import loop, plan, restoring
from aacf_tf.training.checkpoints import StageCheckpoint
from aacf_tf.training.history import is_best, stops_early
from aacf_tf.training.optimizers import (
    learning_rates,
    make_optimizer,
)
from tfrecords import ClipPair, write_dataset
from tfrecords.utils.errors import UsageError, UserError


@pytest.fixture(autouse=True)
def float32_policy():
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def messages(caplog):
    """Returns what the packages have logged since the last call."""
    caplog.set_level("INFO", "aacf_tf")

    def read():
        text = caplog.text
        caplog.clear()
        return text

    return read


def two_stages(recipe):
    stage = recipe.stages[0]
    first = dataclasses.replace(stage, name="backbone", head="average", optimizer="adamw", epochs=1)
    return dataclasses.replace(recipe, stages=(first, dataclasses.replace(stage, epochs=1)))


def test_the_best_epoch_on_validation_is_restored(
    squares_data, tiny_recipe, tmp_path, monkeypatch, messages
):
    """And the stage ends where its patience does; all of it is told."""
    recipe = recipes.override(tiny_recipe, "stages.0.epochs", 6)
    recipe = recipes.override(recipe, "stages.0.pairs_first", 0.33)
    recipe = recipes.override(recipe, "stages.0.patience", 1)
    run = Run.open(recipe, squares_data, tmp_path)
    original = StageCheckpoint.on_epoch_end
    kernels = []

    def note(self, epoch, logs):
        kernels.append(self.model.head.action_classifier.kernel.numpy())
        # Epochs 1 and 2 of 6 train the pair terms alone and cannot be the best.
        original(self, epoch, {**logs, "val_accuracy": [0.9, 0.9, 0.8, 0.5][epoch]})

    monkeypatch.setattr(StageCheckpoint, "on_epoch_end", note)
    loop.train(run)
    assert len(kernels) == 4
    ended = "(main): ended after 4 of 6 epochs, 1 without a better validation"
    assert ended in messages()
    stage = recipe.stages[0]
    model = restoring.restore(run, stage)
    np.testing.assert_array_equal(model.head.action_classifier.kernel.numpy(), kernels[2])
    assert (kernels[2] != kernels[3]).any()
    last = restoring.restore(run, stage, best=False)
    np.testing.assert_array_equal(last.head.action_classifier.kernel.numpy(), kernels[3])
    loop.train(run)
    output = messages()
    assert "finished already" in output and "Warning" not in output

    history = json.loads((run.log_folder(stage) / "history.json").read_text())
    with (run.log_folder(stage) / "history.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert rows == history and [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    assert len(list(run.checkpoint_folder(stage).glob("ckpt-*.index"))) == recipe.keep

    seen = {split: read_board(run.log_folder(stage) / split) for split in ("train", "validation")}
    train_tags = {"gradient_norm", "learning_rate/head", "clips_per_second"}
    assert {*train_tags, "epoch/loss", "epoch/presence", "epoch/accuracy"} <= set(seen["train"])
    assert seen["train"]["gradient_norm"] > 0
    assert {"epoch/loss", "epoch/mean_ap", "epoch/action_mass"} <= set(seen["validation"])
    named = [tag for tag in seen["validation"] if tag.startswith("maps/1: ")]
    assert "confusion" in seen["validation"] and len(named) == 1
    assert named[0].split(": ")[1] in run.info.labels
    assert seen["validation"]["epoch/mean_ap"] == pytest.approx(history[-1]["val_mean_ap"])


def read_board(folder):
    """Tag -> the last scalar, or the number of pictures."""
    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    reader.Reload()
    values = {}
    for tag in reader.Tags()["tensors"]:
        value = tf.make_ndarray(reader.Tensors(tag)[-1].tensor_proto)
        values[tag] = float(value) if value.ndim == 0 else len(value)
    return values


def test_when_a_stage_stops_early_by_hand(tiny_recipe):
    stage = dataclasses.replace(tiny_recipe.stages[0], patience=2, epochs=10, pairs_first=0.1)

    def entries(*values, name="val_accuracy"):
        return [{name: value} for value in values]

    plan = recipes.plan_stage(tiny_recipe, stage)
    assert not stops_early(plan, entries(0.9, 0.5, 0.6))  # epoch 1 does not count
    assert not stops_early(plan, entries(0.9, 0.5, 0.6, 0.6))
    assert stops_early(plan, entries(0.9, 0.5, 0.6, 0.6, 0.4))  # as good is not better
    assert is_best(plan, entries(0.9, 0.5, 0.6, 0.6)) and not is_best(plan, entries(0.9, 0.5, 0.4))
    assert not stops_early(plan, entries(9, 3, 2, 1, name="val_loss"))
    assert stops_early(plan, entries(9, 3, 4, 5, name="val_loss"))
    for never in (dataclasses.replace(stage, patience=0), dataclasses.replace(stage, epochs=50)):
        assert not stops_early(
            recipes.plan_stage(tiny_recipe, never), entries(0.9, 0.5, 0.4, 0.3, 0.2)
        )


def test_patience_needs_validation(tiny_recipe, tmp_path):
    clip = np.zeros((2, 24, 24, 3), np.uint8)
    write_dataset(tmp_path / "data", {"train": [ClipPair("a", clip, clip, ("x",))]}, labels=["x"])
    run = Run.open(
        recipes.override(tiny_recipe, "stages.0.patience", 1), tmp_path / "data", tmp_path
    )
    with pytest.raises(UsageError, match=r"patience of stage 'main': expected a split"):
        loop.train(run)


def test_a_damaged_or_unfinished_checkpoint(finished_run, tiny_recipe, tmp_path, messages):
    run = finished_run(tmp_path)
    longer = dataclasses.replace(tiny_recipe.stages[0], epochs=5)
    restoring.restore(run, longer)
    assert "trained for 2 of 5 epochs" in messages()
    for path in (tmp_path / "checkpoints").rglob("*.data-*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"Expected a whole checkpoint in .*; copy one back"):
        restoring.restore(run, tiny_recipe.stages[0])


def test_checkpoints_without_their_note_or_their_history(finished_run, tmp_path, messages):
    """Training goes on from them; without the epochs that they have behind them it does not."""
    run = finished_run(tmp_path)
    stage = run.recipe.stages[0]
    folder, history = run.checkpoint_folder(stage), run.log_folder(stage) / "history.json"
    files = {path: path.stat().st_mtime_ns for path in folder.glob("ckpt-*")}
    (folder / "checkpoint").unlink()
    messages()
    restoring.restore(run, stage)
    loop.train(run)
    text = messages()
    assert "finished already" in text and text.count("Warning") == 1
    assert files == {path: path.stat().st_mtime_ns for path in folder.glob("ckpt-*")}
    for content in (None, json.loads(history.read_text())[:1]):
        history.write_text(json.dumps(content)) if content else history.unlink()
        with pytest.raises(
            UserError, match=r"Expected 2 epochs in .*history\.json, .* received [01]"
        ):
            loop.train(run)


def test_a_run_begins_with_the_weights_of_another(
    finished_run, squares_data, tiny_recipe, tmp_path, messages
):
    """And goes on where it stopped without asking for that file again."""
    first = finished_run(tmp_path / "first")
    file = tmp_path / "backbone.weights.h5"
    before = restoring.restore(first, tiny_recipe.stages[0], best=False).backbone
    before.save_weights(file)
    recipe = recipes.override(tiny_recipe, "weights", str(file))
    recipe = recipes.override(recipe, "stages.0.backbone_rate", 0)  # so that they stay
    run = Run.open(recipe, squares_data, tmp_path / "second")
    loop.train(run)
    assert f"{len(before.weights)} variables" in messages()
    after = restoring.restore(run, recipe.stages[0], best=False).backbone
    for a, b in zip(before.weights, after.weights):
        np.testing.assert_array_equal(a, b, err_msg=a.name)
    file.unlink()
    loop.train(run)
    assert "finished already" in messages()


@pytest.mark.slow
def test_batch_norm_stands_still_while_convolutions_learn(squares_data, tiny_recipe, tmp_path):
    recipe = recipes.override(tiny_recipe, "stages.0.frozen_batch_norm", True)
    run = Run.open(recipe, squares_data, tmp_path)
    keras.utils.set_random_seed(recipe.seed)
    before = run.build(recipe.stages[0]).backbone.get_weights()
    loop.train(run)
    backbone = restoring.restore(run, recipe.stages[0], best=False).backbone
    changed = {w.name for w, old in zip(backbone.weights, before) if (w.numpy() != old).any()}
    assert changed == {w.name for w in backbone.weights if "kernel" in w.name}
    assert changed == {w.name for w in backbone.trainable_weights}


def test_the_second_stage_goes_on_with_the_backbone(squares_data, tiny_recipe, tmp_path, messages):
    """And a finished run does nothing."""
    recipe = recipes.override(two_stages(tiny_recipe), "stages.1.backbone_rate", 0)
    run = Run.open(recipe, squares_data, tmp_path)
    loop.train(run)
    first, second = (restoring.restore(run, stage) for stage in recipe.stages)
    for a, b in zip(first.backbone.weights, second.backbone.weights):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert second.head.factors and not first.head.factors
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("ckpt-*")}
    loop.train(run)
    assert messages().count("finished already") == 2
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("ckpt-*")}


def test_a_loss_that_is_not_finite_names_its_batch(squares_data, tiny_recipe, tmp_path):
    recipe = recipes.override(tiny_recipe, "stages.0.learning_rate", 1e30)
    run = Run.open(recipe, squares_data, tmp_path)
    stage = recipe.stages[0]
    with pytest.raises(UserError, match=r"in step \d of epoch 1 of stage 'main'") as error:
        loop.train(run)
    found = json.loads((run.log_folder(stage) / "not_finite.json").read_text())
    assert (found["seed"], found["epoch"], len(found["ids"])) == (0, 1, 4)
    assert ", ".join(found["ids"]) in str(error.value)
    # The order of the epoch, read in one go.
    batches = run.batches("train", stage, training=True, epochs=1, cache=True)
    ids = [inputs["id"].numpy().astype(str).tolist() for inputs, _, _ in batches]
    assert ids[found["step"] - 1] == found["ids"]


def test_restore_without_a_checkpoint(squares_data, tiny_recipe, tmp_path):
    with pytest.raises(UsageError, match="received no checkpoint"):
        restoring.restore(Run.open(tiny_recipe, squares_data, tmp_path), tiny_recipe.stages[0])


def test_gradient_norm_and_rates_of_a_step_by_hand(tiny_recipe):
    stage = dataclasses.replace(
        tiny_recipe.stages[0], learning_rate=0.5, warmup=0, backbone_rate=0.25, backbone_start=0.5
    )
    model = build_model(tiny_recipe, 2, stage=stage)
    optimizer = make_optimizer(recipes.plan_stage(tiny_recipe, stage, 2), model)
    variables = model.trainable_variables
    gradients = [tf.fill(v.shape, 2.0) for v in variables]
    count = sum(np.prod(v.shape) for v in variables)
    rates = []
    for _ in range(2):
        optimizer.apply_gradients(zip(gradients, variables))
        rates.append(learning_rates(optimizer))
    assert float(optimizer.gradient_norm) == pytest.approx(2 * np.sqrt(count), rel=1e-5)
    half = 0.25  # of a cosine over two steps
    assert rates == [
        {"head": pytest.approx(0.5), "backbone": 0.0},
        {"head": pytest.approx(half), "backbone": pytest.approx(0.25 * half)},
    ]


def test_precision_and_strategy_names():
    assert devices.resolve_precision("float32") == "float32"
    assert devices.resolve_precision("auto") in recipes.PRECISIONS
    with pytest.raises(UsageError, match=r"--precision: expected one of .* received 'half'"):
        devices.resolve_precision("half")
    with pytest.raises(UsageError, match=r"--strategy: expected one of .* received 'many'"):
        devices.make_strategy("many")
    if not tf.config.list_physical_devices("GPU"):
        with pytest.raises(UsageError, match="expected a GPU for mixed_float16"):
            devices.resolve_precision("mixed_float16")


def test_mixed_precision_keeps_weights_and_scores_in_float32(squares_data, tiny_recipe, tmp_path):
    recipe = dataclasses.replace(tiny_recipe, precision="mixed_bfloat16")
    run = Run.open(recipe, squares_data, tmp_path)
    loop.train(run)
    history = json.loads((run.log_folder(recipe.stages[0]) / "history.json").read_text())
    assert np.isfinite(history[-1]["loss"])
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = build_model(recipe, 2)
    outputs = model(tf.zeros([1, 6, 24, 24, 3]))
    assert model.backbone(tf.zeros([1, 6, 24, 24, 3])).dtype == tf.bfloat16
    assert {value.dtype for value in outputs.values()} == {tf.float32}
    assert {v.dtype for v in model.trainable_variables} == {tf.float32}


def test_a_corrupt_record_is_named(squares_data, tiny_recipe, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(squares_data, data)
    shard = data / "train-00001-of-00002.tfrecord"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    run = Run.open(tiny_recipe, data, tmp_path / "run")
    with pytest.raises(UserError, match=f"of {shard} is corrupt"):
        loop.train(run)


def test_a_data_set_without_train(tiny_recipe, tmp_path):
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    write_dataset(tmp_path / "data", {"test": [ClipPair("a", clip, clip, ("x",))]}, labels=["x"])
    run = Run.open(tiny_recipe, tmp_path / "data", tmp_path / "run")
    with pytest.raises(UsageError, match=r"splits \(test\), received 'train'"):
        loop.train(run)


@pytest.mark.slow
def test_given_weights_are_gone_on_with(squares_data, tiny_recipe, tmp_path):
    recipe = recipes.override(tiny_recipe, "stages.0.backbone_rate", 0)
    run = Run.open(recipe, squares_data, tmp_path)
    given = build_model(tiny_recipe, 2).backbone
    given.set_weights([weights + 0.5 for weights in given.get_weights()])
    freeze_batch_norm(given)  # which puts Keras's list of weights in another order
    loop.train(run, given)
    after = {w.name: w for w in restoring.restore(run, recipe.stages[0]).backbone.weights}
    for weights in given.weights:
        np.testing.assert_array_equal(weights, after[weights.name])


def test_swapping_without_masks_is_refused_before_anything_is_trained(
    squares_data, tiny_recipe, tmp_path
):
    run = Run.open(recipes.override(tiny_recipe, "data.swap", 0.5), squares_data, tmp_path)
    with pytest.raises(UsageError, match=r"Expected masks of the actor in split 'train'"):
        loop.train(run)
    assert not list(tmp_path.rglob("ckpt-*"))


def test_swapped_pairs_and_a_validation_split(tiny_recipe, tmp_path):
    """Validation has no swapped pairs, but the model has their terms."""
    rng = np.random.default_rng(0)

    def pairs(split, count):
        for index in range(count):
            clip, still = rng.integers(0, 255, (2, 6, 24, 24, 3)).astype(np.uint8)
            mask = np.zeros((6, 24, 24), bool)
            mask[:, 4:12, 4:12] = True
            yield ClipPair(f"{split}-{index}", clip, still, ("ab"[index % 2],), 6.0, mask)

    splits = {split: pairs(split, 8) for split in ("train", "validation", "test")}
    write_dataset(tmp_path / "data", splits, labels=["a", "b"])
    run = Run.open(recipes.override(tiny_recipe, "data.swap", 1.0), tmp_path / "data", tmp_path)
    loop.train(run)
    entry = json.loads((run.log_folder(run.recipe.stages[0]) / "history.json").read_text())[-1]
    assert entry["swap_action"] > 0 and entry["val_swap_action"] == 0


def test_suspicious_classes_are_said_by_plan_and_training(
    tiny_recipe, tmp_path, monkeypatch, messages
):
    clips = [np.full((6, 24, 24, 3), 20 * n, np.uint8) for n in range(4)]
    pairs = [ClipPair(str(n), clip, clip, ("a",), 6.0) for n, clip in enumerate(clips)]
    write_dataset(tmp_path / "data", {"train": pairs}, labels=["a", "b"], num_shards=1)
    run = Run.open(tiny_recipe, tmp_path / "data", tmp_path / "run")
    warning = "Warning: no clip of the split 'train' has the label 'b'."
    assert warning in plan.describe(run).splitlines()

    def stop(*_):
        raise InterruptedError

    monkeypatch.setattr(loop, "begin_backbone", stop)
    with pytest.raises(InterruptedError):
        loop.train(run)
    assert warning in messages()
