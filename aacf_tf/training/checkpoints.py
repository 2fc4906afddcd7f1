"""Checkpoints of a stage, and its history.

WORKDIR/checkpoints/<stage>/   the last checkpoints, numbered by the step, and in best/ the best
                               epoch on the split `validation`, if there is one
WORKDIR/logs/<stage>/          history.json and history.csv, one entry per epoch

A checkpoint holds the weights, the optimizer with its step, the position in the data (epochs done,
steps done of the next one) and the sums of that epoch's metrics. The data are a function of seed,
epoch and step, so a resumed run equals the undisturbed one.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow import keras

from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import StagePlan
from aacf_tf.runs.checkpoints import BEST, parts, read
from aacf_tf.runs.devices import sum_over_workers, worker_of
from aacf_tf.runs.directory import read_history
from aacf_tf.runs.run import Run
from aacf_tf.runs.termination import Stopped, Termination
from aacf_tf.training.history import is_best, stops_early, to_csv
from aacf_tf.weights.checkpoint_folder import newest
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UserError


class StageCheckpoint(keras.callbacks.Callback):
    """Saves a stage after every epoch and every few minutes; ends it early, or at SIGTERM.

    Goes back to the last checkpoint of the stage when it is made. Must be the last callback, since
    it may stop the run.

    Args:
        run: The run that is trained.
        plan: Plan of the stage.
        model: Model of the stage, compiled.
        termination: Checked after every step.

    Attributes:
        epochs_done, steps_done: Whole epochs, and steps of the next one.
        history: One entry per epoch.

    Raises:
        UserError: The checkpoint or history.json is damaged, or not every worker has found the
            same one.
    """

    def __init__(self, run: Run, plan: StagePlan, model: ActionModel, termination: Termination):
        super().__init__()
        self.run, self.plan, self.stage, self.termination = run, plan, plan.stage, termination
        self._strategy = tf.distribute.get_strategy()
        self._chief = worker_of(self._strategy)[0] == 0
        self._epoch, self._step = (
            tf.Variable(0, trainable=False, dtype=tf.int64, name=name) for name in ("epoch", "step")
        )
        trackers = list(model.trackers.values())
        whole = tf.train.Checkpoint(
            optimizer=model.optimizer,
            epoch=self._epoch,
            step=self._step,
            metrics=trackers,
            **parts(model),
        )
        folder = run.checkpoint_folder(plan.stage)
        last = newest(folder)
        if last:
            read(whole, last)
        self.epochs_done, self.steps_done = int(self._epoch.numpy()), int(self._step.numpy())
        self._metrics = [variable for tracker in trackers for variable in tracker.variables]
        self._sums = [variable.numpy() for variable in self._metrics] if self.steps_done else []
        self._history_file = run.log_folder(plan.stage) / "history.json"
        self.history = read_history(self._history_file)[: self.epochs_done]
        if self._chief and len(self.history) < self.epochs_done:
            raise UserError(
                f"Expected {self.epochs_done} epochs in {self._history_file}, as in {last}, "
                f"received {len(self.history)}; copy the file back, or train in another --workdir."
            )
        self._check_workers_agree()
        if not self._chief:
            # To save needs all workers, as some variables are spread over them; one copy is kept.
            self._scratch = tempfile.TemporaryDirectory()
            folder = Path(self._scratch.name)
        best = tf.train.Checkpoint(**parts(model))
        self._last = tf.train.CheckpointManager(whole, str(folder), max_to_keep=run.recipe.keep)
        self._best = tf.train.CheckpointManager(best, str(folder / BEST), max_to_keep=1)
        self._saved = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether the stage is trained to its end."""
        return self.epochs_done >= self.stage.epochs or stops_early(self.plan, self.history)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # `fit` has just reset them: an interrupted epoch keeps its metrics whole.
        for variable, value in zip(self._metrics, self._sums):
            variable.assign(value)
        self._sums = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps_done += 1
        minutes = self.run.recipe.save_minutes
        due = self._chief and minutes and time.monotonic() - self._saved > 60 * minutes
        stop, due = self._any_worker(self.termination.received, bool(due))
        if self.steps_done < self.plan.steps_per_epoch and (stop or due):
            self._save()
            if stop:
                self._stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.epochs_done, self.steps_done = epoch + 1, 0
        self.history.append({"epoch": epoch + 1, **values})
        if self._chief:
            write_json(self._history_file, self.history)
            write_text(self._history_file.with_suffix(".csv"), to_csv(self.history))
        if is_best(self.plan, self.history):
            self._best.save(checkpoint_number=epoch + 1)
        # Last of all: an epoch without it is done again, and its best with it.
        self._save()
        if self.finished:
            self.model.stop_training = True
        if self._any_worker(self.termination.received)[0]:
            self._stop()

    def _save(self) -> None:
        self._epoch.assign(self.epochs_done)
        self._step.assign(self.steps_done)
        steps = self.epochs_done * self.plan.steps_per_epoch + self.steps_done
        self._last.save(checkpoint_number=steps)
        self._saved = time.monotonic()
        if self._chief:
            self.run.store()

    def _stop(self) -> None:
        raise Stopped(
            f"SIGTERM: stage {self.stage.name!r} is saved after {self.epochs_done} epochs and "
            f"{self.steps_done} steps; the same command goes on from there."
        )

    def _any_worker(self, *flags: bool) -> list[bool]:
        """Returns whether any worker sets a flag: all must save and stop at the same step."""
        return [total > 0 for total in sum_over_workers(self._strategy, flags)]

    def _check_workers_agree(self) -> None:
        done = [self.epochs_done, self.steps_done]
        count = worker_of(self._strategy)[1]
        if sum_over_workers(self._strategy, done) != [count * value for value in done]:
            raise UserError(
                f"Expected all workers to find the same checkpoint in {self.run.workdir}, received "
                f"{done[0]} epochs and {done[1]} steps on this one and another place on others; "
                "give a folder that all of them share, or one on s3://."
            )
