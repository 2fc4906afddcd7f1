"""A run's directory: which run it holds, one training at a time, and the files that it reads.

WORKDIR/config.json
    recipe   what `load_recipe` reads to repeat the run
    data     the data set's directory and digest
    plan     the stages as they are trained on these data; a note, not read again
"""

from __future__ import annotations

import contextlib
import dataclasses
import reprlib
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, TypeVar

from aacf_tf import recipes
from aacf_tf.runs.checkpoints import BEST
from aacf_tf.runs.run import STILLS_FILE, Run
from aacf_tf.weights.checkpoint_folder import NOTE, tidy
from tfrecords.records.dataset import digest
from tfrecords.utils import lock
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath
from tfrecords.utils.json_files import read_json

T = TypeVar("T")

CONFIG_FILE = "config.json"
# Folder of the baseline, average pooling, below the run directory of a head.
BASELINE = "baselines/average"
# What a killed run leaves of files and exports that it was writing.
_LEFT = ("*.tmp", "logs/*/*.tmp", "report/*.tmp", "export/*/*.tmp")
_REMEDY = "copy the file back, or give another --workdir"
# Fields that may change when a run is resumed: where its data lie, how it is computed, how often it
# is saved, in how many views and by which masks it is judged, how it is exported.
_CHANGEABLE = (
    *("directory", "precision", "strategy", "keep", "save_minutes", "test_clips", "test_crops"),
    *("automatic_masks", "export_precision", "export_winograd"),
)


def claim(current: Run, resume: bool, new: bool, chief: bool) -> None:
    """Checks that a directory holds no other run; the chief writes its config.json.

    Raises:
        UsageError: It holds another run, or any although `resume` is false, or none although `new`
            is false.
        UserError: If config.json is missing beside checkpoints, or damaged.
    """
    path = current.workdir / CONFIG_FILE
    begun = [
        file for name in ("ckpt-*", NOTE) for file in path.parent.glob(f"checkpoints/*/{name}")
    ]
    plans = [current.plan(stage) for stage in current.recipe.stages]
    config = {
        "recipe": recipes.to_dict(current.recipe),
        "plan": [{**dataclasses.asdict(plan), "stage": plan.stage.name} for plan in plans],
        "data": {"directory": str(current.data), "digest": digest(current.data)},
    }
    # If training has not begun, as with a wrong --weights, there is nothing to lose.
    if begun:
        if not resume:
            raise UsageError(
                f"--noresume: expected a new --workdir, received {current.workdir}, "
                "which holds a run."
            )
        before = read_config(path)
        before["recipe"] = _with_defaults(path, before.get("recipe"))
        for name in ("recipe", "data"):
            require_same(current.workdir, f"another {name}", before.get(name, {}), config[name])
    elif not new:
        raise UsageError(f"--workdir: expected a trained run, received {current.workdir}.")
    if chief:
        write_json(path, config)


def read_config(path: Path) -> dict[str, Any]:
    """Returns the content of a config.json; UserError if it is missing or damaged."""
    return read_file(path, Dict[str, Any], _REMEDY)


def read_file(path: AnyPath, kind: type[T], remedy: str) -> T:
    """Reads a JSON file of a run.

    Args:
        path: The file.
        kind: Type of its content, see `tfrecords.utils.json_files.read_json`.
        remedy: What to do if it is missing or damaged, for the error.

    Raises:
        UserError: It is.
    """
    try:
        return read_json(path, kind)
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')}; {remedy}.") from error


def read_history(path: Path) -> list[dict[str, float]]:
    """Returns the entries of a history.json, one per epoch; none if there is no such file.

    Raises:
        UserError: The file is damaged.
    """
    if not path.is_file():
        return []
    history = read_file(path, List[Dict[str, float]], _REMEDY)
    epochs = [entry.get("epoch") for entry in history]
    if epochs != [*range(1, len(history) + 1)]:
        raise UserError(
            f"{path}: expected the epochs from 1 on, received {reprlib.repr(epochs)}; {_REMEDY}."
        )
    return history


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Keeps other trainings out of a working directory within a block; clears what a kill left.

    Raises:
        UsageError: Another one is at work there.
    """
    message = f"Another run is working in {workdir}"
    with lock.alone(workdir / ".lock", message, UsageError):
        runs = (workdir, workdir / BASELINE)
        for folder in (*runs, *(run / STILLS_FILE.parent for run in runs)):
            for pattern in _LEFT:
                for path in folder.glob(pattern):
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
            for path in [*folder.glob("checkpoints/*"), *folder.glob(f"checkpoints/*/{BEST}")]:
                tidy(path)
        yield


def _with_defaults(path: Path, recipe: Any) -> dict[str, Any]:
    """Fills in fields that recipes did not have when the run was made."""
    try:
        return recipes.to_dict(recipes.from_dict(recipe))
    except UsageError as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{path}: expected the recipe of a run ({reason}); {_REMEDY}.") from error


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
