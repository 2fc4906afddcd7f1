"""Scores and localisation, in numpy, from the outputs for a whole split."""

from __future__ import annotations

import warnings
from typing import Any, Sequence

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

SCORES = ("action", "context", "combined")
# Context reliability needs some clips of one source to judge the context by.
MIN_CLIPS_FOR_RELIABILITY = 20


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis, float64."""
    scores = np.asarray(scores, np.float64)
    exponents = np.exp(scores - scores.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def classification(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> dict[str, Any]:
    """Top-1, top-5, mean AP (scikit-learn's) and the mean AP of the VOC kit.

    Args:
        probabilities: `[N, K]`.
        targets: bool `[N, K]`; a row without a True is a clip with no action: it counts for the
            average precisions alone.
        labels: the K names.

    Returns:
        top1, top5 in 0..1 (the clip's best class, or one of its best five, is right); mean_ap,
        voc_ap, per_class_ap; a class without a positive is left out of the mean and has None.
        None where nothing can be said.
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
    """Area under the monotone envelope of precision over recall, as the VOC kit (2010 on)."""
    precision, recall, _ = precision_recall_curve(targets, scores)
    # scikit-learn orders by falling recall and ends at recall 0 with precision 1, which the kit
    # does not assume.
    precision, recall = precision[:-1], recall[:-1]
    envelope = np.maximum.accumulate(precision)
    return float(np.sum(envelope * (recall - np.append(recall[1:], 0))))


def context_reliability(
    action: np.ndarray, context: np.ndarray, iterations: int = 50
) -> tuple[np.ndarray, float]:
    """Lets unlabelled clips of one source say how far their context can be trusted.

    `lam = 0.5`; repeat: `r_i = lam (pa.pc)_i / (lam (pa.pc)_i + (1 - lam) / K)`, `lam = mean r`.
    The scores are `pa (lam pc + (1 - lam) / K)`. (Our reconstruction.)

    Args:
        action, context: class probabilities `[N, K]`, 20 or more clips; rows that do not sum to 1
            (the class for clips with no action was left out) are scaled to it.

    Returns:
        `[N, K]`, rows summing to 1, and lam in 0..1.
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


def cell_coverage(
    masks: np.ndarray, grid: tuple[int, int, int], strides: tuple[int, int, int]
) -> np.ndarray:
    """Share of each cell's stride box that the mask covers.

    Args:
        masks: `[N, T, H, W]`, 0..1.
        grid: (t, h, w) of the feature map.
        strides: of the backbone in (time, height, width): cell i of an axis is the box from
            i * stride to (i + 1) * stride, the last one cut where the input ends.

    Returns:
        float `[N, t, h, w]`, 0..1.
    """
    result = np.asarray(masks, np.float32)
    for axis, (cells, stride) in enumerate(zip(grid, strides), start=1):
        length = result.shape[axis]
        edges = np.minimum(stride * np.arange(cells + 1), length)
        starts = np.minimum(edges[:-1], length - 1)
        sizes = np.maximum(edges[1:] - starts, 1)
        shape = [1] * result.ndim
        shape[axis] = cells
        result = np.add.reduceat(result, starts, axis=axis) / sizes.reshape(shape)
    return result


def actor_cells(coverage: np.ndarray, threshold: float) -> np.ndarray:
    """The actor's cells, bool `[N, t, h, w]`: covered by more than `threshold`.

    A clip without such a cell has its fullest one.
    """
    cells = coverage > threshold
    flat, amounts = cells.reshape(len(cells), -1), coverage.reshape(len(cells), -1)
    empty = np.flatnonzero(~flat.any(-1))
    flat[empty, amounts[empty].argmax(-1)] = True
    return cells


def pointing_mass_auc(weights: np.ndarray, cells: np.ndarray) -> dict[str, float]:
    """How well maps find the actor, averaged over the clips.

    Args:
        weights: `[N, t, h, w]`, each clip's summing to 1.
        cells: bool `[N, t, h, w]`, at least one True a clip.

    Returns:
        pointing: the peak is on the actor; mass: share of the weight on it; auc: the weight as a
        score of its cells. All 0..1.
    """
    flat, truth = weights.reshape(len(weights), -1), cells.reshape(len(cells), -1)
    peaks = truth[np.arange(len(flat)), flat.argmax(-1)]
    aucs = [
        roc_auc_score(wanted, scores) for wanted, scores in zip(truth, flat) if not wanted.all()
    ]
    return {
        "pointing": float(peaks.mean()),
        "mass": float(np.sum(flat * truth, axis=-1).mean()),
        "auc": float(np.mean(aucs)) if aucs else None,
    }


def time_share(weights: np.ndarray, cells: np.ndarray) -> float:
    """Share of the time steps whose peak is on the actor and above the weight 1 / N."""
    n, t = weights.shape[:2]
    flat, truth = weights.reshape(n, t, -1), cells.reshape(n, t, -1)
    peaks = flat.argmax(-1)[..., None]
    on_actor = np.take_along_axis(truth, peaks, -1)[..., 0]
    weight = np.take_along_axis(flat, peaks, -1)[..., 0]
    return float(np.mean(on_actor & (weight > 1 / flat[0].size)))


def off_centre(coverage: np.ndarray) -> np.ndarray:
    """The third of the clips (at least one) whose actor is farthest from the picture's centre.

    Args:
        coverage: `[N, t, h, w]`, share of each cell that is the actor's.

    Returns:
        bool `[N]`; distances are of the centre of gravity, in picture heights and widths.
    """
    height, width = coverage.shape[2:]
    amount = coverage.sum(axis=1) + 1e-12
    total = amount.sum(axis=(1, 2))
    rows = (np.arange(height) + 0.5) / height - 0.5
    columns = (np.arange(width) + 0.5) / width - 0.5
    y = (amount.sum(2) @ rows) / total
    x = (amount.sum(1) @ columns) / total
    chosen = np.zeros(len(coverage), bool)
    chosen[np.argsort(-np.hypot(y, x), kind="stable")[: max(1, len(coverage) // 3)]] = True
    return chosen


def normalize_map(values: np.ndarray) -> np.ndarray:
    """Any evidence `[N, t, h, w]` to weights: its positive part, summing to 1 a clip."""
    positive = np.maximum(np.asarray(values, np.float64), 0)
    total = positive.sum(axis=(1, 2, 3), keepdims=True)
    uniform = np.full_like(positive, 1 / positive[0].size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.where(total > 0, positive / total, uniform)
