"""CVAT for video 1.1: boxes of tracks, frame by frame.

    <annotations>
      <meta><task> ... <source>a.mp4</source> ...
      <track id="0" label="run">
        <box frame="10" outside="0" ...><attribute name="action">jump</attribute></box> ...

An action lasts while its track is inside the picture (until a box that is `outside`). It is called
by the track's label, and each attribute with values of its own (a text or a choice, not a check box
or a number) is another tier: an action lasts while the value does. Spans of one label that overlap,
as of two people, are one. Frames count from 0 in the video.
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional
from xml.etree.ElementTree import Element

from tfrecords.sources.published.layout import fail, read_annotations
from tfrecords.sources.tools.annotated import AnnotatedSource, Mark, Marks, merged

LABEL = "label"  # the tier of the tracks' own labels
SHAPES = ("box", "polygon", "polyline", "points", "ellipse", "cuboid", "skeleton", "mask")
NO_VALUE = ("", "__undefined__", "none", "true", "false")


class CvatSource(AnnotatedSource):
    """The source `cvat`; `options.input` is an .xml, or a folder of them."""

    name = "cvat"
    expected = "an .xml of CVAT for video 1.1, or a folder of them"
    extensions = (".xml",)

    def parse(self, path: str) -> Marks:
        """Reads the tracks, of one video or of the tasks of a project."""
        root = read_annotations(path, "annotations", "CVAT for video 1.1")
        sources = {
            task.findtext("id") or "": task.findtext("source") or ""
            for kind in ("task", "job")
            for task in root.iter(kind)
        }
        sources = {number: name for number, name in sources.items() if name}
        only = root.findtext("meta/source") or next(iter(sources.values()), "")
        if root.find("image") is not None:
            fail(path, "expected CVAT for video, received CVAT for images: export it for video")
        marks: List[Mark] = []
        for track in root.iterfind("track"):
            media = sources.get(track.get("task_id", ""), only)
            if not media:
                fail(path, "expected the name of its video in <source>, received none")
            marks += _marks(track, media, path)
        return Marks(merged(marks))


def _marks(track: Element, media: str, path: str) -> List[Mark]:
    """Returns the spans of a track: of its label and of the values of its attributes."""
    marks: List[Mark] = []
    begun: Dict[str, tuple] = {}  # tier -> (value, first frame)
    last: Optional[int] = None
    shapes = [shape for shape in track if shape.tag in SHAPES]
    for shape in sorted(shapes, key=lambda shape: _frame(shape, track, path)):
        last = _frame(shape, track, path)
        values = {}
        if shape.get("outside") != "1":
            values = {a.get("name", ""): (a.text or "").strip() for a in shape.iter("attribute")}
            values = {name: text for name, text in values.items() if _is_word(text)}
            values[LABEL] = track.get("label", "")
        for tier, (value, first) in list(begun.items()):
            if values.get(tier) != value:
                marks.append(Mark(media, tier, value, frames=(first, last)))
                del begun[tier]
        for tier, value in values.items():
            begun.setdefault(tier, (value, last))
    for tier, (value, first) in begun.items():
        marks.append(Mark(media, tier, value, frames=(first, (last or 0) + 1)))
    return marks


def _is_word(text: str) -> bool:
    number = text.replace(".", "", 1).lstrip("-").isdigit()
    return text.lower() not in NO_VALUE and not number


def _frame(shape: Element, track: Element, path: str) -> int:
    text = shape.get("frame", "")
    if not re.fullmatch("[0-9]{1,9}", text):
        fail(f"{path}, track {track.get('id')}", f"expected a number of a frame, received {text!r}")
    return int(text)
