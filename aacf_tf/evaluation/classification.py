"""Classification metrics of a whole split, in numpy."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from scipy import special
from sklearn.metrics import average_precision_score, precision_recall_curve

from aacf_tf.evaluation.metrics import Scores

SCORES = ("action", "context", "combined", "average")
# Fewer clips of one source say too little about how far its context can be trusted.
MIN_CLIPS_FOR_RELIABILITY = 20


def to_probabilities(scores: np.ndarray, classes: int, multi_label: bool) -> np.ndarray:
    """Turns a model's scores `[N, K + 1 or K]` into probabilities of the K classes, float64."""
    scores = np.asarray(scores, np.float64)
    probabilities = special.expit(scores) if multi_label else special.softmax(scores, axis=-1)
    return probabilities[:, :classes]


def to_targets(targets: np.ndarray, classes: int, multi_label: bool) -> np.ndarray:
    """Turns a batch's targets, ids or several labels a clip, into bool `[N, K]`."""
    if multi_label:
        return targets > 0
    return np.eye(classes + 1, dtype=bool)[targets][:, :classes]  # id K: a clip with no action


def classification(probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Scores:
    """Computes top-1, top-5, mean AP (scikit-learn's) and the mean AP of the VOC kit.

    Args:
        probabilities: Class probabilities `[N, K]`.
        targets: True classes, bool `[N, K]`; a row without a True is a clip with no action, which
            counts for the average precisions only.
        labels: Names of the K classes.

    Returns:
        top1 and top5 in 0..1 (the clip's best class, or one of its best five, is correct), mean_ap,
        voc_ap and per_class_ap. A class without a positive has None and is left out of the mean; a
        metric without any clip to compute it from is None.
    """
    acting = targets.any(-1)
    order = np.argsort(-probabilities[acting], axis=-1, kind="stable")
    hits = np.take_along_axis(targets[acting], order, axis=-1)
    per_class: dict[str, float | None] = {}
    envelope = []
    for k, label in enumerate(labels):
        if not targets[:, k].any():
            per_class[label] = None
            continue
        per_class[label] = float(average_precision_score(targets[:, k], probabilities[:, k]))
        envelope.append(voc_average_precision(targets[:, k], probabilities[:, k]))
    known = [value for value in per_class.values() if value is not None]
    return {
        "top1": float(hits[:, 0].mean()) if acting.any() else None,
        "top5": float(hits[:, :5].any(-1).mean()) if acting.any() else None,
        "mean_ap": float(np.mean(known)) if known else None,
        "voc_ap": float(np.mean(envelope)) if envelope else None,
        "per_class_ap": per_class,
    }


def voc_average_precision(targets: np.ndarray, scores: np.ndarray) -> float:
    """Returns the area under the monotone envelope of precision over recall, as in VOC 2010."""
    precision, recall, _ = precision_recall_curve(targets, scores)
    # scikit-learn orders by falling recall and ends at recall 0 with precision 1, which the kit
    # does not assume.
    precision, recall = precision[:-1], recall[:-1]
    envelope = np.maximum.accumulate(precision)
    return float(np.sum(envelope * (recall - np.append(recall[1:], 0))))


def context_reliability(
    action: np.ndarray, context: np.ndarray, iterations: int = 50
) -> tuple[np.ndarray, float]:
    """Estimates from unlabelled clips of one source how far their context can be trusted.

    `lam = 0.5`; repeat: `r_i = lam (pa.pc)_i / (lam (pa.pc)_i + (1 - lam) / K)`, `lam = mean r`.
    The scores are `pa (lam pc + (1 - lam) / K)`. (Our reconstruction.)

    Args:
        action, context: Class probabilities `[N, K]` of 20 or more clips; rows that do not sum to 1
            (the class for clips with no action was left out) are scaled to 1.

    Returns:
        Scores `[N, K]`, rows summing to 1, and lam in 0..1.
    """
    action = action / action.sum(-1, keepdims=True)
    context = context / context.sum(-1, keepdims=True)
    uniform = 1.0 / action.shape[-1]
    agreement = np.sum(action * context, axis=-1)
    trust = 0.5
    for _ in range(iterations):
        reliable = trust * agreement
        trust = float(np.mean(reliable / (reliable + (1 - trust) * uniform)))
    scores = action * (trust * context + (1 - trust) * uniform)
    return scores / scores.sum(-1, keepdims=True), trust
