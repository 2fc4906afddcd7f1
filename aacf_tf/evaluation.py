"""Judges a model on every test split: classification, and where its maps lie."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from aacf_tf import localization, metrics
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.losses import presence_score
from aacf_tf.models.streams import CHANNELS, STREAM_INPUTS
from aacf_tf.recipes import DataOptions
from aacf_tf.runs.run import Run
from aacf_tf.visualization import overlays
from tfrecords.reading.clips import count_steps, has_masks
from tfrecords.reading.corruption import translate_errors
from tfrecords.records.dataset import test_splits
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress

Forward = Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]
Measure = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def evaluate(run: Run, model: ActionModel, head: str, directory: Path) -> dict[str, Any]:
    """Writes `metrics.json` and `predictions.csv` for every split named `test*`.

    Args:
        run: whose data to judge on.
        model: in float32.
        head: its name, for the file.
        directory: where to write.

    Returns:
        what `metrics.json` holds.

    Raises:
        UsageError: the data set has no test split with clips.
    """
    splits = test_splits(run.info)
    if not splits:
        raise UsageError(
            f"Expected a split whose name begins with 'test' in {run.data}, "
            f"received {', '.join(run.info.splits)}."
        )
    labels = run.info.labels
    content: dict[str, Any] = {
        "recipe": run.recipe.name,
        "head": head,
        "labels": labels,
        "splits": {},
    }
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    strides = model.strides()
    prior = None
    forward = compile_forward(run, model)
    for split in splits:
        outputs = predict_split(run, model, split, forward)
        if prior is None and outputs["masked"].any():
            prior = _mean_training_mask(run, outputs["coverage"][0].shape, strides)
        names = [name for name in metrics.SCORES if name in outputs]
        if not table.tell():
            columns = [f"{name}_{label}" for name in names for label in labels]
            writer.writerow(["split", "id", "labels", "predicted", *columns])
        content["splits"][split] = _judge(run, outputs, prior)
        chosen = outputs[run.recipe.score if run.recipe.score in outputs else "combined"]
        for row, name in enumerate(outputs["id"]):
            true = [labels[k] for k in np.flatnonzero(outputs["targets"][row])]
            scores = np.concatenate([outputs[score][row] for score in names])
            predicted = labels[int(chosen[row].argmax())]
            writer.writerow(
                [split, name, "|".join(true), predicted, *(f"{value:.6f}" for value in scores)]
            )
    write_json(directory / "metrics.json", content)
    write_text(directory / "predictions.csv", table.getvalue())
    return content


def compile_forward(run: Run, model: ActionModel) -> Forward:
    """The model's call for a batch of clips, one graph for all splits and all sizes of batches."""
    data = run.recipe.data
    sizes = [data.height, data.width]
    if data.resize == "whole" or data.test_crops > 1:
        sizes = [None, None]
    names = STREAM_INPUTS[run.recipe.modality]
    spec = {
        name: tf.TensorSpec([None, data.frames, *sizes, channels], tf.uint8)
        for name, channels in zip(names, CHANNELS[run.recipe.modality])
    }
    call = tf.function(lambda clips: model(clips, training=False), input_signature=[spec])
    return lambda inputs: call({name: inputs[name] for name in names})


def predict_split(run: Run, model: ActionModel, split: str, forward: Forward) -> dict[str, Any]:
    """Everything evaluation needs about a split, in the order of its records.

    `forward` is the model's call for a batch, see `compile_forward`. Scores are means over the
    views of the recipe (`data.test_clips`, `data.test_crops`); maps are of the centre of the clip
    and its whole frame.

    Returns:
        id `[N]` of str; targets bool `[N, K]`; action, context, combined: probabilities `[N, K]`;
        presence `[N]`: how far an action is there at all (see `losses.presence_score`); evidence,
        context_attention: maps `[N, t, h, w]`, weights summing to 1 a clip (evidence: the action
        attention, or the class activation of the predicted class); masked bool `[N]`: the actor is
        known and in the picture; coverage `[N, t, h, w]`: the share of each cell that the mask
        covers; difference `[N, t, h, w]`: the mean absolute frame difference of each cell, as
        weights; shown bool `[N, t, h, w]`: where the action map as displayed is above .5. Scores,
        presence, context_attention and shown only where the head has them; difference only where
        the model sees frames, and more than one. Where frames differ in size and so do the maps, an
        array of arrays.
    """
    stage = run.recipe.stages[-1]
    classes = len(run.info.labels)
    strides = model.strides()
    collected: dict[str, list[np.ndarray]] = {}

    def keep(name: str, value: np.ndarray) -> None:
        collected.setdefault(name, []).append(value)

    steps = count_steps(run.info, split, run.batch_size(stage, False), training=False)
    views = _views(run.recipe.data)

    def read(name: str, **options: Any) -> Iterable[tuple[Any, ...]]:
        batches = run.batches(split, stage, training=False, **options)
        return progress(batches, total=steps, desc=f"evaluate {split}{name}", leave=False)

    with translate_errors(run.data):
        for inputs, targets, _ in read("", masks=True):
            outputs = {name: value.numpy() for name, value in forward(inputs).items()}
            keep("id", inputs["id"].numpy().astype(str))
            targets = targets.numpy()
            if not run.info.multi_label:
                targets = np.eye(classes + 1, dtype=bool)[targets][:, :classes]
            keep("targets", targets > 0)
            for score, chances in _chances(run, outputs).items():
                keep(score, chances)
            if "presence" in model.head.terms:
                keep("presence", presence_score(outputs["action_logits"]).numpy())
            if "context_attention" in outputs:
                keep("context_attention", outputs["context_attention"])
            if "action_attention" in outputs:
                keep("evidence", outputs["action_attention"])
                heat = [overlays.display_attention(m) for m in outputs["action_attention"]]
                keep("shown", np.stack(heat) > 0.5)
            else:
                evidence = localization.normalize_map(outputs["class_activation"])
                keep("evidence", evidence.numpy())
            grid = collected["evidence"][-1].shape[1:]
            coverage = localization.cell_coverage(inputs["mask"], grid, strides).numpy()
            keep("coverage", coverage)
            keep("masked", inputs["has_mask"].numpy() & (coverage > 0).any((1, 2, 3)))
            if run.recipe.modality != "flow" and run.recipe.data.frames > 1:
                keep("difference", _frame_difference(inputs["clip"], grid, strides).numpy())
        sums: dict[str, Any] = {}
        for number, view in enumerate(views, start=1):
            parts = [
                _chances(run, {name: value.numpy() for name, value in forward(inputs).items()})
                for inputs, *_ in read(f", view {number} of {len(views)}", view=view)
            ]
            for score in parts[0]:
                sums[score] = sums.get(score, 0) + np.concatenate([part[score] for part in parts])
    means = {score: total / len(views) for score, total in sums.items()}
    return {**{name: _join(parts) for name, parts in collected.items()}, **means}


