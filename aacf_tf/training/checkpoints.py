"""Never lost: checkpoints inside and behind epochs, the history, and reasons to stop.

WORKDIR/checkpoints/<stage>/   the last ones, numbered by the step, and in best/ the best epoch on
                               the split `validation`, where there is one
WORKDIR/logs/<stage>/          history.json and history.csv, one entry an epoch; not_finite.json
                               where a loss or gradient was

A checkpoint holds the weights, the optimiser with its step, the place in the data (epochs done,
steps done of the next one) and the sums of that epoch's metrics. What the data are is a function of
seed, epoch and step, so that a run which goes on from there is the undisturbed one.
"""

from __future__ import annotations

import math
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
from aacf_tf.runs.run import Run
from aacf_tf.runs.termination import Stopped, Termination
from aacf_tf.training.history import is_best, read_history, stops_early, to_csv
from aacf_tf.training.optimizers import gradient_norm
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UserError


class Keeper(keras.callbacks.Callback):
    """Keeps a stage: checkpoints, its history, and the end of it where there is reason to stop.

    Args:
        run: what is trained.
        plan: Plan of the stage.
        termination: looked at after every step.

    Attributes:
        epochs_done, steps_done: whole epochs, and steps of the next one.
        history: one entry an epoch.
    """

    def __init__(self, run: Run, plan: StagePlan, termination: Termination):
        super().__init__()
        self.run, self.plan, self.stage, self.termination = run, plan, plan.stage, termination
        self.steps = plan.steps_per_epoch
        self.epochs_done = self.steps_done = 0
        self.history: list[dict[str, float]] = []
        self._history_file = run.log_folder(plan.stage) / "history.json"
        self._sums: list[Any] = []

    def restore(self, model: ActionModel) -> None:
        """Goes back to the last checkpoint of the stage, if there is one.

        Raises:
            UserError: it is damaged, or not every worker has found the same one.
        """
        recipe = self.run.recipe
        self._strategy = tf.distribute.get_strategy()
        self._epoch, self._step = (
            tf.Variable(0, trainable=False, dtype=tf.int64, name=name) for name in ("epoch", "step")
        )
        whole = tf.train.Checkpoint(
            optimizer=model.optimizer,
            epoch=self._epoch,
            step=self._step,
            metrics=list(model.trackers.values()),
            **parts(model),
        )
        found = tf.train.latest_checkpoint(str(self.run.checkpoint_folder(self.stage)))
        if found:
            read(whole, found)
        self.epochs_done, self.steps_done = int(self._epoch.numpy()), int(self._step.numpy())
        if self.steps_done:
            self._sums = [variable.numpy() for variable in self._metric_variables(model)]
        if self.epochs_done:
            self.history = read_history(self._history_file)[: self.epochs_done]
        self._agree_on_place()
        self._chief = worker_of(self._strategy)[0] == 0
        folder = self.run.checkpoint_folder(self.stage)
        if not self._chief:
            # To save needs all workers, as some variables are spread over them; one copy is kept.
            self._scratch = tempfile.TemporaryDirectory()
            folder = Path(self._scratch.name)
        best = tf.train.Checkpoint(**parts(model))
        self._last = tf.train.CheckpointManager(whole, str(folder), max_to_keep=recipe.keep)
        self._best = tf.train.CheckpointManager(best, str(folder / BEST), max_to_keep=1)
        self._saved = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether nothing of the stage is left."""
        return self.epochs_done >= self.stage.epochs or stops_early(self.plan, self.history)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # `fit` has just reset them: an epoch that was cut keeps its metrics whole.
        for variable, value in zip(self._metric_variables(self.model), self._sums):
            variable.assign(value)
        self._sums = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps_done += 1
        values = dict(logs or {})
        if not _leaves_out_overflows(self.model):
            values["gradient_norm"] = gradient_norm(self.model)
        self._check_finite(values)
        minutes = self.run.recipe.save_minutes
        due = self._chief and minutes and time.monotonic() - self._saved > 60 * minutes
        stop, due = self._any_worker(self.termination.received, bool(due))
        if self.steps_done < self.steps and (stop or due):
            self._save()
            if stop:
                self._stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        self._check_finite(values)
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
        self._last.save(checkpoint_number=self.epochs_done * self.steps + self.steps_done)
        self._saved = time.monotonic()
        if self._chief:
            self.run.store()

    def _stop(self) -> None:
        raise Stopped(
            f"SIGTERM: stage {self.stage.name!r} is saved after {self.epochs_done} epochs and "
            f"{self.steps_done} steps; the same command goes on from there."
        )

    def _check_finite(self, values: dict[str, Any]) -> None:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if not broken:
            return
        name, epoch, step = broken[0], self.epochs_done + 1, self.steps_done
        if name.startswith("val_"):
            raise UserError(
                f"Expected a finite {name} after epoch {epoch} of stage {self.stage.name!r}, "
                f"received {float(values[name])}, though every loss in training was finite: try a "
                "lower --learning_rate, or look at the records of the split 'validation'."
            )
        inputs = self.run.replay(self.stage, epoch, step)[0]
        ids = [identity.decode() for identity in inputs["id"].numpy().tolist()]
        path = self._history_file.with_name("not_finite.json")
        if self._chief:
            seed = self.run.recipe.seed
            write_json(
                path,
                {"seed": seed, "epoch": epoch, "step": step, "not_finite": broken, "ids": ids},
            )
        shown = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
        raise UserError(
            f"Expected a finite {name} in step {step} of epoch {epoch} of stage "
            f"{self.stage.name!r}, received {float(values[name])}; try a lower --learning_rate, or "
            f"look at the records of the batch, {shown} (all in {path}; `Run.replay` reads them "
            "as they were trained on)."
        )

    def _metric_variables(self, model: ActionModel) -> list[tf.Variable]:
        return [v for metric in model.trackers.values() for v in metric.variables]

    def _any_worker(self, *flags: bool) -> list[bool]:
        """Whether any worker says so: they must save and stop at the same step, or none goes on."""
        return [total > 0 for total in sum_over_workers(self._strategy, flags)]

    def _agree_on_place(self) -> None:
        own = [self.epochs_done, self.steps_done]
        count = worker_of(self._strategy)[1]
        if sum_over_workers(self._strategy, own) != [count * value for value in own]:
            raise UserError(
                f"Expected all workers to find the same checkpoint in {self.run.workdir}, received "
                f"{own[0]} epochs and {own[1]} steps on this one and another place on others; give "
                "a folder that all of them share, or one on s3://."
            )


def _leaves_out_overflows(model: ActionModel) -> bool:
    """Whether a gradient that is not finite is nothing to worry about.

    Under mixed_float16 Keras leaves such a step out and halves the loss's scale, as long as it can.
    """
    return float(getattr(model.optimizer, "loss_scale", 1.0)) > 1
