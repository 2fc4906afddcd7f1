"""HACS's files of annotations: the csv of clips, the JSON of segments (see `hacs`)."""

from __future__ import annotations

from typing import Annotated, Dict, List, NamedTuple, Optional, TypedDict

from tfrecords.sources.published.layout import fail, read_span
from tfrecords.sources.table import TableReader, normalize_label
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.json_files import Limits, read_json

SPLITS = {"training": "train", "validation": "test", "testing": "testing"}
COLUMNS = ("classname", "youtube_id", "subset", "start", "end", "label")


class _Annotation(TypedDict):
    label: str
    segment: Annotated[List[float], Limits(2, 2)]  # seconds


class _Video(TypedDict):
    subset: str
    annotations: List[_Annotation]


class _Segments(TypedDict):
    database: Dict[str, _Video]


class Entry(NamedTuple):
    """A span of a video, in seconds, that shows an action, or does not; `line` of the file."""

    label: str
    video: str
    split: str
    start: float
    end: float
    positive: bool
    line: int


def read_clips(path: str, encoding: Optional[str] = None) -> list[Entry]:
    """Reads the csv of clips; those without a class or a label (withheld) are left out.

    Raises:
        UsageError: If a row does not have the form of HACS's rows.
    """
    entries = []
    table = TableReader(path, COLUMNS, encoding=encoding)
    for line, cells in table:
        location = f"{path}, line {line}"
        split = _split(cells["subset"], location)
        if split == "testing" and not (cells["classname"] and cells["label"] in ("1", "-1")):
            continue
        if cells["label"] not in ("1", "-1"):
            fail(location, f"expected 1 or -1 in the column label, received {cells['label']!r}")
        label, video = normalize_label(cells["classname"]), cells["youtube_id"]
        if not label or not video:
            fail(location, "expected a classname and a youtube_id, received none")
        start, end = read_span(cells["start"], cells["end"], location, table.decimal_comma)
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
        videos = read_json(path, _Segments)["database"]
    except UserError as error:
        raise UsageError(str(error)) from error
    entries = []
    for number, (video, info) in enumerate(videos.items(), 1):
        location = f"{path}, video {video}"
        split = _split(info["subset"], location)
        for item in info["annotations"]:
            label, span = normalize_label(item["label"]), item["segment"]
            if not label:
                fail(location, "expected a label, received none")
            start, end = read_span(span[0], span[1], location)
            entries.append(Entry(label, video, split, start, end, True, number))
    if not entries:
        fail(path, "expected a video with annotations, received none")
    return entries


def _split(subset: str, location: str) -> str:
    if subset not in SPLITS:
        fail(location, f"expected the subset {', '.join(SPLITS)}, received {subset!r}")
    return SPLITS[subset]
