"""Summarizes the runs of a recipe with several seeds: mean and standard deviation.

WORKDIR/seed-N/      run directory of a seed
WORKDIR/seeds.json   {"recipe", "head", "seeds", "splits", "average"}: `splits` as in metrics.json,
                     with every number replaced by {"mean", "std", "values"}; `average`: the same
                     for the baseline, or null
"""

from __future__ import annotations

import statistics
from typing import Any, Sequence

from aacf_tf.evaluation.metrics import BASELINE, METRICS_FILE, read_metrics
from aacf_tf.evaluation.tables import score_rows
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import AnyPath

SEEDS_FILE = "seeds.json"


def folder(workdir: AnyPath, seed: int) -> AnyPath:
    """Returns the run directory of a seed."""
    return workdir / f"seed-{seed}"


def collect(workdir: AnyPath, seeds: Sequence[int]) -> dict[str, Any]:
    """Reads the metrics of the runs, writes `seeds.json` and returns its content.

    Raises:
        UsageError: A run has not been evaluated.
    """
    runs, baselines = [], []
    for seed in seeds:
        metrics = read_metrics(folder(workdir, seed))
        if metrics is None:
            path = folder(workdir, seed) / METRICS_FILE
            raise UsageError(f"Expected an evaluated run of seed {seed}, received no {path}.")
        runs.append(metrics)
        baseline = read_metrics(folder(workdir, seed) / BASELINE)
        if baseline is not None:
            baselines.append(baseline)
    content = {
        "recipe": runs[0]["recipe"],
        "head": runs[0]["head"],
        "seeds": list(seeds),
        "splits": spread([run["splits"] for run in runs]),
        "average": spread([run["splits"] for run in baselines]) if baselines else None,
    }
    write_json(workdir / SEEDS_FILE, content)
    return content


def spread(runs: Sequence[Any]) -> Any:
    """Replaces every number in equally nested dicts by its mean, standard deviation and values.

    The standard deviation divides by n - 1, and is None for a single value. Nulls are left out.
    """
    first = next((run for run in runs if run is not None), None)
    if isinstance(first, dict):
        keys = dict.fromkeys(key for run in runs for key in run or {})
        return {key: spread([(run or {}).get(key) for run in runs]) for key in keys}
    if not isinstance(first, (int, float)) or isinstance(first, bool):
        return first  # a list of names, or null in every run
    known = [run for run in runs if run is not None]
    return {
        "mean": statistics.fmean(known),
        "std": statistics.stdev(known) if len(known) > 1 else None,
        "values": list(runs),
    }


def table(content: dict[str, Any]) -> str:
    """Formats top-1 and mean AP by every score on every test split."""
    average = content["average"]
    rows = score_rows(content, {"splits": average} if average else None)
    lines = ["", f"{len(content['seeds'])} seeds: mean ± standard deviation"]
    lines.append(f"{'':<44}{'top-1':>16}{'mean AP':>16}")

    def add(split: str, name: str, *values: dict[str, Any] | None) -> None:
        lines.append(f"{split:<16}{name:<28}" + "".join(f"{_cell(value):>16}" for value in values))

    for split, entry in content["splits"].items():
        for row in rows:
            if split in row.splits:
                add(split, row.name, *(row.splits[split].get(key) for key in ("top1", "mean_ap")))
        maps = entry.get("localization")
        if maps:
            measures = (maps.get(f"action_{measure}") for measure in ("pointing", "mass"))
            add(split, "action map: pointing / mass", *measures)
    return "\n".join(lines) + "\n"


def _cell(value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    std = value["std"]
    return f"{value['mean']:.3f}" + ("" if std is None else f" ± {std:.3f}")
