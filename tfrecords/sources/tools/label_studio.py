"""Label Studio: tasks with their annotations, exported as JSON.

    [{"data": {"video": "/data/upload/1/3fa2b1c4-a.mp4"},
      "annotations": [{"was_cancelled": false, "result": [
        {"type": "timelinelabels", "from_name": "action",
         "value": {"ranges": [{"start": 12, "end": 40}], "timelinelabels": ["run"]}},
        {"type": "labels", "value": {"start": 0.5, "end": 2.0, "labels": ["run"]}},
        {"type": "choices", "value": {"choices": ["run"]}}]}]}]

Labels of a timeline are in frames, from 1 and both ends included; those of a region in seconds;
choices are of the whole file. As JSON-MIN a control's values stand beside the data, without types:

    [{"video": "/data/upload/1/3fa2b1c4-a.mp4", "id": 1, "annotator": 1, ...,
      "action": [{"ranges": [{"start": 12, "end": 40}], "timelinelabels": ["run"]}],
      "whole": "run"}]

The first annotation of a task that was not cancelled counts. A tier is a control (`from_name`).
"""

from __future__ import annotations

import os
import re
import urllib.parse
from typing import Any, Dict, List, Sequence, TypedDict

from tfrecords.media import video
from tfrecords.sources.published.layout import fail, read_span
from tfrecords.sources.tools.annotated import AnnotatedSource, Mark, Marks, media_name
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.json_files import read_json

MAX_FRAME = 1 << 31  # a year of video
KINDS = ("timelinelabels", "labels", "choices")
# What JSON-MIN says of a task and its annotation.
ABOUT = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
UPLOADED = re.compile(r"[0-9a-f]{8}-")  # what an upload puts before the name of a file


class _Task(TypedDict):
    data: Dict[str, Any]
    annotations: List[Dict[str, Any]]


class LabelStudioSource(AnnotatedSource):
    """The source `label_studio`; `options.input` is a .json, or a folder of them."""

    name = "label_studio"
    expected = "a JSON export of Label Studio, or a folder of them"
    extensions = (".json",)

    def parse(self, path: str) -> Marks:
        """Reads the annotations of all tasks."""
        try:
            brief = read_json(path, List[Dict[str, Any]])
            if brief and "annotations" not in brief[0]:
                tasks = [_from_brief(item) for item in brief]
            else:
                tasks = read_json(path, List[_Task])
        except UserError as error:
            raise UsageError(str(error)) from error
        marks: List[Mark] = []
        several = 0
        for number, task in enumerate(tasks, 1):
            place = f"{path}, task {number}"
            kept = [item for item in task["annotations"] if not item.get("was_cancelled")]
            several += len(kept) > 1
            media = _media(task["data"], place)
            results = kept[0].get("result") if kept else ()
            for item in results if isinstance(results, list) else ():
                marks += _marks(item, media, place)
        said = f"{several} tasks have several annotations: the first of each is read."
        return Marks(marks, (said,) if several else ())

    def names(self, video: str) -> Sequence[str]:
        """Returns the path, then the name as it was before it was uploaded."""
        path = media_name(video)
        if "?d=" in path:  # a file of a local storage
            path = urllib.parse.unquote(path.split("?d=", 1)[1])
        name = os.path.basename(path)
        return (path, name, UPLOADED.sub("", name, count=1))


def _from_brief(item: Dict[str, Any]) -> _Task:
    """Returns a task of JSON-MIN as JSON has it; a text that is no file is a choice."""
    result = []
    for name, values in item.items():
        if isinstance(values, str) and name not in ABOUT and not _is_video(values):
            values = [{"choices": [values]}]
        for value in values if isinstance(values, list) else ():
            kind = next((kind for kind in KINDS if isinstance(value, dict) and kind in value), None)
            result.append({"type": kind, "from_name": name, "value": value})
    return {"data": item, "annotations": [{"result": result}]}


def _is_video(text: str) -> bool:
    return text.split("&")[0].lower().endswith(video.EXTENSIONS)


def _media(data: Dict[str, Any], place: str) -> str:
    """Returns the value that names a video."""
    texts = [text for text in data.values() if isinstance(text, str)]
    for text in texts:
        if _is_video(text):
            return text
    fail(place, f"expected a video among its data, received {', '.join(texts) or 'none'}")


def _marks(item: Any, media: str, place: str) -> List[Mark]:
    if not isinstance(item, dict) or not isinstance(item.get("value"), dict):
        return []
    value, tier, kind = item["value"], str(item.get("from_name", "")), item.get("type")
    labels = value.get(kind) if isinstance(kind, str) else None
    if not isinstance(labels, list) or kind not in KINDS:
        return []  # of a relation, a text, a box
    marks = []
    for label in map(str, labels):
        if kind == "choices":
            marks.append(Mark(media, tier, label))
        elif kind == "labels" and "start" in value:
            span = read_span(value.get("start"), value.get("end"), place)
            marks.append(Mark(media, tier, label, *span))
        ranges = value.get("ranges") if kind == "timelinelabels" else ()
        for span in ranges if isinstance(ranges, list) else ():
            first, last = (span.get("start"), span.get("end")) if isinstance(span, dict) else (0, 0)
            if not (
                isinstance(first, int) and isinstance(last, int) and 0 < first <= last <= MAX_FRAME
            ):
                fail(place, f"expected a start and a later end in frames from 1, received {span}")
            marks.append(Mark(media, tier, label, frames=(first - 1, last)))
    return marks
