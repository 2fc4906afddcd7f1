"""Losses and held-out figures over the steps: history.csv, metrics.json, pictures, TensorBoard."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from aacf_tf.completion import comparison
from aacf_tf.completion.objectives import LOSSES
from aacf_tf.completion.options import PHASES, Settings
from aacf_tf.training.history import to_csv
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UserError

_COLUMNS = ("step", "phase", *LOSSES, *comparison.FIGURES)


class Results:
    """Results of a run, written into its working directory.

    Args:
        settings: Settings of the run.
        held_out: Held-out crops to compare on.
        workdir: Working directory.

    Attributes:
        history: One dict per row of history.csv; figures are None in rows without a comparison.
    """

    def __init__(self, settings: Settings, held_out: comparison.Comparison, workdir: Path):
        self.settings, self.held_out, self.workdir = settings, held_out, workdir
        self.history: list[dict[str, Any]] = []

    def read(self, step: int) -> None:
        """Reads the history up to a step."""
        kinds = {**dict.fromkeys(_COLUMNS, _number), "step": int, "phase": str}
        history = read_csv(self.workdir / "history.csv", kinds)
        self.history = [row for row in history if row["step"] <= step]

    def write(self) -> None:
        """Writes history.csv."""
        write_text(self.workdir / "history.csv", to_csv(self.history, _COLUMNS))

    def add(
        self, step: int, phase: str, losses: Sequence[float], completed: np.ndarray | None
    ) -> None:
        """Adds a row.

        Args:
            step: Steps done.
            phase: Phase of the last one.
            losses: Means of `LOSSES` since the last row.
            completed: Completed held-out crops, uint8 [N, S, S, 3]; None: not compared.
        """
        row = {**dict.fromkeys(_COLUMNS), "step": step, "phase": phase, **dict(zip(LOSSES, losses))}
        for name in LOSSES:
            tf.summary.scalar(f"loss/{name}", row[name], step)
        self.history.append(row)
        if completed is not None:
            row.update(self.held_out.judge(completed))
            self._show(completed, step)

    def metrics(self) -> dict[str, Any]:
        """Returns the content of metrics.json: the last comparison, which the last row holds."""
        return {
            "step": self.history[-1]["step"],
            "pictures": len(self.held_out.held_out.image),
            "network": self._figures(),
            "telea": self.held_out.telea,
            "diffusion": self.held_out.diffusion,
        }

    def describe(self) -> str:
        """Returns the last comparison as a table for the terminal."""
        metrics = self.metrics()
        rows = {name: metrics[name] for name in ("telea", "diffusion", "network")}
        return comparison.table(rows, metrics["pictures"])

    def _figures(self) -> comparison.Figures:
        return {name: self.history[-1][name] for name in comparison.FIGURES}

    def _show(self, completed: np.ndarray, step: int) -> None:
        sheet = self.held_out.sheet(completed)
        for name, value in self._figures().items():
            tf.summary.scalar(f"held_out/{name}", value, step)
        tf.summary.image("held_out", sheet[None], step)
        comparison.write_png(self.workdir / "samples.png", sheet)
        write_json(self.workdir / "metrics.json", self.metrics())
        self.write()
        starts = np.cumsum([0, *self.settings.steps[:2]]).tolist()
        levels = {"Telea": self.held_out.telea, "diffusion": self.held_out.diffusion}
        comparison.write_curves(
            self.workdir / "curves.png",
            self.history,
            list(zip(PHASES, starts)),
            {name: figures["psnr"] for name, figures in levels.items()},
        )


def read_csv(path: Path, kinds: Mapping[str, Callable[[str], Any]]) -> list[dict[str, Any]]:
    """Returns the rows of a CSV file by the names in its first line.

    Args:
        path: The file.
        kinds: Name of each column -> what reads a cell.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
        return [{name: read(row[name]) for name, read in kinds.items()} for row in rows]
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise UserError(
            f"Expected a table with the columns {', '.join(kinds)} in {path}, received one that is "
            "missing or damaged; copy the file back, or give another --workdir."
        ) from error


def _number(text: str) -> float | None:
    return float(text) if text else None
