"""Reads predictions.csv, and what follows from it: intervals, confusions, certainty."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple, Sequence

import numpy as np

from aacf_tf.evaluation.classification import SCORES
from tfrecords.utils.errors import UserError

PREDICTIONS_FILE = "predictions.csv"
_BINS = 10  # of stated certainty
_DRAWS = 400  # resamplings of the clips of a split; fewer of large ones, but
_MIN_DRAWS = 100
_CELLS = 400_000  # clips times resamplings that are counted at once
_INTERVAL = (2.5, 97.5)  # percent


class Outcomes(NamedTuple):
    """The predictions of a split, in the order of its N records."""

    ids: list[str]
    targets: np.ndarray  # bool [N, K]
    predicted: np.ndarray  # int [N]
    scores: dict[str, np.ndarray]  # score -> probabilities [N, K]

    @property
    def acting(self) -> np.ndarray:
        """Whether a clip has a label, bool `[N]`."""
        return self.targets.any(-1)

    @property
    def right(self) -> np.ndarray:
        """Whether the predicted class is one of the true ones, bool `[N]`."""
        return self.targets[np.arange(len(self.ids)), self.predicted]


class Bin(NamedTuple):
    """Clips whose predicted class has about the same probability."""

    low: float
    high: float
    clips: int
    stated: float  # their mean probability
    right: float  # share that is right


def read_outcomes(workdir: Path, labels: Sequence[str]) -> dict[str, Outcomes]:
    """Reads the predictions of a run.

    Args:
        workdir: Run directory.
        labels: Names of the K classes, of metrics.json.

    Returns:
        Split -> its outcomes.

    Raises:
        UserError: The file is damaged, or of other classes.
    """
    path = workdir / PREDICTIONS_FILE
    number = {label: index for index, label in enumerate(labels)}
    rows: dict[str, list[tuple[str, np.ndarray, int, np.ndarray]]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        try:
            reader = csv.DictReader(file, strict=True)
            header = set(reader.fieldnames or ())
            scores = [
                score for score in SCORES if any(f"{score}_{label}" in header for label in labels)
            ]
            columns = [f"{score}_{label}" for score in scores for label in labels]
            missing = {"split", "id", "labels", "predicted", *columns} - header
            if missing or not scores:
                what = f"the column {min(missing)!r}" if missing else "columns of scores"
                raise ValueError(f"expected {what}, received {_some(header)}")
            for row in reader:
                if None in row:
                    raise ValueError("expected as many values as columns, received more")
                target = np.zeros(len(labels), bool)
                target[[number[name] for name in row["labels"].split("|") if name]] = True
                values = np.array([row[column] for column in columns], np.float64)
                if not np.isfinite(values).all():
                    raise ValueError("expected finite scores")
                entry = row["id"], target, number[row["predicted"]], values
                rows.setdefault(row["split"], []).append(entry)
        except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            reason = f"a class that is not in metrics.json: {error}"
            if not isinstance(error, KeyError):
                reason = str(error)
            raise UserError(
                f"{path}, line {reader.line_num}: expected the predictions of a run, received a "
                f"damaged file ({reason}); --mode=evaluate writes it anew."
            ) from error
    return {split: _gather(entries, scores, len(labels)) for split, entries in rows.items()}


def _some(names: set[str]) -> str:
    """Returns names in order, at most five."""
    return ", ".join(sorted(name or "" for name in names)[:5]) or "nothing"


def _gather(
    entries: list[tuple[str, np.ndarray, int, np.ndarray]], scores: list[str], classes: int
) -> Outcomes:
    ids, targets, predicted, values = zip(*entries)
    table = np.stack(values).reshape(len(ids), len(scores), classes)
    return Outcomes(
        list(ids),
        np.stack(targets),
        np.array(predicted),
        {score: table[:, index] for index, score in enumerate(scores)},
    )


def draw_weights(count: int, seed: int = 0) -> np.ndarray:
    """Draws how often each of `count` clips occurs in each resampling, float32 `[draws, count]`."""
    draws = int(np.clip(_CELLS // max(count, 1), _MIN_DRAWS, _DRAWS))
    random = np.random.default_rng(seed)
    return random.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float32)


def average_precision(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Computes scikit-learn's average precision of one class for many weightings at once.

    Args:
        targets: Whether a clip is of the class, bool `[N]`.
        scores: Probabilities of the class `[N]`.
        weights: How often each clip counts `[draws, N]`.

    Returns:
        Average precisions `[draws]`; NaN if no clip of the class counts.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = -scores[order]
    # A threshold takes all clips of the same score at once.
    last = np.searchsorted(ordered, ordered, side="right") - 1
    positives = np.flatnonzero(targets[order])
    weights = weights[:, order]
    taken = np.cumsum(weights, axis=1)[:, last[positives]]
    found = np.cumsum(weights * targets[order], axis=1)[:, last[positives]]
    weights = weights[:, positives]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(taken > 0, found / np.maximum(taken, 1), 0)
        return (weights * precision).sum(1) / weights.sum(1)


def ap_intervals(targets: np.ndarray, scores: np.ndarray) -> list[tuple[float, float] | None]:
    """Computes the 95 % interval of each class's average precision by resampling the clips.

    Args:
        targets: True classes, bool `[N, K]`.
        scores: Class probabilities `[N, K]`.

    Returns:
        Of each class low and high; None if there is no clip of it.
    """
    weights = draw_weights(len(targets))
    intervals: list[tuple[float, float] | None] = []
    for target, score in zip(targets.T, scores.T):
        if not target.any():
            intervals.append(None)
            continue
        low, high = np.nanpercentile(average_precision(target, score, weights), _INTERVAL)
        intervals.append((float(low), float(high)))
    return intervals


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Computes the 95 % interval of the mean of N values, one a clip, by resampling the clips."""
    weights = draw_weights(len(values))
    low, high = np.percentile(weights @ values / len(values), _INTERVAL)
    return float(low), float(high)


def confusions(outcomes: Outcomes) -> np.ndarray:
    """Counts true classes (rows; a clip's first) and predicted ones (columns), int `[K, K]`."""
    classes = outcomes.targets.shape[1]
    counts = np.zeros((classes, classes), int)
    acting = outcomes.acting
    true = outcomes.targets[acting].argmax(-1)
    predicted, right = outcomes.predicted[acting], outcomes.right[acting]
    np.add.at(counts, (np.where(right, predicted, true), predicted), 1)
    return counts


def certainty(outcomes: Outcomes, score: str) -> list[Bin]:
    """Compares the stated probability of the predicted class with how often it is right."""
    acting = outcomes.acting
    stated = outcomes.scores[score][np.arange(len(outcomes.ids)), outcomes.predicted][acting]
    right = outcomes.right[acting]
    place = np.minimum((stated * _BINS).astype(int), _BINS - 1)
    return [
        Bin(
            index / _BINS,
            (index + 1) / _BINS,
            int((place == index).sum()),
            float(stated[place == index].mean()),
            float(right[place == index].mean()),
        )
        for index in range(_BINS)
        if (place == index).any()
    ]


def certainty_gap(bins: Sequence[Bin]) -> float:
    """Returns the expected calibration error: the mean gap of stated and right, over the clips."""
    clips = sum(bin.clips for bin in bins)
    return sum(bin.clips * abs(bin.stated - bin.right) for bin in bins) / max(clips, 1)
