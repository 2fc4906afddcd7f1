"""Trains all phases, and resumes a run where it was stopped.

    WORKDIR/config.json            the settings, and a digest of the pictures
    WORKDIR/checkpoints/           the last two: weights, optimizers, step, sums of the losses
    WORKDIR/history.csv, logs/     losses and held-out figures over the steps; TensorBoard
    WORKDIR/metrics.json           the last comparison with Telea
    WORKDIR/curves.png samples.png losses and PSNR; hole, Telea, network, truth
    WORKDIR/skipped.csv            pictures that cannot be read
    WORKDIR/export/completion/     the SavedModel, once all steps are done

The batch of a step is a function of seed and step, so a resumed run equals the undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from aacf_tf.completion import comparison, draws, networks, serving
from aacf_tf.completion.objectives import LOSSES, Trainee
from aacf_tf.completion.options import Settings
from aacf_tf.completion.pictures import Parts, Pictures
from aacf_tf.completion.results import Results, read_csv
from aacf_tf.runs.checkpoints import read
from aacf_tf.runs.directory import CONFIG_FILE, read_config, require_same
from aacf_tf.runs.termination import Stopped, Termination
from aacf_tf.serving.export import versions
from aacf_tf.training.history import to_csv
from aacf_tf.weights.checkpoint_folder import newest, tidy
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UserError
from tfrecords.utils.progress import progress

ROWS = 400  # of history.csv, over the whole run
COMPARISONS = 40
SAVE_MINUTES = 5.0


class Trainer:
    """Trains in a working directory.

    Args:
        settings: Settings, checked.
        parts: Pictures to train on, and held-out ones.
        workdir: Working directory, created if missing.

    Raises:
        UsageError: The directory holds a run of other settings or pictures.
        UserError: No picture can be read, or a file of the run is missing or damaged.
    """

    def __init__(self, settings: Settings, parts: Parts, workdir: Path):
        self.settings, self.workdir = settings, workdir
        short_side = math.ceil(settings.zoom * settings.size)
        self.pictures, self.held_out = (Pictures(part, short_side) for part in parts)
        claimed = self._is_claimed()
        keras.utils.set_random_seed(settings.seed)
        colour = self.pictures.mean_colour()
        self.trainee = Trainee(settings, colour)
        crops = draws.draw_held_out(self.held_out, settings)
        self.comparison = comparison.Comparison(crops, networks.diffuse_crops)
        self.results = Results(settings, self.comparison, workdir)
        if not claimed:  # only once pictures could be read
            write_json(workdir / CONFIG_FILE, self._config())
        self._skipped_before: dict[str, str] = {}
        self._step = tf.Variable(0, trainable=False, dtype=tf.int64)
        # The number of steps since the last row of the history, and the sums of their losses.
        self._sums = tf.Variable(np.zeros(len(LOSSES) + 1), trainable=False)
        checkpoint = tf.train.Checkpoint(
            completion=self.trainee.completer.network,
            discriminators=self.trainee.discriminators,
            optimizers=self.trainee.optimizers,
            step=self._step,
            sums=self._sums,
        )
        folder = workdir / "checkpoints"
        tidy(folder)
        self._manager = tf.train.CheckpointManager(checkpoint, str(folder), 2)
        last = newest(folder)
        if last:
            read(checkpoint, last)
            self.results.read(self.step)
            skipped = read_csv(workdir / "skipped.csv", {"file": str, "reason": str})
            self._skipped_before = {row["file"]: row["reason"] for row in skipped}
        self._complete = tf.function(self._complete_crops)

    @property
    def step(self) -> int:
        """Steps done in all phases."""
        return int(self._step.numpy())

    def train(self, termination: Termination) -> None:
        """Trains all remaining steps.

        Raises:
            Stopped: SIGTERM came; the training so far is saved.
            UserError: A loss is not finite.
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
                    added = self.results.history[-1]
                    error = f"{added['squared_error']:.4f}"
                    bar.set_postfix({"squared error": error}, refresh=False)
                    if added["psnr"] is not None:
                        bar.write(
                            f"step {done}, {phase}: held-out PSNR {added['psnr']:.2f} dB, Telea "
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
        """Writes a checkpoint, the history and the list of unreadable pictures."""
        rows = [{"file": name, "reason": text} for name, text in sorted(self.skipped().items())]
        write_text(self.workdir / "skipped.csv", to_csv(rows, ("file", "reason")))
        self.results.write()
        self._manager.save(checkpoint_number=self.step)

    def finish(self) -> Path:
        """Exports the trained network, unless it is exported already.

        Returns:
            The directory of the exported version.
        """
        directory = self.workdir / "export" / "completion"
        if not versions(directory):
            facts = {"images_digest": self._digest(), "held_out": self.results.metrics()}
            serving.export(self.trainee.completer, self.settings, facts, directory)
        return directory / str(max(versions(directory)))

    def skipped(self) -> dict[str, str]:
        """Returns the reasons by name of pictures that could not be read so far."""
        return {**self._skipped_before, **self.pictures.skipped, **self.held_out.skipped}

    def _add_row(self, phase: str, judged: bool) -> None:
        count, *sums = self._sums.numpy()
        self._sums.assign(np.zeros_like(self._sums))
        completed = self.comparison.complete(self._complete) if judged else None
        self.results.add(self.step, phase, [value / count for value in sums], completed)

    def _complete_crops(self, image: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        colours, hole = networks.scale(image, mask)
        return networks.lay_in(self.trainee.completer(colours, hole), image, hole)

    def _check_finite(self, losses: dict[str, tf.Tensor], step: int, phase: str) -> None:
        for name, value in losses.items():
            if not math.isfinite(value):
                raise UserError(
                    f"Expected a finite loss, received {name} {float(value)} in step {step} "
                    f"({phase}); the last checkpoint is of step {self._saved_step()}: begin anew "
                    "in another --workdir with a lower --learning_rate."
                )

    def _saved_step(self) -> int:
        last = self._manager.latest_checkpoint
        return int(last.rsplit("-", 1)[1]) if last else 0

    def _is_claimed(self) -> bool:
        """Returns whether the directory holds this very run; raises if it holds another."""
        path = self.workdir / CONFIG_FILE
        if not path.is_file() and not any(self.workdir.glob("checkpoints/ckpt-*")):
            return False
        before, now = read_config(path), self._config()
        digests = before.pop("images_digest", None), now.pop("images_digest")
        require_same(self.workdir, "other settings", before, now)
        require_same(self.workdir, "pictures of other names or sizes", *digests)
        return True

    def _config(self) -> dict[str, Any]:
        return {**self.settings.to_dict(), "images_digest": self._digest()}

    def _digest(self) -> str:
        """Returns a digest of the names and sizes of all pictures."""
        parts = [(part.names, part.sizes) for part in (self.pictures, self.held_out)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
