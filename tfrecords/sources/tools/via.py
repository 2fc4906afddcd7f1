"""VIA 3 (VGG Image Annotator) for video: temporal segments of a project.

    {"attribute": {"1": {"aname": "action", "options": {"0": "run", "1": "jump"}, ...}},
     "file": {"1": {"fname": "a.mp4", ...}},
     "view": {"1": {"fid_list": ["1"]}},
     "metadata": {"1_x": {"vid": "1", "z": [1.2, 3.4], "av": {"1": "0"}}}}

A project is what VIA saves (.json); its export (.csv) has the same in its lines:

    # ATTRIBUTE = {"1":{"aname":"action","options":{"0":"run","1":"jump"}, ...}}
    # CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata
    "1_x","[""a.mp4""]",0,"[1.2,3.4]","[]","{""1"":""0""}"

A tier is an attribute; its value is the option of that number,
or the text. Metadata without two times (regions of a frame) are left out.
"""

from __future__ import annotations

import csv
import os
import re
from typing import Any, Dict, Iterator, List, Sequence, Tuple, TypedDict

from tfrecords.sources.published.layout import fail, read_span
from tfrecords.sources.tools.annotated import AnnotatedSource, Mark, Marks
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.json_files import parse_json, read_json

# Columns of the export, and what the JSON in their cells is.
COLUMNS = {"file_list": List[str], "temporal_coordinates": List[float], "metadata": Dict[str, Any]}


class _File(TypedDict):
    fname: str


class _View(TypedDict):
    fid_list: List[Any]


class _Metadata(TypedDict):
    vid: Any
    z: List[float]
    av: Dict[str, Any]


class _Project(TypedDict):
    attribute: Dict[str, Dict[str, Any]]
    file: Dict[str, _File]
    view: Dict[str, _View]
    metadata: Dict[str, _Metadata]


class ViaSource(AnnotatedSource):
    """The source `via`; `options.input` is a project, or a folder of them."""

    name = "via"
    expected = "a project of VIA 3 (.json), a folder of them, or an export of one (.csv)"
    extensions = (".json",)

    def parse(self, path: str) -> Marks:
        """Reads the temporal segments of a project, or of its export."""
        read = _read_export if path.lower().endswith(".csv") else _read_project
        try:
            return Marks([mark for segment in read(path) for mark in _marks(*segment)])
        except UserError as error:
            raise UsageError(str(error)) from error


# place, times, file, values and attributes of a segment, or of a region of a frame
Segment = Tuple[str, Sequence[float], str, Dict[str, Any], Dict[str, Dict[str, Any]]]


def _read_project(path: str) -> Iterator[Segment]:
    project = read_json(path, _Project)
    for number, item in project["metadata"].items():
        place = f"{path}, metadata {number}"
        view = project["view"].get(str(item["vid"]), {"fid_list": []})
        files = [project["file"].get(str(file)) for file in view["fid_list"]]
        if not files or not files[0]:
            fail(place, f"expected a view with a file, received {item['vid']!r}")
        yield place, item["z"], files[0]["fname"], item["av"], project["attribute"]


def _read_export(path: str) -> Iterator[Segment]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"Expected an export of VIA 3 in UTF-8 at {path}: {error}.") from error
    said = dict(re.findall(r"^# (\w+) = (.*?)\s*$", text, re.MULTILINE))
    header = said.get("CSV_HEADER", "").split(",")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        fail(path, f"expected a csv of VIA 3 with the column {missing[0]}, received {header}")
    known = said.get("ATTRIBUTE") or said.get("ATTRIBUTES") or "{}"
    attributes = parse_json(known, Dict[str, Dict[str, Any]], path)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        place = f"{path}, line {number}"
        try:
            cells = dict(zip(header, next(csv.reader([line.strip()]))))
        except csv.Error as error:
            fail(place, f"expected cells separated by commas, received others ({error})")
        files, times, values = (
            parse_json(cells.get(name, ""), kind, f"{place}, {name}")
            for name, kind in COLUMNS.items()
        )
        if not files:
            fail(place, "expected a file, received none")
        yield place, times, files[0], values, attributes


def _marks(
    place: str,
    times: Sequence[float],
    file: str,
    values: Dict[str, Any],
    attributes: Dict[str, Dict[str, Any]],
) -> Iterator[Mark]:
    if len(times) != 2:
        return
    start, end = read_span(times[0], times[1], place)
    for key, value in values.items():
        attribute = attributes.get(key)
        if attribute is None:
            fail(place, f"expected an attribute of the project, received {key!r}")
        options = attribute.get("options")
        named = options if isinstance(options, dict) else {}
        label = str(named.get(str(value), value)).strip()
        tier = str(attribute.get("aname", key))
        yield Mark(os.path.normpath(file), tier, label, start, end)
