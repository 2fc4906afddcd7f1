"""Files of published data sets, as their users have them on disk."""

from __future__ import annotations

import math
import os
from typing import Any, Iterable, NoReturn, Optional

from tfrecords.media import video
from tfrecords.records.dataset import load_labels
from tfrecords.sources.base import SourceOptions
from tfrecords.sources.table import normalize_label
from tfrecords.utils import filesystem
from tfrecords.utils.errors import UsageError


def require_local(path: Optional[str], flag: str, expected: str) -> str:
    """Returns a path on this machine; a URL is refused, since it cannot be searched.

    Args:
        path: Path as given by the user.
        flag: Flag of the path, such as "--input".
        expected: Expected content, for the message.

    Raises:
        UsageError: If no path is given, or a URL.
    """
    if not path or filesystem.is_remote(path):
        received = path or "none"
        raise UsageError(
            f"Expected {flag} to name {expected} on this machine, received {received}."
        )
    return path


def videos_by_stem(folder: str) -> dict[str, str]:
    """Maps the name without extension of every video below a folder to its path in it."""
    best: dict[str, tuple[int, str]] = {}
    for parent, _, names in os.walk(folder):
        below = os.path.relpath(parent, folder)
        for name in names:
            stem, extension = os.path.splitext(name)
            if extension.lower() in video.EXTENSIONS:  # of several of one name the first serves
                path = os.path.normpath(os.path.join(below, name)).replace(os.sep, "/")
                rank = (video.EXTENSIONS.index(extension.lower()), path)
                best[stem] = min(best.get(stem, rank), rank)
    return {stem: path for stem, (_, path) in best.items()}


def read_span(start: Any, end: Any, place: str) -> tuple[float, float]:
    """Returns (start, end) in seconds from two cells; `place` (file, line) is for the message.

    Raises:
        UsageError: The cells are not a span.
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
    """Returns the classes in the order of `--labels`, else sorted.

    Raises:
        UsageError: `--labels` lacks a class that is used.
    """
    used = sorted(used)
    if not options.labels:
        return used
    labels = [normalize_label(label) for label in load_labels(options.labels)]
    for label in used:
        if label not in labels:
            raise UsageError(f"Expected {options.labels} to name the class {label!r} as well.")
    return labels
