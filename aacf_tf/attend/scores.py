"""Formats class scores: for the terminal, the title of a picture, the table of a folder."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Mapping, Sequence

from aacf_tf.evaluation.classification import SCORES
from aacf_tf.serving.prediction import Prediction
from tfrecords.utils.atomic import replacing
from tfrecords.utils.errors import UserError

_CLASSES = 5  # classes that are printed
_SURE = 0.5  # probability above which a multi-label model predicts a class


def mean_scores(predictions: Sequence[Prediction]) -> dict[str, dict[str, float]]:
    """Averages probabilities over predictions: score to class to mean, for the head's scores."""
    means = {}
    for score in SCORES:
        rows = [getattr(prediction, score) for prediction in predictions]
        if rows[0] is not None:
            means[score] = {k: sum(row[k] for row in rows) / len(rows) for k in rows[0]}
    return means


def name_classes(probabilities: Mapping[str, float], multi_label: bool) -> str:
    """Names the best class with its probability; all predicted ones of a multi-label model."""
    ranked = _rank(probabilities)
    sure = sum(value > _SURE for value in probabilities.values()) if multi_label else 1
    return ", ".join(f"{label} {probabilities[label]:.2f}" for label in ranked[: max(1, sure)])


def print_scores(
    scores: Mapping[str, Mapping[str, float]], ranked_by: str, multi_label: bool
) -> None:
    """Prints a line for each of the best five classes, or all that a multi-label model predicts.

    Args:
        scores: Result of `mean_scores`.
        ranked_by: Score by which classes are ranked.
        multi_label: Whether classes are judged independently.
    """
    sure = sum(value > _SURE for value in scores[ranked_by].values()) if multi_label else 0
    shown = _rank(scores[ranked_by])[: max(_CLASSES, sure)]
    width = max(len(label) for label in [*shown, "class"])
    print(f"  {'class':{width}}  " + "  ".join(f"{score:>8}" for score in scores))
    for label in shown:
        row = "  ".join(f"{values[label]:8.3f}" for values in scores.values())
        print(f"  {label:{width}}  {row}")


def write_table(
    predictions: Sequence[Prediction], path: Path, kind: str, folder: str | Path
) -> None:
    """Writes a csv of file, predicted class and the probabilities by every score, atomically.

    Args:
        predictions: Predictions of one model, one a line.
        path: File to write.
        kind: Name of the first column, `image` or `video`.
        folder: Folder from which files are named.

    Raises:
        UserError: The file cannot be written.
    """
    first = predictions[0]
    scores = [score for score in (*SCORES, "reliable") if getattr(first, score) is not None]
    header: list[Any] = [kind, "predicted"]
    header += [f"{score}_{label}" for score in scores for label in first.probabilities]
    try:
        with (
            replacing(path) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for prediction in predictions:
                rows = (getattr(prediction, score).values() for score in scores)
                values = [f"{value:.6f}" for row in rows for value in row]
                name = Path(prediction.file).relative_to(folder).as_posix()
                writer.writerow([name, prediction.predicted, *values])
    except OSError as error:
        raise UserError(f"Expected to write {path}, received {error}.") from error


def _rank(probabilities: Mapping[str, float]) -> list[str]:
    return sorted(probabilities, key=probabilities.__getitem__, reverse=True)
