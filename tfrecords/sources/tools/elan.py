"""ELAN: annotations in tiers of a timeline, an .eaf a recording.

    <ANNOTATION_DOCUMENT>
      <HEADER><MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/a.mpg" RELATIVE_MEDIA_URL="./a.mpg"/></HEADER>
      <TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="780"/> ...      milliseconds
      <TIER TIER_ID="action"><ANNOTATION>
        <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
          <ANNOTATION_VALUE>run</ANNOTATION_VALUE> ...

An annotation that refers to another one (of a dependent tier) has its span.
"""

from __future__ import annotations

import math
import os
from typing import Dict, Optional, Tuple
from xml.etree.ElementTree import Element

from tfrecords.media import video
from tfrecords.sources.published.layout import fail, read_annotations
from tfrecords.sources.table import parse_seconds
from tfrecords.sources.tools.annotated import AnnotatedSource, Mark, Marks, media_name


class ElanSource(AnnotatedSource):
    """The source `elan`; `options.input` is an .eaf, or a folder of them."""

    name = "elan"
    expected = "an .eaf of ELAN, or a folder of them"
    extensions = (".eaf",)

    def parse(self, path: str) -> Marks:
        """Reads the annotations of all tiers."""
        root = read_annotations(path, "ANNOTATION_DOCUMENT", "ELAN")
        media, origin = _media(root, path)
        slots = {
            slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")
        }
        times = {name: parse_seconds(text) for name, text in slots.items()}
        spans: Dict[Optional[str], Tuple[float, float]] = {}
        parents: Dict[Optional[str], Optional[str]] = {}
        marks, unaligned = [], 0
        for item in root.iter("ALIGNABLE_ANNOTATION"):
            first, last = (times.get(item.get(f"TIME_SLOT_REF{n}"), math.nan) for n in (1, 2))
            if math.isfinite(first + last):
                spans[item.get("ANNOTATION_ID")] = first, last
        for item in root.iter("REF_ANNOTATION"):
            parents[item.get("ANNOTATION_ID")] = item.get("ANNOTATION_REF")
        for tier in root.iter("TIER"):
            for item in tier.iterfind("ANNOTATION/*"):
                label = (item.findtext("ANNOTATION_VALUE") or "").strip()
                name = item.get("ANNOTATION_ID")
                for _ in parents:
                    name = name if name in spans else parents.get(name)
                if not label or name not in spans:
                    unaligned += bool(label)
                    continue
                start, end = (max(0.0, time + origin) / 1000 for time in spans[name])
                if end <= start:
                    where = f"{path}, annotation {item.get('ANNOTATION_ID')}"
                    fail(
                        where, f"expected a start before its end, received {start:g} and {end:g} s"
                    )
                marks.append(Mark(media, tier.get("TIER_ID", ""), label, start, end))
        said = f"{unaligned} annotations have no times and are left out."
        return Marks(marks, (said,) if unaligned else ())


def _media(root: Element, path: str) -> Tuple[str, float]:
    """Returns (path of the video, milliseconds of it at which the timeline begins)."""
    found = []
    for item in root.iter("MEDIA_DESCRIPTOR"):
        name = item.get("RELATIVE_MEDIA_URL") or item.get("MEDIA_URL") or ""
        origin = parse_seconds(item.get("TIME_ORIGIN") or "0")
        found.append((media_name(name), origin if math.isfinite(origin) else 0.0))
    films = [item for item in found if item[0].lower().endswith(video.EXTENSIONS)]
    if not films:
        fail(path, f"expected a video among its media, received {[name for name, _ in found]}")
    return os.path.normpath(films[0][0]), films[0][1]
