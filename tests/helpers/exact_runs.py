"""Runs that must end with the same weights, in a process of their own: `NAME DATA OUTPUT`.

Deterministic operations and the number of logical devices can only be chosen before TensorFlow
starts. NAME is `stopped`, or the batch norm of the mirrored devices: `frozen` or `synchronized`.
Writes OUTPUT/<name>.npz, a run's weights by name, and its history as OUTPUT/<name>.json.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys
from pathlib import Path

os.environ["TF_DETERMINISTIC_OPS"] = "1"

import numpy as np
import tensorflow as tf

from aacf_tf import recipes
from aacf_tf.runs import checkpoints
from aacf_tf.runs.run import Run
from aacf_tf.runs.termination import Stopped
from aacf_tf.training import loop, restoring
from aacf_tf.training.checkpoints import StageCheckpoint

NAME, DATA, OUTPUT = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])


def recipe(stages, **changes):
    base = recipes.load_recipe("demo")
    data = dataclasses.replace(base.data, frames=6, height=24, width=24)
    return dataclasses.replace(
        base,
        data=data,
        stages=stages,
        backbone_options={"width": 12},
        hidden=8,
        precision="float32",
        **changes,
    )


def open_run(name, settings):
    return Run.open(settings, DATA, OUTPUT / "runs" / name)


def note(name, run):
    """Writes the final weights and the history of a run."""
    values = {}
    for stage in run.recipe.stages:
        model = restoring.restore(run, stage, best=False)
        for place, weights in enumerate((*model.backbone.weights, *model.head.weights)):
            # Keras numbers layers anew for each model of a process: only the last part stays.
            values[f"{place}/{weights.name.split('/')[-1]}"] = weights.numpy()
    np.savez(OUTPUT / f"{name}.npz", **values)
    shutil.copy(run.log_folder(run.recipe.stages[-1]) / "history.json", OUTPUT / f"{name}.json")


class Killed(Exception):
    """Stands for kill -9."""


def disturbed_run(settings):
    """SIGTERM in the middle of an epoch, a kill behind one, and then to the end."""
    run = open_run("disturbed", settings)
    step, epoch = StageCheckpoint.on_train_batch_end, StageCheckpoint.on_epoch_end

    def terminate(self, batch, logs=None):
        if (self.epochs_done, self.steps_done) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, batch, logs)

    StageCheckpoint.on_train_batch_end = terminate
    try:
        loop.train(run)
    except Stopped as stopped:
        assert stopped.exit_code == 143
        (OUTPUT / "stopped.txt").write_text(str(stopped))
    StageCheckpoint.on_train_batch_end = step

    def kill(self, number, logs=None):
        epoch(self, number, logs)
        raise Killed

    StageCheckpoint.on_epoch_end = kill
    try:
        loop.train(run)
    except Killed:
        (OUTPUT / "killed.txt").write_text(str(checkpoints.epochs_in(last_of(run))))
    StageCheckpoint.on_epoch_end = epoch
    loop.train(run)
    return run


def last_of(run):
    return tf.train.latest_checkpoint(str(run.checkpoint_folder(run.recipe.stages[-1])))


def stop_and_go_on():
    stage = dataclasses.replace(
        recipes.load_recipe("demo").stages[0], epochs=4, batch_size=4, dropout=0.5
    )
    settings = recipe((stage,))
    whole = open_run("whole", settings)
    loop.train(whole)
    note("whole", whole)
    note("disturbed", disturbed_run(settings))


def train_on_one_and_two(norm):
    """Five steps; neither they nor the last batch of validation divide by two devices."""
    stage = dataclasses.replace(
        recipes.load_recipe("demo").stages[0],
        head="average",
        optimizer="sgd",
        learning_rate=0.05,
        warmup=0,
        pairs_first=0.0,
        batch_size=3,
        epochs=1,
    )
    for strategy in ("one_device", "mirrored"):
        settings = recipe(
            (dataclasses.replace(stage, frozen_batch_norm=norm == "frozen"),),
            synchronized_batch_norm=norm == "synchronized",
            strategy=strategy,
        )
        run = open_run(f"{norm}_{strategy}", settings)
        loop.train(run)
        note(f"{norm}_{strategy}", run)


cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
if NAME == "stopped":
    stop_and_go_on()
else:
    train_on_one_and_two(NAME)
