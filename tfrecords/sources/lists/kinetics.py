"""Kinetics-400, 600 and 700: ten seconds of a YouTube video, one action each.

    DIR/train.csv, validate.csv, test.csv       label,youtube_id,time_start,time_end,split
        or train.json, ...                      {ID: {"annotations": {"label", "segment": [s, e]},
                                                "subset": ...}}
    DIR/.../ID_000010_000020.mp4                a trimmed clip, as the usual downloaders name it
            ID.mp4                              or the whole video, of which the span is cut

`--input` is that folder, or one of its tables. What is not trimmed has a before and after. Rows
without a label (of the test set) are left out. W. Kay et al.: The Kinetics human action video
dataset, 2017.
"""

from __future__ import annotations

import os
from typing import Annotated, Dict, List, Optional, Sequence, TypedDict

from tfrecords.sources.base import SourceOptions
from tfrecords.sources.lists.listed import (
    SPANS,
    SPLITS,
    Entry,
    Listed,
    ListSource,
    find_files,
)
from tfrecords.sources.published.layout import fail, read_span
from tfrecords.sources.table import TableReader
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.json_files import Limits, read_json

COLUMNS = ("youtube_id", "time_start", "time_end")


class _Annotation(TypedDict):
    label: str
    segment: Annotated[List[float], Limits(2, 2)]


class _Clip(TypedDict):
    annotations: _Annotation
    subset: str


class KineticsSource(ListSource):
    """The source `kinetics`; `options.input` is the folder or a table."""

    name = "kinetics"
    expected = "the folder of Kinetics' train.csv and the other tables, or one of them"
    kinds = ("frozen_frame", *(kind for kind in SPANS if kind != "frozen_frame"))

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads all tables of the folder, or the one."""
        paths = [place]
        if os.path.isdir(place):
            folders = ("annotations", "kinetics400", "kinetics600", "kinetics700_2020")
            paths = find_files(place, folders, "*.csv") or find_files(place, folders, "*.json")
        if not paths:
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        entries, remarks = [], []
        for path in paths:
            found = (
                _read_json(path) if path.endswith(".json") else _read_csv(path, options, remarks)
            )
            withheld = sum(not entry.labels for entry in found)
            if withheld:
                remarks.append(f"{path}: {withheld} rows without a label are left out.")
            entries += [entry for entry in found if entry.labels]
        return Listed(_tested(entries), remarks=tuple(remarks))

    def names(self, video: str) -> Sequence[str]:
        """Returns the name of the trimmed clip, then that of the whole video."""
        identity, start, end = video.rsplit("@", 2)
        first, last = float(start), float(end)
        return (
            f"{identity}_{first:06.0f}_{last:06.0f}.mp4",
            f"{identity}_{first:g}_{last:g}.mp4",
            f"{identity}.mp4",
            f"v_{identity}.mp4",
        )

    def seconds(self, entry: Entry, path: Optional[str], fps: Optional[float]) -> Entry:
        """Returns the entry without its span if its file is the clip."""
        identity = entry.video.rsplit("@", 2)[0]
        stem = os.path.splitext(os.path.basename(path or self.names(entry.video)[0]))[0]
        whole = stem.casefold() in (identity.casefold(), f"v_{identity}".casefold())
        return entry if whole else entry._replace(start=0.0, end=None)


def _tested(entries: list[Entry]) -> list[Entry]:
    """Tests on the validation set, as is the custom, where the test set has no labels."""
    if any(entry.split == "test" for entry in entries):
        return entries
    return [
        entry._replace(split="test") if entry.split == "validation" else entry for entry in entries
    ]


def _read_csv(path: str, options: SourceOptions, remarks: list[str]) -> list[Entry]:
    table = TableReader(path, COLUMNS, ("label", "split"), options.encoding)
    named = _split(os.path.splitext(os.path.basename(path))[0])
    entries = []
    for line, cells in table:
        place = f"{path}, line {line}"
        start, end = read_span(cells["time_start"], cells["time_end"], place, table.decimal_comma)
        if not cells["youtube_id"]:
            fail(place, "expected a youtube_id, received none")
        split = _split(cells.get("split") or "") or named
        if not split:
            fail(place, f"expected the split {', '.join(SPLITS)}, received {cells.get('split')!r}")
        labels = (cells["label"],) if cells.get("label") else ()
        video = f"{cells['youtube_id']}@{start}@{end}"
        entries.append(Entry(video, labels, split, start, end, line))
    remarks += [remark for remark in table.remarks if "columns not used" not in remark]
    return entries


def _read_json(path: str) -> list[Entry]:
    try:
        clips = read_json(path, Dict[str, _Clip])
    except UserError as error:
        raise UsageError(str(error)) from error
    entries = []
    for line, (identity, clip) in enumerate(clips.items(), 1):
        place, annotation = f"{path}, {identity}", clip["annotations"]
        start, end = read_span(annotation["segment"][0], annotation["segment"][1], place)
        split = _split(clip["subset"])
        if not split:
            fail(place, f"expected the subset {', '.join(SPLITS)}, received {clip['subset']!r}")
        labels = (annotation["label"],) if annotation["label"] else ()
        entries.append(Entry(f"{identity}@{start}@{end}", labels, split, start, end, line))
    return entries


def _split(text: str) -> str:
    """Returns the split of a word, or of the name of a table that ends in one; else ""."""
    words = text.lower().replace("-", "_").split("_")
    return next((SPLITS[word] for word in reversed(words) if word in SPLITS), "")
