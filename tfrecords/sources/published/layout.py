"""Files of published data sets, as their users have them on disk."""

from __future__ import annotations

import math
import os
from typing import Any, Iterable, NoReturn, Optional
from xml.etree import ElementTree
from xml.parsers import expat

from tfrecords.media import video
from tfrecords.records.dataset import load_labels
from tfrecords.sources.base import SourceOptions
from tfrecords.sources.table import normalize_label, parse_seconds
from tfrecords.utils import filesystem
from tfrecords.utils.errors import UsageError
from tfrecords.utils.paths import is_inside, target_outside

MAX_XML = 1 << 28  # bytes; parsed, it takes some ten times as many


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


def check_links(folder: str, names: Iterable[str], data_root: Optional[str] = None) -> None:
    """Raises a UsageError for a file that is a link out of its folder, not covered by a root.

    Args:
        folder: Folder of a data set.
        names: Paths of its files below it.
        data_root: Another folder in which targets of links may lie.
    """
    for name in names:
        target = target_outside(
            os.path.abspath(os.path.join(folder, name)), os.path.abspath(folder)
        )
        if target and not (data_root and is_inside(target, os.path.realpath(data_root))):
            raise UsageError(
                f"Expected files inside {folder} (--data_root names another folder), received "
                f"{name}, a link to {target}."
            )


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


def read_span(start: Any, end: Any, place: str, decimal_comma: bool = False) -> tuple[float, float]:
    """Returns (start, end) in seconds from two cells; `place` (file, line) is for the message.

    `decimal_comma` as for `parse_seconds`.

    Raises:
        UsageError: The cells are not a span.
    """
    span = parse_seconds(start, decimal_comma), parse_seconds(end, decimal_comma)
    if not 0 <= span[0] < span[1] < math.inf:
        fail(place, f"expected a start and a later end in seconds, received {start!r} and {end!r}")
    return span


def read_xml(path: str) -> ElementTree.Element:
    """Reads an XML file, without definitions of its own: entities could unpack to gigabytes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no XML, or has a document type.
    """

    def refuse(*_: object) -> None:
        raise ValueError("a document type, which may define entities, is not read")

    try:
        with open(path, "rb") as file:
            if os.path.getsize(path) > MAX_XML:
                raise ValueError(f"more than {MAX_XML:,} bytes")
            scan = expat.ParserCreate()
            scan.StartDoctypeDeclHandler = refuse
            scan.ParseFile(file)
            file.seek(0)
            return ElementTree.parse(file).getroot()
    # LookupError: of an encoding nobody knows.
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise ValueError(str(error)) from error


def read_annotations(path: str, root: str, tool: str) -> ElementTree.Element:
    """Reads the XML file of an annotation tool.

    Args:
        path: Local file.
        root: Tag of its outermost element.
        tool: Name of the tool, for the message.

    Raises:
        UsageError: It is none.
    """
    try:
        element = read_xml(path)
    except OSError as error:
        raise UsageError(f"Expected a file of {tool} at {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"Expected a file of {tool} at {path}: {error}.") from error
    if element.tag != root:
        fail(path, f"expected a file of {tool} with <{root}>, received <{element.tag}>")
    return element


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
