"""The run: one command trains all phases, and goes on where it was stopped.

    WORKDIR/config.json            the settings, and what was trained on
    WORKDIR/checkpoints/           the last two: weights, optimisers, step, sums of the losses
    WORKDIR/history.csv, logs/     losses and held-out figures over the steps; TensorBoard
    WORKDIR/metrics.json           the last comparison with Telea
    WORKDIR/curves.png samples.png losses and PSNR; hole, Telea, network, truth
    WORKDIR/skipped.csv            pictures that cannot be read
    WORKDIR/export/completion/     the SavedModel, once all steps are done

The batch of a step is a function of seed and step, so that a run which goes on from a checkpoint is
the undisturbed one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import time
from pathlib import Path
from typing import Any, Iterable, Sequence

import numpy as np
import tensorflow as tf
from tensorflow import keras

from aacf_tf.completion import comparison, draws, filling, serving
from aacf_tf.completion.objectives import LOSSES, Trainee
from aacf_tf.completion.options import PHASES, Settings
from aacf_tf.completion.pictures import Parts, Pictures
from aacf_tf.runs.checkpoints import read
from aacf_tf.runs.termination import Stopped, Termination
from aacf_tf.serving.export import versions
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.progress import progress

ROWS = 400  # of history.csv, over the whole run
COMPARISONS = 40
SAVE_MINUTES = 5.0
_COLUMNS = ("step", "phase", *LOSSES, *comparison.FIGURES)


class Run:
    """A training in its working directory.

    Args:
        settings: checked.
        parts: the pictures.
        workdir: made where there is none.

    Raises:
        UsageError: it holds a run of other settings or pictures.
        UserError: no picture can be read, or config.json or the last checkpoint is damaged.
    """

    def __init__(self, settings: Settings, parts: Parts, workdir: Path):
        self.settings, self.workdir = settings, workdir
        short_side = math.ceil(settings.zoom * settings.size)
        self.pictures, self.held_out = (Pictures(part, short_side) for part in parts)
        claimed = self._is_claimed()
        keras.utils.set_random_seed(settings.seed)
        colour = self.pictures.mean_colour()
        self.trainee = Trainee(settings, colour)
        self.comparison = comparison.Comparison(
            draws.draw_held_out(self.held_out, settings), self._diffuse
        )
        if not claimed:  # not before pictures could be read: without them nothing has begun
            write_json(workdir / "config.json", self._claim())
        self.history: list[dict[str, Any]] = []
        self._skipped_before: dict[str, str] = {}
        self._step = tf.Variable(0, trainable=False, dtype=tf.int64)
        # Of the losses since the last row of the history; with the number of steps they are of.
        self._sums = tf.Variable(np.zeros(len(LOSSES) + 1), trainable=False)
        checkpoint = tf.train.Checkpoint(
            completion=self.trainee.completer.network,
            discriminators=self.trainee.discriminators,
            optimizers=self.trainee.optimizers,
            step=self._step,
            sums=self._sums,
        )
        self._manager = tf.train.CheckpointManager(checkpoint, str(workdir / "checkpoints"), 2)
        if self._manager.latest_checkpoint:
            read(checkpoint, self._manager.latest_checkpoint)
            self.history = [row for row in self._read_history() if row["step"] <= self.step]
            self._skipped_before = dict(_read_csv(workdir / "skipped.csv")[1:])
        self._complete = tf.function(self._complete_crops)

    @property
    def step(self) -> int:
        """Steps done, of all phases."""
        return int(self._step.numpy())

    def train(self, termination: Termination) -> None:
        """All steps that are left.

        Raises:
            Stopped: SIGTERM came; what was trained is saved.
            UserError: a loss is not finite.
        """
        settings, total = self.settings, self.settings.total_steps
        row, compare = (max(1, total // parts) for parts in (ROWS, COMPARISONS))
        board = tf.summary.create_file_writer(str(self.workdir / "logs"))
        saved = time.monotonic()
        first = self.step
        bar = progress(total=total, initial=first, unit="step", desc=settings.phase(first))
        with board.as_default(), bar:
            for done, batch in enumerate(draws.batches(self.pictures, settings, first), first + 1):
                phase = settings.phase(done - 1)
                losses = self.trainee.steps[phase](*batch)
                self._sums.assign_add([1.0, *(float(losses[name]) for name in LOSSES)])
                self._check_finite(losses, done, phase)
                self._step.assign(done)
                bar.set_description(phase, refresh=False)
                bar.update()
                judged = done % compare == 0 or done == total
                if done % row == 0 or judged or settings.phase(done) != phase:
                    self._add_row(phase, judged)
                    newest = self.history[-1]
                    error = f"{newest['squared_error']:.4f}"
                    bar.set_postfix({"squared error": error}, refresh=False)
                    if newest["psnr"] is not None:
                        bar.write(
                            f"step {done}, {phase}: held-out PSNR {newest['psnr']:.2f} dB, Telea "
                            f"{self.comparison.telea['psnr']:.2f} dB"
                        )
                due = time.monotonic() - saved > 60 * SAVE_MINUTES
                if due or done == total or termination.received:
                    self.save()
                    saved = time.monotonic()
                if termination.received and done < total:
                    raise Stopped(
                        f"SIGTERM: {self.workdir} is saved after {done} of {total} steps; the same "
                        "command goes on from there."
                    )

    def save(self) -> None:
        """Writes a checkpoint, and what goes with it."""
        self._write_skipped()
        self._write_history()
        self._manager.save(checkpoint_number=self.step)

    def finish(self) -> Path:
        """Exports the trained network, unless that is done.

        Returns:
            the directory of the exported version.
        """
        directory = self.workdir / "export" / "completion"
        if not versions(directory):
            facts = {"images_digest": self._digest(), "held_out": self._metrics()}
            serving.export(self.trainee.completer, self.settings, facts, directory)
        return directory / str(max(versions(directory)))

    def describe(self) -> str:
        """The last comparison, for the terminal."""
        metrics = self._metrics()
        rows = {name: metrics[name] for name in ("telea", "diffusion", "network")}
        return comparison.table(rows, metrics["pictures"])

    def skipped(self) -> dict[str, str]:
        """Name -> reason, of the pictures that could not be read so far."""
        return {**self._skipped_before, **self.pictures.skipped, **self.held_out.skipped}

    # ---- what is measured and written -----------------------------------------------------------

    def _add_row(self, phase: str, judged: bool) -> None:
        count, *sums = self._sums.numpy()
        self._sums.assign(np.zeros_like(self._sums))
        row = dict.fromkeys(_COLUMNS)
        row.update(step=self.step, phase=phase)
        row.update({name: value / count for name, value in zip(LOSSES, sums)})
        for name in LOSSES:
            tf.summary.scalar(f"loss/{name}", row[name], self.step)
        if judged:
            completed = self.comparison.complete(self._complete)
            row.update(self.comparison.judge(completed))
        self.history.append(row)
        if judged:
            self._show(completed)

    def _show(self, completed: np.ndarray) -> None:
        """Writes and draws what was found on the held-out holes, which stands in the last row."""
        sheet = self.comparison.sheet(completed)
        for name, value in self._found().items():
            tf.summary.scalar(f"held_out/{name}", value, self.step)
        tf.summary.image("held_out", sheet[None], self.step)
        comparison.write_png(self.workdir / "samples.png", sheet)
        write_json(self.workdir / "metrics.json", self._metrics())
        self._write_history()
        starts = np.cumsum([0, *self.settings.steps[:2]]).tolist()
        levels = {"Telea": self.comparison.telea, "diffusion": self.comparison.diffusion}
        comparison.write_curves(
            self.workdir / "curves.png",
            self.history,
            list(zip(PHASES, starts)),
            {name: values["psnr"] for name, values in levels.items()},
        )

    def _found(self) -> comparison.Figures:
        return {name: self.history[-1][name] for name in comparison.FIGURES}

    def _metrics(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "pictures": len(self.comparison.held_out.image),
            "network": self._found(),
            "telea": self.comparison.telea,
            "diffusion": self.comparison.diffusion,
        }

    def _complete_crops(self, image: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        colours, hole = _scale(image, mask)
        return _lay_in(self.trainee.completer(colours, hole), image, hole)

    def _diffuse(self, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        colours, hole = _scale(image, mask)
        levels = math.ceil(math.log2(self.settings.size))
        return _lay_in(filling.diffuse(colours, 1 - hole, levels, (0.5,) * 3), image, hole)

    def _check_finite(self, losses: dict[str, tf.Tensor], step: int, phase: str) -> None:
        for name, value in losses.items():
            if not math.isfinite(value):
                raise UserError(
                    f"Expected a finite loss, received {name} {float(value)} in step {step} "
                    f"({phase}); the last checkpoint is of step {self._saved_step()}: begin anew "
                    "in another --workdir with a lower --learning_rate."
                )

    # ---- what is kept ---------------------------------------------------------------------------

    def _saved_step(self) -> int:
        newest = self._manager.latest_checkpoint
        return int(newest.rsplit("-", 1)[1]) if newest else 0

    def _claim(self) -> dict[str, Any]:
        """The content of config.json."""
        return {**self.settings.to_dict(), "images_digest": self._digest()}

    def _is_claimed(self) -> bool:
        """Whether config.json is there, and of this very run."""
        path = self.workdir / "config.json"
        if not path.is_file():
            return False
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"Expected the settings of a run in {path}, received a damaged file; give another "
                "--workdir."
            ) from error
        for name, value in self._claim().items():
            if found.get(name) != value:
                received = f"{name} {value} instead of {found.get(name)}"
                if name == "images_digest":
                    received = "pictures of other names or sizes"
                raise UsageError(
                    f"Expected the settings and pictures of the run in {self.workdir}, received "
                    f"{received}; give another --workdir."
                )
        return True

    def _digest(self) -> str:
        """Of the names and sizes of all pictures."""
        parts = [(part.names, part.sizes) for part in (self.pictures, self.held_out)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def _write_skipped(self) -> None:
        rows = sorted(self.skipped().items())
        write_text(self.workdir / "skipped.csv", _to_csv(("file", "reason"), rows))

    def _write_history(self) -> None:
        rows = [
            ["" if row[name] is None else row[name] for name in _COLUMNS] for row in self.history
        ]
        write_text(self.workdir / "history.csv", _to_csv(_COLUMNS, rows))

    def _read_history(self) -> list[dict[str, Any]]:
        names, *rows = _read_csv(self.workdir / "history.csv")
        return [{name: _parse(name, text) for name, text in zip(names, row)} for row in rows]


def _parse(name: str, text: str) -> Any:
    if name == "phase":
        return text
    return int(text) if name == "step" else float(text) if text else None


def _read_csv(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))


def _to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _scale(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """uint8 [B, H, W, 3], uint8 [B, H, W] -> float32 0..1, float32 [B, H, W, 1]."""
    return tf.cast(image, tf.float32) / 255, tf.cast(mask, tf.float32)[..., None]


def _lay_in(painted: tf.Tensor, image: tf.Tensor, hole: tf.Tensor) -> tf.Tensor:
    """The image, uint8, with what is painted (0..1) in its holes."""
    rounded = tf.cast(tf.round(255 * tf.clip_by_value(painted, 0, 1)), tf.uint8)
    return tf.where(hole > 0, rounded, image)