def _chances(run: Run, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Score -> probabilities `[B, K]` of the real classes, by the scores that the head has."""
    chances = {}
    for score in metrics.SCORES:
        if f"{score}_scores" in outputs:
            scores = outputs[f"{score}_scores"]
            if run.info.multi_label:
                values = 1 / (1 + np.exp(-scores.astype(np.float64)))
            else:
                values = metrics.softmax(scores)
            chances[score] = values[:, : len(run.info.labels)]
    return chances


def _views(data: DataOptions) -> list[tuple[float, Any, Any]]:
    """Start, top and left of every view, 0..1, see `read_dataset`; none where one view is all."""
    if data.test_clips == data.test_crops == 1:
        return []
    # Three along the diagonal: along the longer side, where the shorter has no room.
    line = [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]
    places = {1: [(None, None)], 3: line, 5: [*line, (0.0, 1.0), (1.0, 0.0)]}[data.test_crops]
    times = [(number + 0.5) / data.test_clips for number in range(data.test_clips)]
    return [(time, *place) for time in times for place in places]


def _join(parts: list[np.ndarray]) -> np.ndarray:
    """Batches one after the other; of differing shapes, an array of each clip's array."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    clips = [clip for part in parts for clip in part]
    joined = np.empty(len(clips), object)
    joined[:] = clips
    return joined


def _judge(run: Run, outputs: dict[str, Any], prior: np.ndarray | None) -> dict[str, Any]:
    """One split's entry of metrics.json."""
    targets, labels = outputs["targets"], run.info.labels
    entry: dict[str, Any] = {"clips": len(targets)}
    for score in metrics.SCORES:
        if score in outputs:
            entry[score] = metrics.classification(outputs[score], targets, labels)
    enough = len(targets) >= metrics.MIN_CLIPS_FOR_RELIABILITY
    judges_context = "action" in outputs and run.context_learns and not run.info.multi_label
    if judges_context and enough:
        scores, trust = metrics.context_reliability(outputs["action"], outputs["context"])
        judged = metrics.classification(scores, targets, labels)
        entry["reliability"] = {
            "top1": judged["top1"],
            "mean_ap": judged["mean_ap"],
            "context_trust": trust,
        }
    if outputs["masked"].any():
        entry["localization"] = _localize(run, outputs, prior)
    return entry


def _localize(run: Run, outputs: dict[str, Any], prior: np.ndarray | None) -> dict[str, Any]:
    """Where the maps of the clips with a mask lie, beside what one gets without learning."""
    threshold = run.recipe.mask_threshold
    masked = outputs["masked"]
    maps = {"action": outputs["evidence"][masked]}
    if "context_attention" in outputs:
        maps["context"] = outputs["context_attention"][masked]
    if "difference" in outputs:
        maps["frame_difference"] = outputs["difference"][masked]
    coverage = outputs["coverage"][masked]
    if prior is not None:
        maps["mean_mask"] = _join([_fit_prior(prior, clip.shape)[None] for clip in coverage])
    shown = outputs["shown"][masked] if "shown" in outputs else None
    values: dict[str, np.ndarray] = {}
    areas = np.empty(len(coverage))

    def note(name: str, places: np.ndarray, found: np.ndarray) -> None:
        values.setdefault(name, np.empty(len(coverage), found.dtype))[places] = found

    for places in _by_grid(coverage):
        cells = localization.actor_cells(np.stack(coverage[places]), threshold)
        areas[places] = cells.numpy().mean(axis=(1, 2, 3))
        for name, weights in maps.items():
            for measure in _measures(name, run.recipe.data.frames):
                found = measure(np.stack(weights[places]), cells).numpy()
                note(f"{name}_{measure.__name__}", places, found)
        if shown is not None:
            note("action_iou", places, _overlap(np.stack(shown[places]), cells.numpy()))
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


def _frame_difference(
    clips: tf.Tensor, grid: tuple[int, int, int], strides: tuple[int, int, int]
) -> tf.Tensor:
    """Mean absolute difference of neighbouring frames in each cell, as weights summing to 1."""
    clips = tf.cast(clips, tf.float32)
    change = tf.reduce_mean(tf.abs(clips[:, 1:] - clips[:, :-1]), axis=-1)
    # The first frame's is that of the second.
    change = tf.concat([change[:, :1], change], axis=1)
    return localization.normalize_map(localization.cell_coverage(change, grid, strides))


# Rows and columns of the grid on which the masks of frames that differ in size meet.
_MEETING = 32


def _mean_training_mask(
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
