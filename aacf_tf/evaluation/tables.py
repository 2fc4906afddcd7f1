"""Tables of a run's scores: the rows that all of them share, and the text for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, NamedTuple

from aacf_tf.evaluation.classification import SCORES
from aacf_tf.evaluation.metrics import BASELINE, Metrics, read_metrics


class ScoreRow(NamedTuple):
    """A row: its name, and split -> scores, see `metrics.Scores`."""

    name: str
    splits: dict[str, Any]


def head_name(head: str) -> str:
    """Returns the display name of a head."""
    return {"aacf": "AACF", "nonlocal": "non-local"}.get(head, head.replace("_", " "))


def score_rows(metrics: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[ScoreRow]:
    """Lists the rows: average pooling, if it was trained, then each score of the head.

    Args:
        metrics: Content of metrics.json, or anything with `head` and `splits` of that shape.
        baseline: Metrics of average pooling, if it was trained.
    """
    sources = [("average pooling", "combined", baseline)] if baseline else []
    name = head_name(metrics["head"])
    sources += [(f"{name} {score}", score, metrics) for score in (*SCORES, "reliability")]
    rows = [
        ScoreRow(name, {split: of[score] for split, of in source["splits"].items() if score in of})
        for name, score, source in sources
    ]
    return [row for row in rows if row.splits]


def table(workdir: Path) -> str:
    """Formats the scores on every test split, and the localization of the maps."""
    metrics, baseline = read_metrics(workdir), read_metrics(workdir / BASELINE)
    assert metrics is not None
    rows = score_rows(metrics, baseline)
    width = max(18, *(len(row.name) + 2 for row in rows))
    titles = "".join(f"{row.name:>{width}}" for row in rows)
    lines = ["", f"{'top-1 / mean AP':<16}{'clips':>6}" + titles]
    for split, entry in metrics["splits"].items():
        cells = "".join(f"{_pair(row.splits.get(split)):>{width}}" for row in rows)
        lines.append(f"{split:<16}{entry['clips']:>6}{cells}")
    lines += _localization_lines(metrics, baseline)
    return "\n".join(lines) + "\n"


def _localization_lines(metrics: Metrics, baseline: Metrics | None) -> list[str]:
    rows = []
    for split, entry in metrics["splits"].items():
        values = entry.get("localization")
        if not values:
            continue
        other = baseline["splits"].get(split, {}).get("localization") if baseline else None
        head = metrics["head"]
        for name, source, prefix in (
            (f"{head} action" if "context_mass" in values else head, values, "action"),
            (f"{head} context", values, "context"),
            ("average pooling", other, "action"),
            ("frame difference", values, "frame_difference"),
            ("mean mask", values, "mean_mask"),
        ):
            if source and f"{prefix}_mass" in source:
                rows.append((split, name, source, prefix))
    if not rows:
        return []
    timed = any(
        "action_time_share" in values for _, _, values, _ in rows
    )  # photographs have no time
    share_title = "  time share" if timed else ""
    automatic = any(values.get("automatic_masks") for _, _, values, _ in rows)
    lines = [
        "",
        *(["Masks that a program found count as the actor's."] if automatic else []),
        f"{'where maps lie':<16}{'map':<18}pointing   mass    AUC{share_title}  actor's area",
    ]
    for split, name, values, prefix in rows:
        numbers = [values.get(f"{prefix}_{key}") for key in ("pointing", "mass", "auc")]
        cells = "".join(f"{_number(value):>7}" for value in numbers)
        share = _number(values.get("action_time_share") if prefix == "action" else None)
        cells += f"{share:>12}" if timed else ""
        lines.append(f"{split:<16}{name:<18} {cells}{_number(values.get('mask_area')):>14}")
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _pair(scores: Mapping[str, Any] | None) -> str:
    return f"{_number(scores['top1'])} / {_number(scores['mean_ap'])}" if scores else ""
