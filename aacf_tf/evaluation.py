"""Judges a model on every test split: classification, and where its maps lie."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from aacf_tf import metrics
from aacf_tf.model import ActionModel
from aacf_tf.training import Run, write_json
from tfrecords.errors import UsageError
from tfrecords.reader import count_steps, translate_errors

# Which of a model's outputs is which score of the contract.
SCORES = {
    "action": "action_scores",
    "context": "context_scores",
    "combined": "combined_scores",
}
MIN_CLIPS_FOR_RELIABILITY = 20


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
    splits = [name for name in run.info.splits if name.startswith("test")]
    splits = [name for name in splits if run.info.splits[name]["clips"]]
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
        if prior is None and "coverage" in outputs:
            prior = _mean_training_mask(run, outputs["coverage"].shape[1:], strides)
        names = [name for name in SCORES if name in outputs]
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
    temporary = directory / "predictions.csv.tmp"
    temporary.write_text(table.getvalue(), encoding="utf-8")
    os.replace(temporary, directory / "predictions.csv")
    return content


def predict_split(
    run: Run, model: ActionModel, split: str, forward: Callable[[tf.Tensor], dict[str, tf.Tensor]]
) -> dict[str, Any]:
    """Everything evaluation needs about a split, in the order of its records.

    `forward` is the model's call for clips, compiled once for all splits.

    Returns:
        id list of str; targets bool `[N, K]`; action, context, combined: probabilities `[N, K]`
        (what the head has); evidence, context_attention: maps `[N, t, h, w]` (action evidence:
        attention, or the class activation of the predicted class); where the split has masks
        coverage `[N, t, h, w]`, and difference: the mean absolute frame difference of each cell.
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
            for score, name in SCORES.items():
                if name in outputs:
                    scores = outputs[name]
                    if run.info.multi_label:
                        keep(score, 1 / (1 + np.exp(-scores.astype(np.float64))))
                    else:
                        keep(score, metrics.softmax(scores)[:, :classes])
            if "action_attention" in outputs:
                keep("evidence", outputs["action_attention"])
                keep("context_attention", outputs["context_attention"])
            else:
                keep("evidence", metrics.normalize_map(outputs["class_activation"]))
            if inputs["has_mask"].numpy().all():
                grid = collected["evidence"][0].shape[1:]
                keep("coverage", metrics.cell_coverage(inputs["mask"].numpy(), grid, strides))
                keep("difference", _frame_difference(inputs["clip"].numpy(), grid, strides))
    result: dict[str, Any] = {name: np.concatenate(parts) for name, parts in collected.items()}
    if "coverage" in result and len(result["coverage"]) != len(result["id"]):
        # Localisation speaks of whole splits: one without a mask somewhere has none.
        del result["coverage"], result["difference"]
    return result


def _judge(run: Run, outputs: dict[str, Any], prior: np.ndarray | None) -> dict[str, Any]:
    """One split's entry of metrics.json."""
    targets, labels = outputs["targets"], run.info.labels
    entry: dict[str, Any] = {"clips": len(targets)}
    for score in SCORES:
        if score in outputs:
            entry[score] = metrics.classification(outputs[score], targets, labels)
    enough = len(targets) >= MIN_CLIPS_FOR_RELIABILITY
    if "action" in outputs and enough and not run.info.multi_label:
        scores, trust = metrics.context_reliability(outputs["action"], outputs["context"])
        judged = metrics.classification(scores, targets, labels)
        entry["reliability"] = {
            "top1": judged["top1"],
            "mean_ap": judged["mean_ap"],
            "context_trust": trust,
        }
    if "coverage" in outputs:
        entry["localization"] = _localize(run, outputs, prior)
    return entry


def _localize(run: Run, outputs: dict[str, Any], prior: np.ndarray | None) -> dict[str, Any]:
    threshold = run.recipe.mask_threshold
    cells = metrics.actor_cells(outputs["coverage"], threshold)

    def judge(prefix: str, weights: np.ndarray) -> dict[str, float]:
        values = metrics.pointing_mass_auc(weights, cells)
        return {f"{prefix}_{name}": value for name, value in values.items()}

    entry: dict[str, Any] = judge("action", outputs["evidence"])
    entry["action_time_share"] = metrics.time_share(outputs["evidence"], cells)
    if "context_attention" in outputs:
        context = judge("context", outputs["context_attention"])
        entry.update(context_mass=context["context_mass"], context_auc=context["context_auc"])
    # What one gets without learning, beside the maps.
    entry.update(judge("frame_difference", outputs["difference"]))
    if prior is not None:
        entry.update(judge("mean_mask", np.repeat(prior[None], len(cells), axis=0)))
    entry.update(mask_area=float(cells.mean()), mask_threshold=threshold)
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
            if not known.any():
                return None
            masks = inputs["mask"].numpy()[known]
            total += metrics.cell_coverage(masks, grid, strides).sum(0)
            clips += len(masks)
    return metrics.normalize_map(total[None] / clips)[0]
