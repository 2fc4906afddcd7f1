"""Compares the network with Telea's inpainting (OpenCV) on the same held-out holes.

PSNR         dB, 10 log10(1 / mean squared error) in the holes of a picture, colors 0..1; mean
             over the pictures
PSNR pooled  the same for the squared error of all holes' pixels together
L1           mean absolute error in the holes of a picture, 0..1; mean over the pictures
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Sequence

import cv2
import numpy as np

from aacf_tf.completion.draws import Batch
from tfrecords.conjugates.fillers import telea
from tfrecords.utils.atomic import replacing

_LEAST_ERROR = 1e-6  # mean squared error of rounding to 8 bits: 60 dB
_SHOWN = 8  # pictures per sheet
_MIN_SIDE = 128  # least side of a picture in a sheet, pixels
_TITLES = ("hole", "Telea", "network", "truth")

FIGURES = ("psnr", "psnr_pooled", "l1")
Figures = dict  # one of FIGURES -> float


class Comparison:
    """Held-out crops with their figures and pictures.

    Args:
        held_out: The crops and their holes.
        diffuse: Fills holes smoothly; a function as for `complete`.

    Attributes:
        telea: Figures of Telea's inpainting.
        diffusion: Figures of `diffuse`, the input of a network with fill "diffused".
    """

    def __init__(self, held_out: Batch, diffuse: Callable[[np.ndarray, np.ndarray], np.ndarray]):
        self.held_out = held_out
        self._telea = np.stack(
            [telea(image, mask > 0) for image, mask in zip(held_out.image, held_out.mask)]
        )
        self.telea = self.judge(self._telea)
        self.diffusion = self.judge(self.complete(diffuse))

    def complete(
        self, completion: Callable[[np.ndarray, np.ndarray], np.ndarray], batch_size: int = 16
    ) -> np.ndarray:
        """Completes all crops: uint8 [N, S, S, 3].

        Args:
            completion: Function (image uint8 [B, S, S, 3], mask uint8 [B, S, S]) -> uint8
                [B, S, S, 3].
            batch_size: Crops per call.
        """
        image, mask, _ = self.held_out
        starts = range(0, len(image), batch_size)
        return np.concatenate(
            [completion(image[n : n + batch_size], mask[n : n + batch_size]) for n in starts]
        )

    def judge(self, completed: np.ndarray) -> Figures:
        """Returns the figures of completed crops, uint8 [N, S, S, 3]."""
        return figures(completed, self.held_out.image, self.held_out.mask)

    def sheet(self, completed: np.ndarray) -> np.ndarray:
        """Returns evenly spread crops, uint8 RGB, a row each: hole, Telea, network, truth."""
        image, mask, _ = self.held_out
        count = min(_SHOWN, len(image))
        scale = -(-_MIN_SIDE // image.shape[1])
        rows = [_title_row(image.shape[1] * scale)]
        for n in (index * len(image) // count for index in range(count)):
            hole = np.where(mask[n][..., None] > 0, np.uint8(127), image[n])
            row = np.concatenate([hole, self._telea[n], completed[n], image[n]], axis=1)
            rows.append(row.repeat(scale, axis=0).repeat(scale, axis=1))
        return np.concatenate(rows)


def figures(completed: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> Figures:
    """Returns the figures of the module's docstring.

    Args:
        completed, truth: Images, uint8 [N, H, W, 3].
        mask: Mask, uint8 [N, H, W], 1 in a hole; none is empty.
    """
    weights = mask[..., None] / (3.0 * mask.sum((1, 2))[:, None, None, None])
    difference = (completed.astype(np.float64) - truth) / 255
    squares = (weights * difference**2).sum((1, 2, 3))
    pixels = mask.sum((1, 2))
    return {
        "psnr": float(np.mean(_decibels(squares))),
        "psnr_pooled": float(_decibels(np.average(squares, weights=pixels))),
        "l1": float(np.mean((weights * abs(difference)).sum((1, 2, 3)))),
    }


def _decibels(squares: np.ndarray) -> np.ndarray:
    return -10 * np.log10(np.maximum(squares, _LEAST_ERROR))


def table(rows: Mapping[str, Figures], pictures: int) -> str:
    """Returns the figures as a table for the terminal."""
    lines = [f"{f'held-out holes, {pictures} pictures':34} {'PSNR dB':>8} {'pooled':>8} {'L1':>8}"]
    for name, values in rows.items():
        lines.append(
            f"  {name:32} {values['psnr']:8.2f} {values['psnr_pooled']:8.2f} {values['l1']:8.4f}"
        )
    return "\n".join(lines)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] RGB atomically."""
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def write_curves(
    path: Path,
    history: Sequence[Mapping[str, Any]],
    phases: Iterable[tuple[str, int]],
    references: Mapping[str, float],
) -> None:
    """Draws the losses and the PSNR over the steps.

    Args:
        path: Path of the PNG.
        history: Rows of history.csv.
        phases: (name, first step) of each phase.
        references: Name -> PSNR, drawn as horizontal lines.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    quality, error, contest = figure.subplots(3, 1, sharex=True)
    for axes, names in (
        (quality, ("psnr",)),
        (error, ("squared_error",)),
        (contest, ("discriminators", "adversarial")),
    ):
        for name in names:
            points = [(row["step"], row[name]) for row in history if row[name] is not None]
            axes.plot(*zip(*points) if points else ([], []), label=name.replace("_", " "))
    for (name, level), style in zip(references.items(), ("--", ":")):
        quality.axhline(level, color="gray", linestyle=style, label=name)
    for axes in (quality, error, contest):
        for _, first in phases:
            axes.axvline(first, color="lightgray", zorder=0)
        axes.legend(loc="best", fontsize=8)
    quality.set_ylabel("held-out PSNR, dB")
    error.set_ylabel("squared error, 0..1")
    error.set_yscale("log")
    contest.set_ylabel("cross-entropy")
    contest.set_xlabel("step: " + ", ".join(f"{name} from {first}" for name, first in phases))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _title_row(side: int) -> np.ndarray:
    row = np.full((22, len(_TITLES) * side, 3), 255, np.uint8)
    for index, title in enumerate(_TITLES):
        corner = (index * side + 4, 16)
        cv2.putText(row, title, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return row
