"""The file metrics.json: its name, its content, and the folder of the baseline's."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from tfrecords.utils.filesystem import AnyPath

METRICS_FILE = "metrics.json"
# Folder of the baseline, average pooling, below the run directory of a head.
BASELINE = "baselines/average"


class Scores(TypedDict):
    """Classification by one score; None if nothing can be said."""

    top1: float | None
    top5: float | None
    mean_ap: float | None
    voc_ap: float | None
    per_class_ap: dict[str, float | None]


class _Clips(TypedDict):
    clips: int


class SplitMetrics(_Clips, total=False):
    """Metrics of one split; scores and maps that the head lacks are missing."""

    action: Scores
    context: Scores
    combined: Scores
    average: Scores
    reliability: dict[str, Any]  # top1, mean_ap, context_trust
    localization: dict[str, Any]


class Metrics(TypedDict):
    """Content of metrics.json."""

    recipe: str
    head: str
    labels: list[str]
    splits: dict[str, SplitMetrics]


def read_metrics(workdir: AnyPath) -> Metrics | None:
    """Reads the metrics in a run directory; None if it has not been evaluated."""
    path = workdir / METRICS_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
