"""The file metrics.json: its name, its content, and the folder of the baseline's."""

from __future__ import annotations

import reprlib
from typing import Any, Dict, List, Optional, TypedDict

from aacf_tf.runs.directory import BASELINE, read_file
from tfrecords.utils.errors import UserError
from tfrecords.utils.filesystem import AnyPath

__all__ = ["BASELINE", "METRICS_FILE", "Metrics", "Scores", "SplitMetrics", "read_metrics"]

METRICS_FILE = "metrics.json"
_REMEDY = "--mode=evaluate writes it anew"


class _Scores(TypedDict):
    top1: Optional[float]
    mean_ap: Optional[float]


class Reliability(_Scores):
    """Classification by both scores, weighed by what the context can be trusted."""

    context_trust: Optional[float]


class Scores(_Scores, total=False):
    """Classification by one score; None if nothing can be said."""

    top5: Optional[float]
    voc_ap: Optional[float]
    per_class_ap: Dict[str, Optional[float]]


class _Clips(TypedDict):
    clips: int


class SplitMetrics(_Clips, total=False):
    """Metrics of one split; scores and maps that the head lacks are missing."""

    action: Scores
    context: Scores
    combined: Scores
    average: Scores
    reliability: Reliability
    # Values of the maps; those of the clips off the centre once more, as `off_centre_third`.
    localization: Dict[str, Any]


class Metrics(TypedDict):
    """Content of metrics.json."""

    recipe: str
    head: str
    labels: List[str]
    splits: Dict[str, SplitMetrics]


def read_metrics(workdir: AnyPath) -> Metrics | None:
    """Reads the metrics in a run directory; None if it has not been evaluated.

    Raises:
        UserError: The file is damaged.
    """
    path = workdir / METRICS_FILE
    if not path.is_file():
        return None
    metrics = read_file(path, Metrics, _REMEDY)
    for split, entry in metrics["splits"].items():
        for name, value in entry.get("localization", {}).items():
            third = name == "off_centre_third" and isinstance(value, dict)
            numbers = value.values() if third else [value]
            if not all(number is None or isinstance(number, (int, float)) for number in numbers):
                raise UserError(
                    f"{path}: expected splits.{split}.localization.{name} to hold numbers, "
                    f"received {reprlib.repr(value)}; {_REMEDY}."
                )
    return metrics
