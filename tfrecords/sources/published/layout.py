"""Files of published data sets, as their users have them on disk."""

from __future__ import annotations

import csv
import math
import os
from typing import Any, Iterable, Iterator, NoReturn, Optional, Sequence

from tfrecords.records.dataset import load_labels
from tfrecords.sources.base import SourceOptions
from tfrecords.utils import filesystem
from tfrecords.utils.errors import UsageError

# Where there are several files of one name, the first of these serves.
VIDEO_EXTENSIONS = (
    ".avi",
    ".mp4",
    ".mkv",
    ".webm",
    ".mov",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".flv",
    ".wmv",
    ".3gp",
    ".ogv",
)


def require_local(path: Optional[str], flag: str, expected: str) -> str:
    """A path of this machine; UsageError where none is given, or a URL, which cannot be searched.

    Args:
        path: as the user wrote it.
        flag: such as "--input".
        expected: what should be there, for the message.
    """
    if not path or filesystem.is_remote(path):
        received = path or "none"
        raise UsageError(
            f"Expected {flag} to name {expected} on this machine, received {received}."
        )
    return path


def videos_by_stem(folder: str) -> dict[str, str]:
    """Name without extension -> path relative to `folder`, of every video below it."""
    best: dict[str, tuple[int, str]] = {}
    for parent, _, names in os.walk(folder):
        below = os.path.relpath(parent, folder)
        for name in names:
            stem, extension = os.path.splitext(name)
            if extension.lower() in VIDEO_EXTENSIONS:
                path = os.path.normpath(os.path.join(below, name)).replace(os.sep, "/")
                rank = (VIDEO_EXTENSIONS.index(extension.lower()), path)
                best[stem] = min(best.get(stem, rank), rank)
    return {stem: path for stem, (_, path) in best.items()}


def read_rows(path: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line, cells) of a csv file with a header; cells are stripped, other columns ignored.

    Raises:
        UsageError: the file is missing, no csv, or lacks a column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            if not set(columns) <= set(reader.fieldnames):
                found = ", ".join(reader.fieldnames) or "an empty file"
                raise UsageError(
                    f"{path}: expected the columns {', '.join(columns)}, received {found}."
                )
            for cells in reader:
                yield reader.line_num, {name: (cells[name] or "").strip() for name in columns}
    except OSError as error:
        raise UsageError(f"Expected a csv file at {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"Expected a csv file in UTF-8 at {path}: {error}.") from error


def read_span(start: Any, end: Any, place: str) -> tuple[float, float]:
    """(start, end) in seconds, of two cells; `place` (file and line) is for the message.

    Raises:
        UsageError: they are no span.
    """
    try:
        span = float(start), float(end)
    except (TypeError, ValueError):
        span = math.nan, math.nan
    if not 0 <= span[0] < span[1] < math.inf:
        fail(place, f"expected a start and a later end in seconds, received {start!r} and {end!r}")
    return span


def fail(place: str, message: str) -> NoReturn:
    """Raises a UsageError that names a file, and a line of it."""
    raise UsageError(f"{place}: {message}.")


def ordered_labels(options: SourceOptions, used: Iterable[str]) -> list[str]:
    """The classes in the order of `--labels`, else sorted.

    Raises:
        UsageError: `--labels` lacks a class that is used.
    """
    used = sorted(used)
    if not options.labels:
        return used
    labels = load_labels(options.labels)
    for label in used:
        if label not in labels:
            raise UsageError(f"Expected {options.labels} to name the class {label!r} as well.")
    return labels
