"""The plan of a build: everything its bytes depend on; a directory is built by one plan only.

A plan comes to nothing when not a record was built by it; another may then have the directory.

    DIR/build.json   options and input
    DIR/.build/      notes of finished shards and a lock, while the build is under way
"""

from __future__ import annotations

import contextlib
import json
from typing import Iterator, Optional

from tfrecords.records import dataset
from tfrecords.records.dataset import PLAN_FILE
from tfrecords.sources import Source, SourceOptions
from tfrecords.utils import atomic
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, RemotePath, file_size

PROGRESS = ".build"
BUILDER_VERSION = 3  # raise it when records built from the same input change


def make_plan(
    source: Source, options: SourceOptions, quality: int, num_shards: int
) -> dict[str, object]:
    """Returns the plan of a build; arguments as of `build_dataset`, the source opened."""
    plan: dict[str, object] = {
        "schema_version": dataset.SCHEMA_VERSION,
        "builder_version": BUILDER_VERSION,
        "source": source.name,
        "conjugate": source.conjugate,
        "margin": options.margin,
        "fps": options.fps,
        "short_side": source.short_side,
        "quality": quality,
        "num_shards": num_shards,
        "multi_label": source.multi_label,
        "labels": source.labels,
        "input_digest": source.fingerprint(),
    }
    # Left out where they have the value that all older builds had.
    if source.flow != "none":
        plan["flow"] = source.flow
    if options.conjugate_rank != "longer":
        plan["conjugate_rank"] = options.conjugate_rank
    if options.stills:
        plan["stills"] = options.stills
    return {**plan, **(source.eraser.plan if source.eraser else {})}


def refuse_other(directory: AnyPath, plan: dict) -> None:
    """UsageError where the directory holds what this plan did not put there."""
    found = load(directory)
    if found is None:
        # A build killed before it noted its plan leaves these.
        remains = {directory / PROGRESS, directory / f"{PLAN_FILE}.tmp"}
        if directory.exists() and (not directory.is_dir() or set(directory.iterdir()) - remains):
            raise UsageError(
                f"Expected --output to be a new or empty directory, received {directory}."
            )
        return
    key = _change(found, plan)
    # Of a remote directory nobody knows whether another build is at work in it.
    if key and (isinstance(directory, RemotePath) or _has_content(directory)):
        reasons = {
            "builder_version": "by another version of this command",
            "input_digest": "from other rows or files",
        }
        what = reasons.get(key, f"with {key} {found.get(key)!r}, not {plan.get(key)!r}")
        raise UsageError(
            f"{directory} was built {what}: name another --output, or delete that directory."
        )


def claim(directory: AnyPath, plan: dict) -> None:
    """Notes the plan; clears away what a build by another plan left that came to nothing."""
    refuse_other(directory, plan)  # once more: another build may have ended meanwhile
    found = load(directory)
    if found is None or _change(found, plan):
        clear(directory)
        atomic.write_json(directory / PLAN_FILE, plan)
        confirm(directory, plan)


def confirm(directory: AnyPath, plan: dict) -> None:
    """UserError where the directory has another plan by now: a remote one knows no locks."""
    found = load(directory)
    if found is None or _change(found, plan):
        raise UserError(f"Another build is writing into {directory}.")


def clear(directory: AnyPath) -> None:
    """Removes a plan and what was built by it; the lock stays."""
    halves = directory.glob("*.tfrecord.tmp")
    notes = (directory / PROGRESS).glob("*.json")
    for path in [directory / PLAN_FILE, *dataset.all_shards(directory), *halves, *notes]:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(directory: AnyPath) -> Iterator[None]:
    """Keeps a second build out of a directory; the lock ends with the process, in any way.

    A remote store has no locks. There two builds by the same plan do the work twice and write the
    same bytes; of two by different plans one is refused, by `claim` or in the end by `confirm`.
    """
    if isinstance(directory, RemotePath):
        yield
        return
    import fcntl

    (directory / PROGRESS).mkdir(parents=True, exist_ok=True)
    with open(directory / PROGRESS / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"Another build is writing into {directory}.") from error
        yield


def load(directory: AnyPath) -> Optional[dict]:
    """Reads the plan that a directory was built by; None: it has none."""
    path = directory / PLAN_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except ValueError as error:
        raise UserError(f"{path} is corrupt: {error}.") from error
    return found


def _change(found: dict, plan: dict) -> Optional[str]:
    """The first entry of one plan that is another in the other, or is not there."""
    return next((key for key in {**plan, **found} if found.get(key) != plan.get(key)), None)


def _has_content(directory: AnyPath) -> bool:
    """Whether anything was built that a user might miss."""
    shards = dataset.all_shards(directory)
    return (directory / dataset.INFO_FILE).is_file() or any(map(file_size, shards))
