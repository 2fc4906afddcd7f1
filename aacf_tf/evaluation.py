"""Judges a model on every test split: classification, and where its maps lie."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from aacf_tf import metrics
from aacf_tf.model import ActionModel
from aacf_tf.training import Run
from tfrecords.dataset import DatasetInfo
from tfrecords.errors import UsageError
from tfrecords.files import write_json, write_text
from tfrecords.reader import count_steps, translate_errors


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
    data = run.recipe.data
    # One graph for all splits and for the smaller last batches.
    clips = tf.TensorSpec([None, data.frames, data.height, data.width, 3], tf.uint8)
    forward = tf.function(lambda batch: model(batch, training=False), input_signature=[clips])
    for split in splits:
        outputs = predict_split(run, model, split, forward)
        if prior is None and outputs["masked"].any():
            prior = _mean_training_mask(run, outputs["coverage"].shape[1:], strides)
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


def test_splits(info: DatasetInfo) -> list[str]:
    """The splits that are judged: named `test*`, with clips."""
    return [
        name for name, counts in info.splits.items() if name.startswith("test") and counts["clips"]
    ]


def predict_split(
    run: Run, model: ActionModel, split: str, forward: Callable[[tf.Tensor], dict[str, tf.Tensor]]
) -> dict[str, Any]:
    """Everything evaluation needs about a split, in the order of its records.

    `forward` is the model's call for clips, compiled once for all splits.

    Returns:
        id list of str; targets bool `[N, K]`; action, context, combined: probabilities `[N, K]`
        (what the head has); evidence, context_attention: maps `[N, t, h, w]` (action evidence:
        attention, or the class activation of the predicted class); masked bool `[N]`, coverage
        `[N, t, h, w]`: the share of each cell that the mask covers; difference `[N, t, h, w]`: the
        mean absolute frame difference of each cell.
    """
    stage = run.recipe.stages[-1]
    classes = len(run.info.labels)
    strides = model.strides()
    collected: dict[str, list[np.ndarray]] = {}

    def keep(name: str, value: np.ndarray) -> None:
        collected.setdefault(name, []).append(value)

    steps = count_steps(run.info, split, stage.batch_size, training=False)
    batches = run.batches(split, stage, training=False, masks=True)
    with translate_errors(run.data):
        for inputs, targets, _ in tqdm(batches, total=steps, desc=f"evaluate {split}", leave=False):
            outputs = {name: value.numpy() for name, value in forward(inputs["clip"]).items()}
            keep("id", inputs["id"].numpy().astype(str))
            targets = targets.numpy()
            if not run.info.multi_label:
                targets = np.eye(classes + 1, dtype=bool)[targets][:, :classes]
            keep("targets", targets > 0)
            for score in metrics.SCORES:
                if f"{score}_scores" in outputs:
                    scores = outputs[f"{score}_scores"]
                    if run.info.multi_label:
                        keep(score, 1 / (1 + np.exp(-scores.astype(np.float64))))
                    else:
                        keep(score, metrics.softmax(scores)[:, :classes])
            if "action_attention" in outputs:
                keep("evidence", outputs["action_attention"])
                keep("context_attention", outputs["context_attention"])
            else:
                keep("evidence", metrics.normalize_map(outputs["class_activation"]))
            grid = collected["evidence"][0].shape[1:]
            keep("masked", inputs["has_mask"].numpy())
            keep("coverage", metrics.cell_coverage(inputs["mask"].numpy(), grid, strides))
            keep("difference", _frame_difference(inputs["clip"].numpy(), grid, strides))
    return {name: np.concatenate(parts) for name, parts in collected.items()}


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
    coverage, evidence = outputs["coverage"][masked], outputs["evidence"][masked]
    cells = metrics.actor_cells(coverage, threshold)
    rivals = {"frame_difference": outputs["difference"][masked]}
    if prior is not None:
        rivals["mean_mask"] = np.repeat(prior[None], len(cells), axis=0)

    def judge(chosen: np.ndarray) -> dict[str, Any]:
        entry = {}
        for prefix, weights in {"action": evidence, **rivals}.items():
            values = metrics.pointing_mass_auc(weights[chosen], cells[chosen])
            entry.update({f"{prefix}_{name}": value for name, value in values.items()})
        return entry

    entry = judge(np.ones(len(cells), bool))
    entry["action_time_share"] = metrics.time_share(evidence, cells)
    if "context_attention" in outputs:
        context = metrics.pointing_mass_auc(outputs["context_attention"][masked], cells)
        entry.update(context_mass=context["mass"], context_auc=context["auc"])
    # Pointing and mass can be had by looking at the centre: how it is where the actor is not there.
    entry["off_centre_third"] = judge(metrics.off_centre(coverage))
    entry.update(
        clips_with_mask=len(cells), mask_area=float(cells.mean()), mask_threshold=threshold
    )
    return entry


def _frame_difference(
    clips: np.ndarray, grid: tuple[int, int, int], strides: tuple[int, int, int]
) -> np.ndarray:
    """Mean absolute difference of neighbouring frames in each cell, as weights summing to 1."""
    change = np.abs(np.diff(clips.astype(np.float32), axis=1)).mean(-1)
    change = np.concatenate([change[:, :1], change], axis=1) if clips.shape[1] > 1 else None
    if change is None:
        change = np.ones(clips.shape[:4], np.float32)
    return metrics.normalize_map(metrics.cell_coverage(change, grid, strides))


def _mean_training_mask(
    run: Run, grid: tuple[int, int, int], strides: tuple[int, int, int]
) -> np.ndarray | None:
    """The mean mask of the training clips as weights `[t, h, w]`; None where they carry none."""
    if "train" not in run.info.splits:
        return None
    stage = run.recipe.stages[-1]
    total, clips = np.zeros(grid), 0
    with translate_errors(run.data):
        for inputs, _, _ in run.batches("train", stage, training=False, masks=True):
            known = inputs["has_mask"].numpy()
            masks = inputs["mask"].numpy()[known]
            total += metrics.cell_coverage(masks, grid, strides).sum(0)
            clips += len(masks)
    return metrics.normalize_map(total[None] / clips)[0] if clips else None
