"""Localization of a split's maps, compared with maps that need no learning."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf

from aacf_tf.evaluation import localization
from aacf_tf.evaluation.predictions import SplitOutputs, join
from aacf_tf.runs.run import Run
from tfrecords.reading.clips import has_masks
from tfrecords.reading.corruption import translate_errors

# Rows and columns of the grid on which masks of different frame sizes are averaged.
_GRID = 32

Measure = Callable[..., tf.Tensor]


def localize(run: Run, outputs: SplitOutputs, prior: np.ndarray | None) -> dict[str, Any]:
    """Measures how well maps, and the mean mask `prior`, localize the actors that have a mask."""
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
    timed = run.recipe.data.frames > 1
    values = measure_maps(maps, coverage, threshold, timed=timed, shown=shown)
    areas = values.pop("area")
    # A map of the picture's centre has good pointing and mass too, but not for these clips.
    far = localization.off_centre(coverage)
    # Said only if such masks count: figures against them are none against annotated ones.
    said = {"automatic_masks": True} if run.recipe.automatic_masks else {}
    return {
        **said,
        **{name: mean(value) for name, value in values.items()},
        "off_centre_third": {name: mean(value[far]) for name, value in values.items()},
        "clips_with_mask": len(coverage),
        "mask_area": float(areas.mean()),
        "mask_threshold": threshold,
    }


def measure_maps(
    maps: Mapping[str, np.ndarray],
    coverage: np.ndarray,
    threshold: float,
    *,
    timed: bool,
    shown: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Measures maps of clips whose actor is in the picture; N clips, of one grid or of several.

    Args:
        maps: Maps `[N, t, h, w]` by name, weights that sum to 1 a clip.
        coverage: Share of each cell that the actor's mask covers, `[N, t, h, w]`.
        threshold: Share that a mask must exceed for the cell to be the actor's.
        timed: Whether the clips have more than one frame.
        shown: Displayed cells of the map `action`, bool `[N, t, h, w]`.

    Returns:
        Values `[N]` by map and measure, such as `action_pointing`; of `shown` `action_iou`; and
        `area`, the share of the cells that is the actor's.
    """
    values: dict[str, np.ndarray] = {}

    def note(name: str, indices: np.ndarray, results: np.ndarray) -> None:
        values.setdefault(name, np.empty(len(coverage), results.dtype))[indices] = results

    for indices in _by_grid(coverage):
        cells = localization.actor_cells(np.stack(list(coverage[indices])), threshold)
        note("area", indices, cells.numpy().mean(axis=(1, 2, 3)))
        for name, weights in maps.items():
            for measure in _measures(name, timed):
                results = measure(np.stack(list(weights[indices])), cells).numpy()
                note(f"{name}_{measure.__name__}", indices, results)
        if shown is not None:
            note("action_iou", indices, _overlap(np.stack(list(shown[indices])), cells.numpy()))
    return values


def _by_grid(maps: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Groups the indices of maps `[t, h, w]` by the maps' shape."""
    shapes = [clip.shape for clip in maps]
    return [
        np.array([index for index, other in enumerate(shapes) if other == shape])
        for shape in dict.fromkeys(shapes)
    ]


def _measures(name: str, timed: bool) -> tuple[Measure, ...]:
    """Returns the measures for a kind of map."""
    if name == "context":
        return localization.mass, localization.auc  # nobody asks for the peak of the context
    usual = localization.pointing, localization.mass, localization.auc
    # A photograph has no time to have a share of.
    return (*usual, localization.time_share) if name == "action" and timed else usual


def _overlap(shown: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of two sets of cells, `[N]`, a value for each clip."""
    both, either = (kind(shown, cells).sum((1, 2, 3)) for kind in (np.logical_and, np.logical_or))
    return both / either  # an actor has a cell, so there is one


def mean(values: np.ndarray) -> float | None:
    """Returns the mean of the values that are not NaN; None if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def mean_training_mask(
    run: Run, grid: tuple[int, int, int], strides: tuple[int, int, int]
) -> np.ndarray | None:
    """Averages the masks of the training clips to weights `[t, h, w]`; None if they have no masks.

    Masks of whole frames, which differ in size, are averaged on a grid of `_GRID` cells a side.
    """
    clips = run.info.splits.get("train", {}).get("clips")
    if not clips or not has_masks(run.data, "train", run.recipe.automatic_masks):
        return None
    whole = run.recipe.data.resize == "whole"
    if whole:
        grid, strides = (grid[0], _GRID, _GRID), (strides[0], 1, 1)
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
    """Resizes the mean mask to the grid of a clip."""
    if prior.shape == grid:
        return prior
    return localization.normalize_map(_stretch(prior, grid[1:])[None]).numpy()[0]


def _stretch(maps: localization.TensorLike, size: tuple[int, int]) -> tf.Tensor:
    """Resizes `[t, h, w]` to another height and width by averaging areas, float32."""
    stretched = tf.image.resize(tf.cast(maps, tf.float32)[..., None], size, method="area")
    return stretched[..., 0]
