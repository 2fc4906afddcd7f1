"""Where the maps of a split lie, beside what needs no learning."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np
import tensorflow as tf

from aacf_tf.evaluation import localization
from aacf_tf.evaluation.predictions import SplitOutputs, join
from aacf_tf.runs.run import Run
from tfrecords.reading.clips import has_masks
from tfrecords.reading.corruption import translate_errors

Measure = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def localize(run: Run, outputs: SplitOutputs, prior: np.ndarray | None) -> dict[str, Any]:
    """Where the maps of the clips with a mask lie, beside what one gets without learning."""
    threshold = run.recipe.mask_threshold
    masked = outputs.masked
    kinds = {
        "action": outputs.evidence,
        "context": outputs.context_attention,
        "frame_difference": outputs.difference,
    }
    maps = {name: values[masked] for name, values in kinds.items() if values is not None}
    coverage = outputs.coverage[masked]
    if prior is not None:
        maps["mean_mask"] = join([_fit_prior(prior, clip.shape)[None] for clip in coverage])
    shown = None if outputs.shown is None else outputs.shown[masked]
    values: dict[str, np.ndarray] = {}
    areas = np.empty(len(coverage))

    def note(name: str, indices: np.ndarray, results: np.ndarray) -> None:
        values.setdefault(name, np.empty(len(coverage), results.dtype))[indices] = results

    for indices in _by_grid(coverage):
        cells = localization.actor_cells(np.stack(coverage[indices]), threshold)
        areas[indices] = cells.numpy().mean(axis=(1, 2, 3))
        for name, weights in maps.items():
            for measure in _measures(name, run.recipe.data.frames):
                results = measure(np.stack(weights[indices]), cells).numpy()
                note(f"{name}_{measure.__name__}", indices, results)
        if shown is not None:
            note("action_iou", indices, _overlap(np.stack(shown[indices]), cells.numpy()))
    # Pointing and mass can be had by looking at the centre: how it is where the actor is not there.
    far = localization.off_centre(coverage)
    return {
        **{name: _mean(value) for name, value in values.items()},
        "off_centre_third": {name: _mean(value[far]) for name, value in values.items()},
        "clips_with_mask": len(coverage),
        "mask_area": float(areas.mean()),
        "mask_threshold": threshold,
    }


def _by_grid(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Of maps `[t, h, w]` the places of those of one shape, for each shape there is."""
    shapes = [clip.shape for clip in maps]
    return [
        np.array([place for place, other in enumerate(shapes) if other == shape])
        for shape in dict.fromkeys(shapes)
    ]


def _measures(name: str, frames: int) -> tuple[Measure, ...]:
    """By which the maps of a name are judged, for clips of so many frames."""
    if name == "context":
        return localization.mass, localization.auc  # nobody asks for the peak of the context
    usual = localization.pointing, localization.mass, localization.auc
    # A photograph has no time to have a share of.
    return (*usual, localization.time_share) if name == "action" and frames > 1 else usual


def _overlap(shown: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Intersection over union of two sets of cells, a clip at a time: `[N]`."""
    both, either = (kind(shown, cells).sum((1, 2, 3)) for kind in (np.logical_and, np.logical_or))
    return both / either  # an actor has a cell, so there is one


def _mean(values: np.ndarray) -> float | None:
    """Of what is known; None where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


# Rows and columns of the grid on which the masks of frames that differ in size meet.
_MEETING = 32


def mean_training_mask(
    run: Run, grid: tuple[int, int, int], strides: tuple[int, int, int]
) -> np.ndarray | None:
    """The mean mask of the training clips as weights `[t, h, w]`; None where they carry none.

    Whole frames, which differ in size, meet on one grid of their own, see `_fit_prior`.
    """
    clips = run.info.splits.get("train", {}).get("clips")
    if not clips or not has_masks(run.data, "train"):
        return None
    whole = run.recipe.data.resize == "whole"
    if whole:
        grid, strides = (grid[0], _MEETING, _MEETING), (strides[0], 1, 1)
    stage = run.recipe.stages[-1]
    total = np.zeros(grid)
    with translate_errors(run.data):
        for inputs, _, _ in run.batches("train", stage, training=False, masks=True):
            masks = tf.boolean_mask(inputs["mask"], inputs["has_mask"])
            if whole and len(masks):
                masks = _stretch(masks[0], grid[1:])[None]
            total += localization.cell_coverage(masks, grid, strides).numpy().sum(0)
    return localization.normalize_map(total[None]).numpy()[0]


def _fit_prior(prior: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    """The mean mask on the grid of a clip; it is there already where all frames are of one size."""
    if prior.shape == grid:
        return prior
    return localization.normalize_map(_stretch(prior, grid[1:])[None]).numpy()[0]


def _stretch(maps: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """`[t, h, w]` at another height and width, float32; a mean over what becomes smaller."""
    stretched = tf.image.resize(tf.cast(maps, tf.float32)[..., None], size, method="area")
    return stretched[..., 0]
