"""HACS's files of annotations: the csv of clips, the JSON of segments (see `hacs`)."""

from __future__ import annotations

import json
from typing import NamedTuple

from tfrecords.sources.published.layout import fail, read_span
from tfrecords.sources.table import TableReader, normalize_label
from tfrecords.utils.errors import UsageError

SPLITS = {"training": "train", "validation": "test", "testing": "testing"}
COLUMNS = ("classname", "youtube_id", "subset", "start", "end", "label")


class Entry(NamedTuple):
    """A span of a video, in seconds, that shows an action, or does not; `line` of the file."""

    label: str
    video: str
    split: str
    start: float
    end: float
    positive: bool
    line: int


def read_clips(path: str) -> list[Entry]:
    """Reads the csv of clips; those without a class or a label (withheld) are left out.

    Raises:
        UsageError: If a row does not have the form of HACS's rows.
    """
    entries = []
    for line, cells in TableReader(path, COLUMNS):
        location = f"{path}, line {line}"
        split = _split(cells["subset"], location)
        if split == "testing" and not (cells["classname"] and cells["label"] in ("1", "-1")):
            continue
        if cells["label"] not in ("1", "-1"):
            fail(location, f"expected 1 or -1 in the column label, received {cells['label']!r}")
        label, video = normalize_label(cells["classname"]), cells["youtube_id"]
        if not label or not video:
            fail(location, "expected a classname and a youtube_id, received none")
        start, end = read_span(cells["start"], cells["end"], location)
        entries.append(Entry(label, video, split, start, end, cells["label"] == "1", line))
    if not any(entry.positive for entry in entries):
        fail(path, "expected a row with label 1, received none")
    return entries


def read_segments(path: str) -> list[Entry]:
    """Reads the JSON of segments; videos without annotations (withheld) give none.

    Raises:
        UsageError: The file has another form than that of HACS.
    """
    try:
        with open(path, encoding="utf-8") as file:
            videos = json.load(file)["database"].items()
    except OSError as error:
        raise UsageError(f"Expected a JSON file at {path}: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: expected JSON with an object 'database' ({error}).") from error
    entries = []
    for number, (video, info) in enumerate(videos, 1):
        location = f"{path}, video {video}"
        try:
            annotations = [(item["label"], [*item["segment"]]) for item in info["annotations"]]
            split = _split(info["subset"], location)
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"{location}: expected a subset and annotations with label and segment ({error!r})."
            ) from error
        for label, span in annotations:
            if len(span) != 2 or not label or not isinstance(label, str):
                fail(
                    location,
                    f"expected a label and a segment [start, end], received {label!r}, {span}",
                )
            start, end = read_span(span[0], span[1], location)
            entries.append(Entry(label, video, split, start, end, True, number))
    if not entries:
        fail(path, "expected a video with annotations, received none")
    return entries


def _split(subset: str, location: str) -> str:
    if subset not in SPLITS:
        fail(location, f"expected the subset {', '.join(SPLITS)}, received {subset!r}")
    return SPLITS[subset]
