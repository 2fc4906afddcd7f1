"""The plan of a build: everything its bytes depend on. A directory is built by one plan only.

If not one record was built by a plan, another plan may take over the directory.

    DIR/build.json   options and input
    DIR/.build/      notes of finished shards and a lock, while the build is under way
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, Optional

from tfrecords.records import dataset
from tfrecords.records.dataset import PLAN_FILE
from tfrecords.sources import Source, SourceOptions
from tfrecords.utils import atomic, lock
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, RemotePath, file_size
from tfrecords.utils.json_files import read_json

PROGRESS = ".build"
# Raise it, or the version of a source, when records built from the same input change.
BUILDER_VERSION = 3


def make_plan(
    source: Source, options: SourceOptions, quality: int, num_shards: int
) -> dict[str, object]:
    """Returns the plan of a build; arguments as for `build_dataset`, the source opened."""
    plan: dict[str, object] = {
        "schema_version": dataset.SCHEMA_VERSION,
        "builder_version": BUILDER_VERSION + source.version,
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
    # Left out at the value that all older builds had.
    if source.flow != "none":
        plan["flow"] = source.flow
    if options.conjugate_rank != "longer":
        plan["conjugate_rank"] = options.conjugate_rank
    if source.people:
        plan["people"] = source.people.title
    if options.stills:
        plan["stills"] = options.stills
    if source.version:
        plan["rows_digest"] = Source.fingerprint(source)  # without the sizes of files
    return {**plan, **(source.eraser.plan if source.eraser else {})}


def refuse_other(directory: AnyPath, plan: dict, retry: bool = False) -> None:
    """Raises a UsageError if the directory holds anything that this plan did not put there.

    With `retry`, files may have changed meanwhile, but not rows.
    """
    noted = load(directory)
    if retry and noted and noted.get("rows_digest", "") == plan.get("rows_digest"):
        noted["input_digest"] = plan["input_digest"]
    if noted is None:
        # A build killed before it noted its plan leaves these.
        remains = {directory / PROGRESS, directory / f"{PLAN_FILE}.tmp"}
        if directory.exists() and (not directory.is_dir() or set(directory.iterdir()) - remains):
            raise UsageError(
                f"Expected --output to be a new or empty directory, received {directory}."
            )
        return
    key = _change(noted, plan)
    # Another build may be at work in a remote directory.
    if key and (isinstance(directory, RemotePath) or _has_content(directory)):
        reasons = {
            "builder_version": "by another version of this command",
            "input_digest": "from other rows or files",
        }
        what = reasons.get(key, f"with {key} {noted.get(key)!r}, not {plan.get(key)!r}")
        raise UsageError(
            f"{directory} was built {what}: name another --output, or delete that directory."
        )


def claim(directory: AnyPath, plan: dict) -> None:
    """Writes the plan; first removes what a build by another plan left without a record."""
    refuse_other(directory, plan)  # again: another build may have ended meanwhile
    noted = load(directory)
    if noted is None or _change(noted, plan):
        clear(directory)
        atomic.write_json(directory / PLAN_FILE, plan)
        confirm(directory, plan)


def confirm(directory: AnyPath, plan: dict) -> None:
    """Raises a UserError if a remote directory, which has no lock, has another plan by now."""
    noted = load(directory)
    if noted is None or _change(noted, plan):
        raise UserError(f"Another build is writing into {directory}.")


def clear(directory: AnyPath) -> None:
    """Removes a plan and everything built by it, but the lock."""
    halves = directory.glob("*.tfrecord.tmp")
    notes = (directory / PROGRESS).glob("*.json")
    for path in [directory / PLAN_FILE, *dataset.all_shards(directory), *halves, *notes]:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(directory: AnyPath) -> Iterator[None]:
    """Locks a directory against a second build; the lock ends with the process, however it ends.

    A remote store has no locks. There two builds by the same plan do the work twice and write the
    same bytes; of two by different plans one is refused, by `claim` or at the end by `confirm`.
    """
    if isinstance(directory, RemotePath):
        yield
        return
    with lock.alone(directory / PROGRESS / "lock", f"Another build is writing into {directory}"):
        yield


def load(directory: AnyPath) -> Optional[dict]:
    """Reads the plan that a directory was built by; None: it has none."""
    path = directory / PLAN_FILE
    if not path.is_file():
        return None
    return read_json(path, Dict[str, Any])


def _change(noted: dict, plan: dict) -> Optional[str]:
    """Returns the first key in which two plans differ; None: they are the same."""
    return next((key for key in {**plan, **noted} if noted.get(key) != plan.get(key)), None)


def _has_content(directory: AnyPath) -> bool:
    """Returns whether anything was built that a user might want to keep."""
    shards = dataset.all_shards(directory)
    return (directory / dataset.INFO_FILE).is_file() or any(map(file_size, shards))
