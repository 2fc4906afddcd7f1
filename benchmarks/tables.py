"""Makes the tables and the plot of `method.py` from the metrics.json of its runs."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from tfrecords.utils.atomic import replacing

SPLITS = ("test", "test_uniform", "test_anti")
MAP_MEASURES = (
    "action_pointing",
    "action_mass",
    "action_auc",
    "action_time_share",
    "action_iou",
    "context_mass",
    "context_auc",
)


def collect(cells: Sequence[Any], workdir: Path) -> dict[str, Any]:
    """Collects the metrics of runs: setting -> name -> measure -> the values of the seeds.

    `cells` are the runs, see `method.Cell`. Measures are `SPLIT/SCORE` (top-1 by action, combined,
    reliability) and each of MAP_MEASURES on test_uniform.
    """
    from aacf_tf.evaluation.metrics import read_metrics

    results: dict[str, Any] = {}
    for cell in cells:
        splits = read_metrics(cell.folder(workdir))["splits"]
        measures = results.setdefault(cell.setting, {}).setdefault(cell.name, defaultdict(list))
        for split in SPLITS:
            for score in ("action", "combined", "reliability"):
                if score in splits.get(split, {}):
                    measures[f"{split}/{score}"].append(splits[split][score]["top1"])
        maps = splits.get("test_uniform", {}).get("localization", {})
        for measure in MAP_MEASURES:
            if maps.get(measure) is not None:
                measures[measure].append(maps[measure])
    return results


def table(results: dict[str, Any], setting: str) -> str:
    """Formats one setting as a Markdown table: mean +- standard deviation over the seeds."""
    head = ["", *SPLITS, "reliability on test"]
    head += [measure.replace("action_", "").replace("_", " ") for measure in MAP_MEASURES]
    seeds = max(len(v) for m in results[setting].values() for v in m.values())
    lines = [
        f"**{setting}**, top-1 action / combined, {seeds} {'seed' if seeds == 1 else 'seeds'}\n",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for name, measures in results[setting].items():
        row = [name.replace("no_", "without ").replace("_", " ")]
        for split in SPLITS:
            scores = [measures.get(f"{split}/{score}") for score in ("action", "combined")]
            row.append(" / ".join(_spread(values) for values in scores if values))
        row.append(_spread(measures.get("test/reliability")))
        row += [_spread(measures.get(measure)) for measure in MAP_MEASURES]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def plot(results: dict[str, Any], path: Path) -> None:
    """Plots the accuracy of every head and setting, on each split."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1,
        len(results),
        figsize=(5.0 * len(results), 3.8),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (setting, rows) in zip(axes[0], results.items()):
        for index, split in enumerate(SPLITS):
            keys = [f"{split}/action", f"{split}/combined"]
            values = [m.get(keys[0]) or m.get(keys[1]) or [0.0] for m in rows.values()]
            axis.bar(
                np.arange(len(rows)) + 0.27 * (index - 1),
                [np.mean(v) for v in values],
                0.25,
                yerr=[np.std(v, ddof=1) if len(v) > 1 else 0 for v in values],
                color=("#b0b0b0", "#e69f00", "#0072b2")[index],
                label=split,
            )
        names = [name.replace("no_", "without ").replace("_", "\n") for name in rows]
        axis.set_xticks(np.arange(len(rows)), names, rotation=60, ha="right", fontsize=8)
        axis.set_title(setting)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("top-1 (action score where there is one)")
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=8, ncol=3, loc="outside upper center")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    pyplot.close(figure)


def _spread(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    deviation = f" ±{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation}"
