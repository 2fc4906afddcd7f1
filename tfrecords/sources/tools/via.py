"""VIA 3 (VGG Image Annotator) for video: temporal segments of a project.

    {"attribute": {"1": {"aname": "action", "options": {"0": "run", "1": "jump"}, ...}},
     "file": {"1": {"fname": "a.mp4", ...}},
     "view": {"1": {"fid_list": ["1"]}},
     "metadata": {"1_x": {"vid": "1", "z": [1.2, 3.4], "av": {"1": "0"}}}}

A project is what VIA saves (.json). A tier is an attribute; its value is the option of that number,
or the text. Metadata without two times (regions of a frame) are left out.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, TypedDict

from tfrecords.sources.published.layout import fail, read_span
from tfrecords.sources.tools.annotated import AnnotatedSource, Mark, Marks
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.json_files import read_json


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
    expected = "a project of VIA 3 (.json), or a folder of them"
    extensions = (".json",)

    def parse(self, path: str) -> Marks:
        """Reads the temporal segments of a project."""
        try:
            project = read_json(path, _Project)
        except UserError as error:
            raise UsageError(str(error)) from error
        marks = []
        for number, item in project["metadata"].items():
            place = f"{path}, metadata {number}"
            if len(item["z"]) != 2:
                continue
            view = project["view"].get(str(item["vid"]), {"fid_list": []})
            files = [project["file"].get(str(file)) for file in view["fid_list"]]
            if not files or not files[0]:
                fail(place, f"expected a view with a file, received {item['vid']!r}")
            start, end = read_span(item["z"][0], item["z"][1], place)
            name = os.path.normpath(files[0]["fname"])
            for key, value in item["av"].items():
                attribute = project["attribute"].get(key)
                if attribute is None:
                    fail(place, f"expected an attribute of the project, received {key!r}")
                options = attribute.get("options")
                named = options if isinstance(options, dict) else {}
                label = str(named.get(str(value), value)).strip()
                marks.append(Mark(name, str(attribute.get("aname", key)), label, start, end))
        return Marks(marks)
