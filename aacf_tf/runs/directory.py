"""WORKDIR/config.json, which says which run a directory holds.

recipe   what `load_recipe` reads to repeat the run
data     the data set's directory and digest
plan     the stages as they are trained on these data; a note, not read again
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Callable

from aacf_tf import recipes
from aacf_tf.runs.run import Run
from tfrecords.records.dataset import digest
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UsageError, UserError

CONFIG_FILE = "config.json"
# Fields that may change when a run is resumed: where its data lie, how it is computed, how often it
# is saved, in how many views it is judged, how it is exported.
_CHANGEABLE = (
    *("directory", "precision", "strategy", "keep", "save_minutes", "test_clips", "test_crops"),
    *("export_precision", "export_winograd"),
)


def claim(current: Run, resume: bool, new: bool, chief: bool) -> None:
    """Checks that a directory holds no other run; the chief writes its config.json.

    Raises:
        UsageError: It holds another run, or any although `resume` is false, or none although `new`
            is false.
        UserError: If config.json is damaged.
    """
    path = current.workdir / CONFIG_FILE
    plans = [current.plan(stage) for stage in current.recipe.stages]
    config = {
        "recipe": recipes.to_dict(current.recipe),
        "plan": [{**dataclasses.asdict(plan), "stage": plan.stage.name} for plan in plans],
        "data": {"directory": str(current.data), "digest": digest(current.data)},
    }
    # If training has not begun, as with a wrong --weights, there is nothing to lose.
    if path.is_file() and any(current.workdir.glob("checkpoints/*/checkpoint")):
        if not resume:
            raise UsageError(
                f"--noresume: expected a new --workdir, received {current.workdir}, "
                "which holds a run."
            )
        before = read_config(path, _with_defaults)
        for name in ("recipe", "data"):
            require_same(current.workdir, f"another {name}", before.get(name, {}), config[name])
    elif not new:
        raise UsageError(f"--workdir: expected a trained run, received {current.workdir}.")
    if chief:
        write_json(path, config)


def read_config(path: Path, parse: Callable[[Any], dict[str, Any]] = dict) -> dict[str, Any]:
    """Returns the parsed content of a config.json; UserError if the file is damaged."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, UsageError) as error:
        reason = str(error).rstrip(".")
        raise UserError(f"Expected the settings of a run in {path}: {reason}.") from error


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Fills in fields that recipes did not have when the run was made."""
    return {**config, "recipe": recipes.to_dict(recipes.from_dict(config["recipe"]))}


def require_same(workdir: Path, other: str, before: Any, now: Any) -> None:
    """Raises UsageError if two plain structures differ.

    Args:
        workdir: Directory of the run.
        other: Difference that the message names, such as `another recipe`.
        before: Content of its config.json.
        now: Content for the run that is to continue there.
    """
    changed = _difference(before, now)
    if changed:
        raise UsageError(
            f"--workdir: {workdir} holds a run with {other} ({changed}); give another --workdir."
        )


def _difference(old: Any, new: Any, path: str = "") -> str:
    """Returns the first field in which two plain structures differ, in words; empty: none."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new} - {*_CHANGEABLE})
        items = [(key, old.get(key), new.get(key)) for key in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        items = [(str(index), *values) for index, values in enumerate(zip(old, new))]
    else:
        return "" if old == new else f"{path} {old!r}, now {new!r}".strip()
    for key, before, after in items:
        changed = _difference(before, after, f"{path}.{key}".lstrip("."))
        if changed:
            return changed
    return ""
