"""The values of the page's tables: scores, localization of maps, classes."""

from __future__ import annotations

from typing import Any

from aacf_tf.evaluation.metrics import Metrics
from aacf_tf.evaluation.tables import score_rows

ATTENTION_MAPS = {"aacf": "action map", "attention": "attention map"}
_MAPS = {
    "context": "context map",
    "frame_difference": "frame difference (nothing learned)",
    "mean_mask": "mean training mask (nothing learned)",
}
_MEASURES = {"pointing": "pointing", "mass": "mass", "auc": "AUC", "time_share": "time share"}


def action_map(head: str) -> str:
    """Returns the name of the map that a head classifies by."""
    return ATTENTION_MAPS.get(head, "class activation map")


def score_table(
    metrics: Metrics, baseline: Metrics | None
) -> list[tuple[str, list[tuple[float | None, bool]]]]:
    """Lists the rows of scores: a name, and for each split top-1 and mean AP.

    A value comes with a bool: whether it is the best of its column.
    """
    columns = [(split, key) for split in metrics["splits"] for key in ("top1", "mean_ap")]
    rows = [
        (row.name, [row.splits.get(split, {}).get(key) for split, key in columns])
        for row in score_rows(metrics, baseline)
    ]
    best = [max(value or 0 for value in column) for column in zip(*(values for _, values in rows))]
    chance = 1 / len(metrics["labels"])
    return [
        ("chance", [(chance if key == "top1" else None, False) for _, key in columns]),
        *((name, [(v, v == top) for v, top in zip(values, best)]) for name, values in rows),
    ]


def measures(metrics: Metrics) -> dict[str, str]:
    """Returns the measures of maps, key to title; photographs have no time."""
    maps = [entry.get("localization") or {} for entry in metrics["splits"].values()]
    timed = any("action_time_share" in values for values in maps)
    return {key: title for key, title in _MEASURES.items() if timed or key != "time_share"}


def map_table(
    metrics: Metrics, baseline: Metrics | None
) -> list[tuple[str, float | None, list[tuple[str, list[float | None]]]]]:
    """Lists splits: name, the actor's area, and the maps with their values by each measure."""
    titles = {**_MAPS, "action": action_map(metrics["head"])}
    keys = measures(metrics)
    table = []
    for split, entry in metrics["splits"].items():
        values = entry.get("localization")
        if not values:
            continue
        # Every map has a mass: those of the model, and those that need no learning.
        names = [key[: -len("_mass")] for key in values if key.endswith("_mass")]
        rows: list[tuple[str, dict[str, Any], str]] = [
            (titles.get(name, name.replace("_", " ")), values, name) for name in names
        ]
        pooling = baseline["splits"].get(split, {}).get("localization") if baseline else None
        if pooling:
            rows.append(("average pooling, class activation", pooling, "action"))
        third = values.get("off_centre_third", {})
        rows += [
            (f"{titles.get(name, name)}, off-centre third", third, name)
            for name in names
            if f"{name}_mass" in third
        ]
        lines = [(title, [of.get(f"{name}_{key}") for key in keys]) for title, of, name in rows]
        table.append((split, values.get("mask_area"), lines))
    return table


def class_tables(
    metrics: Metrics, baseline: Metrics | None
) -> list[tuple[str, list[str], list[tuple[str, list[float | None]]]]]:
    """Lists splits: name, titles of the columns, and the average precisions of each class."""
    tables = []
    for split in metrics["splits"]:
        # The reliability has no values of single classes.
        columns = {
            row.name: row.splits[split]["per_class_ap"]
            for row in score_rows(metrics, baseline)
            if "per_class_ap" in row.splits.get(split, {})
        }
        rows = [
            (label, [column.get(label) for column in columns.values()])
            for label in metrics["labels"]
        ]
        tables.append((split, list(columns), rows))
    return tables
