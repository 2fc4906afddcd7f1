"""The same recipe with several seeds: a run each, then mean and standard deviation.

WORKDIR/seed-N/      a run directory each
WORKDIR/seeds.json   {"recipe", "head", "seeds", "splits", "average"}: `splits` as in metrics.json,
                     every number there {"mean", "std", "values"}; `average`: the same of the
                     average pooling beside it, or null
"""

from __future__ import annotations

import json
import statistics
from typing import Any, Sequence

from aacf_tf.evaluation import classification
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import AnyPath

SEEDS_FILE = "seeds.json"


def folder(workdir: AnyPath, seed: int) -> AnyPath:
    """The run directory of a seed."""
    return workdir / f"seed-{seed}"


def collect(workdir: AnyPath, seeds: Sequence[int]) -> dict[str, Any]:
    """Reads what the runs have reached and writes `seeds.json`; returns what it holds.

    Raises:
        UsageError: a run has not been evaluated.
    """
    ours, theirs = [], []
    for seed in seeds:
        path = folder(workdir, seed) / "metrics.json"
        if not path.is_file():
            raise UsageError(f"Expected an evaluated run of seed {seed}, received no {path}.")
        ours.append(json.loads(path.read_text(encoding="utf-8")))
        beside = path.parent / "baselines" / "average" / "metrics.json"
        if beside.is_file():
            theirs.append(json.loads(beside.read_text(encoding="utf-8")))
    content = {
        "recipe": ours[0]["recipe"],
        "head": ours[0]["head"],
        "seeds": list(seeds),
        "splits": spread([run["splits"] for run in ours]),
        "average": spread([run["splits"] for run in theirs]) if theirs else None,
    }
    write_json(workdir / SEEDS_FILE, content)
    return content


def spread(runs: Sequence[Any]) -> Any:
    """Of structures of one form, every number as mean, standard deviation (n - 1) and values.

    What a run does not know (null) is left out; std is null for a single value.
    """
    first = next((run for run in runs if run is not None), None)
    if isinstance(first, dict):
        keys = dict.fromkeys(key for run in runs for key in run or {})
        return {key: spread([(run or {}).get(key) for run in runs]) for key in keys}
    if not isinstance(first, (int, float)) or isinstance(first, bool):
        return first  # a list of names, or known to no run
    known = [run for run in runs if run is not None]
    return {
        "mean": statistics.fmean(known),
        "std": statistics.stdev(known) if len(known) > 1 else None,
        "values": list(runs),
    }


def table(content: dict[str, Any]) -> str:
    """Top-1 and mean AP of every score on every test split, as mean ± standard deviation."""
    title = "AACF " if content["head"] == "aacf" else f"{content['head']} "
    rows = []
    for split, entry in content["splits"].items():
        beside = (content["average"] or {}).get(split, {})
        if "combined" in beside:
            rows.append((split, "average pooling", beside["combined"]))
        scores = [score for score in (*classification.SCORES, "reliability") if score in entry]
        rows += [(split, title + score, entry[score]) for score in scores]
        place = entry.get("localization")
        if place:
            rows.append((split, "action map: pointing / mass", place))
    lines = ["", f"{len(content['seeds'])} seeds: mean ± standard deviation"]
    lines.append(f"{'':<44}{'top-1':>16}{'mean AP':>16}")
    for split, name, values in rows:
        keys = ("action_pointing", "action_mass") if "pointing" in name else ("top1", "mean_ap")
        cells = "".join(f"{_cell(values.get(key)):>16}" for key in keys)
        lines.append(f"{split:<16}{name:<28}{cells}")
    return "\n".join(lines) + "\n"


def _cell(value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    std = value["std"]
    return f"{value['mean']:.3f}" + ("" if std is None else f" ± {std:.3f}")
