"""Evaluates a model on every test split: classification, and localization of its maps."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path

import numpy as np

from aacf_tf.evaluation.classification import (
    MIN_CLIPS_FOR_RELIABILITY,
    classification,
    context_reliability,
)
from aacf_tf.evaluation.map_scores import localize, mean_training_mask
from aacf_tf.evaluation.metrics import METRICS_FILE, Metrics, SplitMetrics
from aacf_tf.evaluation.predictions import SplitOutputs, compile_forward, predict_split
from aacf_tf.models.action_model import ActionModel
from aacf_tf.runs.run import Run
from tfrecords.records.dataset import test_splits
from tfrecords.records.names import AUTOMATIC
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UsageError

logger = logging.getLogger(__name__)


def evaluate(run: Run, model: ActionModel, head: str, directory: Path) -> Metrics:
    """Writes `metrics.json` and `predictions.csv` for every split named `test*`.

    Args:
        run: Run whose data set to evaluate on.
        model: Model in float32.
        head: Name of its head, for the file.
        directory: Folder of the two files.

    Returns:
        The content of `metrics.json`.

    Raises:
        UsageError: The data set has no test split with clips.
    """
    splits = test_splits(run.info)
    if not splits:
        raise UsageError(
            f"Expected a split whose name begins with 'test' in {run.data}, "
            f"received {', '.join(run.info.splits)}."
        )
    labels = run.info.labels
    content: Metrics = {
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
        if prior is None and outputs.masked.any():
            prior = mean_training_mask(run, outputs.coverage[0].shape, strides)
        content["splits"][split] = _judge(run, split, outputs, prior)
        if not table.tell():
            columns = [f"{name}_{label}" for name in outputs.scores for label in labels]
            writer.writerow(["split", "id", "labels", "predicted", *columns])
        chosen = outputs.scores.get(run.recipe.score, outputs.scores["combined"])
        for row, name in enumerate(outputs.id):
            true = [labels[k] for k in np.flatnonzero(outputs.targets[row])]
            scores = np.concatenate([values[row] for values in outputs.scores.values()])
            predicted = labels[int(chosen[row].argmax())]
            writer.writerow(
                [split, name, "|".join(true), predicted, *(f"{value:.6f}" for value in scores)]
            )
    write_json(directory / METRICS_FILE, content)
    write_text(directory / "predictions.csv", table.getvalue())
    return content


def _judge(run: Run, split: str, outputs: SplitOutputs, prior: np.ndarray | None) -> SplitMetrics:
    """Returns one split's entry of metrics.json."""
    targets, labels, scores = outputs.targets, run.info.labels, outputs.scores
    entry: SplitMetrics = {"clips": len(targets)}
    for score, probabilities in scores.items():
        entry[score] = classification(probabilities, targets, labels)
    enough = len(targets) >= MIN_CLIPS_FOR_RELIABILITY
    if "action" in scores and run.context_learns and not run.info.multi_label and enough:
        reliable, trust = context_reliability(scores["action"], scores["context"])
        judged = classification(reliable, targets, labels)
        entry["reliability"] = {
            "top1": judged["top1"],
            "mean_ap": judged["mean_ap"],
            "context_trust": trust,
        }
    if outputs.masked.any():
        entry["localization"] = localize(run, outputs, prior)
    elif not run.recipe.automatic_masks and any(map(_is_automatic, run.info.splits[split])):
        logger.info(
            f"The masks of {split} are automatic: no ground truth for the maps "
            "(--set automatic_masks=true counts them)."
        )
    return entry


def _is_automatic(count: str) -> bool:
    """Returns whether a count of `DatasetInfo` is one of masks that a program found."""
    return count.startswith(f"masks_{AUTOMATIC}")
