"""Callbacks that report progress, input-pipeline wait time and TensorBoard summaries."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from tensorflow import keras

from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import Stage
from aacf_tf.runs.directory import BASELINE
from aacf_tf.runs.run import Run
from aacf_tf.training.optimizers import gradient_norm, learning_rates
from tfrecords.utils.progress import progress

_POINTS = 20  # scalars of single steps per epoch


class ProgressLine(keras.callbacks.Callback):
    """One line for the whole stage: clips done and per second, ETA, loss, wait for data.

    Args:
        title: Text at the start of the line.
        batch_size: Clips per step, over all devices.
        steps: Steps of all epochs.
        done: Steps done before.
        shown: Whether to show the line; rates are measured in any case.

    Attributes:
        rate: Clips per second in this epoch.
        waiting: Share of the steps' time in this epoch from the call of a step until its batch was
            there; None: not measured.
    """

    def __init__(self, title: str, batch_size: int, steps: int, done: int, shown: bool = True):
        super().__init__()
        self.batch_size = batch_size
        self._came: tf.Variable | None = None
        self.bar = progress(
            total=steps * batch_size,
            initial=done * batch_size,
            desc=title,
            unit="clip",
            disable=not shown,
        )
        self._new_epoch()

    def measure(self, model: ActionModel) -> None:
        """Has each step of a compiled model on one device note when its batch has come.

        Does nothing where TensorFlow's operations are to be deterministic: a clock is not.
        """
        try:
            tf.timestamp()
        except tf.errors.FailedPreconditionError:
            return
        with tf.device("CPU:0"):
            came = self._came = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        step = model.train_step

        def noting(data: Any) -> Any:
            # `fit` takes the batch within the compiled function, where Python sees nothing of it.
            with tf.control_dependencies(tf.nest.flatten(data)):
                came.assign(tf.timestamp())
            return step(data)

        model.train_step = noting

    @property
    def rate(self) -> float:
        return self._steps * self.batch_size / self._seconds if self._seconds else 0.0

    @property
    def waiting(self) -> float | None:
        if self._came is None or not self._seconds:
            return None
        return self._waited / self._seconds

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._new_epoch()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._start = time.time()  # the clock of `tf.timestamp`

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._compiled:
            seconds = max(0.0, time.time() - self._start)
            self._seconds += seconds
            self._steps += 1
            if self._came is not None:
                came = float(self._came.numpy()) - self._start
                self._waited += min(max(0.0, came), seconds)
        self._compiled = True
        self.bar.update(self.batch_size)
        if logs and (self.bar.n // self.batch_size) % 10 == 0:
            shown = {name: f"{logs[name]:.3f}" for name in ("loss", "accuracy") if name in logs}
            if self.waiting is not None:
                shown["waits for data"] = f"{100 * self.waiting:.0f}%"
            self.bar.set_postfix(shown, refresh=False)

    def close(self) -> None:
        """Ends the line, so that later output starts a new one."""
        self.bar.close()

    _compiled = False  # the first step compiles, and is not timed

    def _new_epoch(self) -> None:
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0


def board_folder(run: Run, stage: Stage) -> Path:
    """Returns the folder of a stage's summaries: below WORKDIR/logs, those of the baseline too."""
    inner = Path(BASELINE).parts
    if run.workdir.parts[-len(inner) :] != inner:
        return run.log_folder(stage)
    return run.workdir.parents[len(inner) - 1] / "logs" / BASELINE / stage.name


class Board(keras.callbacks.Callback):
    """Writes TensorBoard summaries of `train` and `validation` over the optimizer's steps.

    Within epochs: gradient norm, learning rate of each group of layers, clips per second and share
    of time spent waiting for data. After each epoch: loss terms and accuracies, and on validation
    mean AP, localization, the confusion matrix and attention maps.

    Args:
        folder: Folder of the logs.
        steps: Steps per epoch.
        line: Progress line that measures the time.
        validation: Callback whose pictures to show; None: no split `validation`.
    """

    def __init__(self, folder: Path, steps: int, line: ProgressLine, validation: Any):
        super().__init__()
        self._writers = {
            name: tf.summary.create_file_writer(str(folder / name))
            for name in ("train", "validation")
        }
        self._every = max(1, steps // _POINTS)
        self._line, self._validation = line, validation

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch % self._every == 0:
            optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
            values = {
                "gradient_norm": gradient_norm(self.model),
                "clips_per_second": self._line.rate,
                **{f"learning_rate/{k}": v for k, v in learning_rates(optimizer).items()},
            }
            if self._line.waiting is not None:
                values["waiting_for_data"] = self._line.waiting
            self._write("train", values)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for split, prefix in (("validation", "val_"), ("train", "")):
            names = [name for name in logs or {} if name.startswith("val_") == bool(prefix)]
            self._write(split, {f"epoch/{name[len(prefix) :]}": logs[name] for name in names})
        if self._validation is not None:
            step = self._step()
            with self._writers["validation"].as_default():
                for name, picture in self._validation.pictures(epoch).items():
                    _write_image(name, picture, step)
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Closes the log files."""
        for writer in self._writers.values():
            writer.close()

    def _write(self, split: str, values: dict[str, float]) -> None:
        step = self._step()
        with self._writers[split].as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step)

    def _step(self) -> np.int64:
        return self.model.optimizer.iterations.numpy()


def _write_image(name: str, pixels: np.ndarray, step: np.int64) -> None:
    """Writes uint8 RGB `[h, w, 3]` as `tf.summary.image` does, in a tenth of the time."""
    height, width = pixels.shape[:2]
    png = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="images")
    )
    tf.summary.write(name, [str(width), str(height), png], step, metadata)
