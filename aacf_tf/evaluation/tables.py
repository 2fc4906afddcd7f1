"""The scores of a run as text, for the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aacf_tf.evaluation import classification


def table(workdir: Path) -> str:
    """Average pooling against AACF on every test split, and where the maps lie."""
    ours = json.loads((workdir / "metrics.json").read_text(encoding="utf-8"))
    beside = workdir / "baselines" / "average" / "metrics.json"
    theirs = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else None
    columns = [("average pooling", theirs, "combined")] if theirs else []
    title = "AACF " if ours["head"] == "aacf" else f"{ours['head']} "
    for score in (*classification.SCORES, "reliability"):
        if any(score in entry for entry in ours["splits"].values()):
            columns.append((title + score, ours, score))
    width = max(18, *(len(column[0]) + 2 for column in columns))
    titles = "".join(f"{column[0]:>{width}}" for column in columns)
    lines = ["", f"{'top-1 / mean AP':<16}{'clips':>6}" + titles]
    for split, entry in ours["splits"].items():
        cells = [_pair(source["splits"].get(split, {}).get(key)) for _, source, key in columns]
        lines.append(
            f"{split:<16}{entry['clips']:>6}" + "".join(f"{cell:>{width}}" for cell in cells)
        )
    lines += _localization_lines(ours, theirs)
    return "\n".join(lines) + "\n"


def _localization_lines(ours: dict[str, Any], theirs: dict[str, Any] | None) -> list[str]:
    rows = []
    for split, entry in ours["splits"].items():
        place = entry.get("localization")
        if not place:
            continue
        beside = (theirs or {"splits": {}})["splits"].get(split, {}).get("localization")
        for name, values, prefix in (
            (ours["head"] + (" action" if "context_mass" in place else ""), place, "action"),
            (ours["head"] + " context", place, "context"),
            ("average pooling", beside, "action"),
            ("frame difference", place, "frame_difference"),
            ("mean mask", place, "mean_mask"),
        ):
            if values and f"{prefix}_mass" in values:
                rows.append((split, name, values, prefix))
    if not rows:
        return []
    timed = any("action_time_share" in values for _, _, values, _ in rows)  # not of photographs
    lines = [
        "",
        f"{'where maps lie':<16}{'map':<18}pointing   mass    AUC"
        f"{'  time share' * timed}  actor's area",
    ]
    for split, name, values, prefix in rows:
        numbers = [values.get(f"{prefix}_{key}") for key in ("pointing", "mass", "auc")]
        share = values.get("action_time_share") if prefix == "action" else None
        cells = "".join(f"{_number(value):>7}" for value in numbers)
        lines.append(
            f"{split:<16}{name:<18} {cells}"
            f"{_number(share):>{12 * timed}}{_number(values['mask_area']):>14}"
        )
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _pair(scores: dict[str, Any] | None) -> str:
    if not scores:
        return ""
    return f"{_number(scores['top1'])} / {_number(scores['mean_ap'])}"
