"""The file metrics.json: its content and its place, and the place of the baseline beside it."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from tfrecords.utils.filesystem import AnyPath

METRICS_FILE = "metrics.json"


class Scores(TypedDict, total=False):
    """Classification by one score; None if nothing can be said. `reliability` has three of them."""

    top1: float | None
    top5: float | None
    mean_ap: float | None
    voc_ap: float | None
    per_class_ap: dict[str, float | None]
    context_trust: float


class SplitMetrics(TypedDict, total=False):
    """Metrics of one split; scores and maps that the head lacks are missing."""

    clips: int
    action: Scores
    context: Scores
    combined: Scores
    reliability: Scores
    localization: dict[str, Any]


class Metrics(TypedDict):
    """Content of metrics.json."""

    recipe: str
    head: str
    labels: list[str]
    splits: dict[str, SplitMetrics]


def read_metrics(workdir: AnyPath) -> Metrics | None:
    """Reads the metrics of a run directory; None if it has not been evaluated."""
    path = workdir / METRICS_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def baseline_folder(workdir: AnyPath) -> AnyPath:
    """Returns the run directory of the average pooling that is trained beside a head."""
    return workdir / "baselines" / "average"
