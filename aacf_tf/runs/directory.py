"""WORKDIR/config.json: a directory holds one run."""

from __future__ import annotations

import json
from typing import Any

from aacf_tf import recipes
from aacf_tf.runs.run import Run
from tfrecords.records.dataset import digest
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UsageError, UserError

CONFIG_FILE = "config.json"
# Fields of a recipe that a run may change when it goes on.
_CHANGEABLE = (
    *("precision", "strategy", "keep", "save_minutes", "test_clips", "test_crops"),
    *("export_precision", "export_winograd"),
)


def claim(current: Run, resume: bool, new: bool, chief: bool) -> None:
    """Refuses a directory that holds another run; the chief notes a new one in it."""
    path = current.workdir / CONFIG_FILE
    config = {
        "recipe": recipes.to_dict(current.recipe),
        "data": {"directory": str(current.data), "digest": digest(current.data)},
    }
    # Where training has not begun, as with a wrong --weights, there is nothing to lose.
    if path.is_file() and any(current.workdir.glob("checkpoints/*/checkpoint")):
        if not resume:
            raise UsageError(
                f"--noresume: expected a new --workdir, received {current.workdir}, "
                "which holds a run."
            )
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            # Fields that came after the run was made have their defaults in it.
            found["recipe"] = recipes.to_dict(recipes.from_dict(found["recipe"]))
        except (ValueError, KeyError, TypeError, UsageError) as error:
            reason = str(error).rstrip(".")
            raise UserError(f"Expected the settings of a run in {path}: {reason}.") from error
        for name in ("recipe", "data"):
            changed = _difference(found.get(name, {}), config[name], ignore=("directory",))
            if changed:
                raise UsageError(
                    f"--workdir: {current.workdir} holds a run with another {name} "
                    f"({changed}); give another --workdir."
                )
    elif not new:
        raise UsageError(f"--workdir: expected a trained run, received {current.workdir}.")
    if chief:
        write_json(path, config)


def _difference(old: Any, new: Any, ignore: tuple[str, ...] = (), path: str = "") -> str:
    """The first field in which two plain structures differ, in words; empty: none."""
    # How a run goes on, how often it is saved and in how many views it is judged is not what it is.
    ignore = (*ignore, *_CHANGEABLE)
    if isinstance(old, dict) and isinstance(new, dict):
        items = [(key, old.get(key), new.get(key)) for key in sorted({*old, *new} - {*ignore})]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        items = [(str(place), *values) for place, values in enumerate(zip(old, new))]
    else:
        return "" if old == new else f"{path} {old!r}, now {new!r}"
    for key, before, after in items:
        found = _difference(before, after, ignore, f"{path}.{key}".lstrip("."))
        if found:
            return found
    return ""
