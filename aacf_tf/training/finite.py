"""Ends training at the first loss or gradient that is not finite, naming the batch."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
from tensorflow import keras

from aacf_tf.recipes import StagePlan
from aacf_tf.runs.devices import worker_of
from aacf_tf.runs.run import Run
from aacf_tf.training.checkpoints import StageCheckpoint
from aacf_tf.training.optimizers import gradient_norm
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UserError


class FiniteCheck(keras.callbacks.Callback):
    """Raises a UserError if a loss, a metric or the gradient is not finite.

    Writes the batch to WORKDIR/logs/<stage>/not_finite.json.

    Args:
        run: The run that is trained.
        plan: Plan of its stage.
        checkpoint: Callback that counts epochs and steps; it comes after this one.
    """

    def __init__(self, run: Run, plan: StagePlan, checkpoint: StageCheckpoint):
        super().__init__()
        self._run, self._stage, self._checkpoint = run, plan.stage, checkpoint

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        values = dict(logs or {})
        if not _skips_overflows(self.model):
            values["gradient_norm"] = gradient_norm(self.model)
        self._check(values, self._checkpoint.steps_done + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._check(logs or {}, self._checkpoint.steps_done)

    def _check(self, values: dict[str, Any], step: int) -> None:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if not broken:
            return
        name, epoch, stage = broken[0], self._checkpoint.epochs_done + 1, self._stage
        if name.startswith("val_"):
            raise UserError(
                f"Expected a finite {name} after epoch {epoch} of stage {stage.name!r}, received "
                f"{float(values[name])}, though every loss in training was finite: try a lower "
                "--learning_rate, or look at the records of the split 'validation'."
            )
        inputs = self._run.replay(stage, epoch, step)[0]
        ids = [identity.decode() for identity in inputs["id"].numpy().tolist()]
        path = self._run.log_folder(stage) / "not_finite.json"
        if worker_of(tf.distribute.get_strategy())[0] == 0:
            seed = self._run.recipe.seed
            write_json(
                path,
                {"seed": seed, "epoch": epoch, "step": step, "not_finite": broken, "ids": ids},
            )
        shown = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
        raise UserError(
            f"Expected a finite {name} in step {step} of epoch {epoch} of stage {stage.name!r}, "
            f"received {float(values[name])}; try a lower --learning_rate, or look at the records "
            f"of the batch, {shown} (all in {path}; `Run.replay` reads them as they were trained "
            "on)."
        )


def _skips_overflows(model: keras.Model) -> bool:
    """Returns whether the optimizer skips non-finite gradients by itself (loss scaling).

    Under mixed_float16 Keras skips such a step and halves the loss's scale, as long as it can.
    """
    return float(getattr(model.optimizer, "loss_scale", 1.0)) > 1
