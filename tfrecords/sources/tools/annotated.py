"""What exports of annotation tools share: files of marked spans, in tiers, in seconds or frames."""

from __future__ import annotations

import os
import urllib.parse
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from tfrecords.media import video
from tfrecords.media.video import UnreadableError
from tfrecords.sources.base import SourceOptions
from tfrecords.sources.lists.listed import SPANS, Entry, Listed, ListSource
from tfrecords.sources.published.layout import fail
from tfrecords.utils.errors import UsageError


class Mark(NamedTuple):
    """A span of a video with a label: in seconds, or as `frames` (first, end) from 0.

    `tier` is what it belongs to: a tier, a control, an attribute.
    """

    video: str
    tier: str
    label: str
    start: float = 0.0
    end: Optional[float] = None
    frames: Optional[Tuple[int, Optional[int]]] = None


class Marks(NamedTuple):
    """The marks of a file, and remarks."""

    marks: List[Mark]
    remarks: Tuple[str, ...] = ()


class AnnotatedSource(ListSource):
    """A source by the exports of a tool; `options.input` is one of them, or a folder of them.

    Attributes:
        extensions: Extensions of such files.
    """

    extensions: Tuple[str, ...] = ()
    takes_tier = True
    kinds = SPANS
    has_splits = False

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads all exports and keeps the marks of `options.tier`."""
        paths = [place]
        if os.path.isdir(place):
            paths = sorted(
                os.path.join(parent, name)
                for parent, _, names in os.walk(place)
                for name in names
                if name.lower().endswith(self.extensions) and not name.startswith(".")
            )
        if not paths:
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        entries, remarks, tiers = [], [], {}
        wanted = [name.strip() for name in options.tier.split(",")] if options.tier else None
        for path in paths:
            found = self.parse(path)
            remarks += [f"{path}: {remark}" for remark in found.remarks]
            for line, mark in enumerate(found.marks, 1):
                tiers[mark.tier] = tiers.get(mark.tier, 0) + 1
                if wanted is None or mark.tier in wanted:
                    labels = (mark.label,) if mark.label else ()
                    entries.append(
                        Entry(
                            *(mark.video, labels, "train", mark.start, mark.end, line),
                            frames=mark.frames,
                        )
                    )
        unknown = [name for name in wanted or () if name not in tiers]
        if unknown:
            fail(
                place, f"expected --tier among {', '.join(tiers) or 'none'}, received {unknown[0]}"
            )
        if len(tiers) > 1 and not wanted:
            listed = ", ".join(f"{name} ({count})" for name, count in tiers.items())
            remarks.append(f"Spans of {len(tiers)} tiers are read, --tier chooses: {listed}.")
        return Listed([entry for entry in entries if entry.labels], remarks=tuple(remarks))

    def parse(self, path: str) -> Marks:
        """Reads the marks of a file.

        Raises:
            UsageError: It is no such export.
        """
        raise NotImplementedError

    def names(self, video: str) -> Sequence[str]:
        """Returns the path as the tool writes it, without what it adds."""
        return (media_name(video),)

    def seconds(self, entry: Entry, path: Optional[str], fps: Optional[float]) -> Entry:
        """Returns an entry whose frames are counted out in its video, or at the rate given."""
        if entry.frames is None:
            return entry
        first, last = entry.frames
        times = [] if fps or not path else self._times(path)
        rate = fps or video.DEFAULT_RATE

        def at(frame: int) -> float:
            return times[frame] if frame < len(times) else frame / rate

        beyond = last is None or bool(times and last >= len(times))
        return entry._replace(start=at(first), end=None if beyond else at(last or 0))

    def _times(self, path: str) -> List[float]:
        """Returns the times of a video's frames; decoding alone tells them for every format."""
        known: Dict[str, List[float]] = self.__dict__.setdefault("_known_times", {})
        if path not in known:
            try:
                known[path] = [time for time, _, _ in video.decode(path)]
            except UnreadableError:
                known[path] = []  # the build names it
        return known[path]


def media_name(text: str) -> str:
    """Returns the path in a URL or path of a tool, with forward slashes."""
    text = urllib.parse.unquote(text) if "://" in text or "%" in text else text
    return text.split("://", 1)[-1].replace("\\", "/")


def merged(marks: Iterable[Mark]) -> List[Mark]:
    """Merges marks of one video, tier and label that overlap, as of two people; sorted."""
    result: List[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark[:3], mark.frames or (0, None))):
        last = result[-1] if result else None
        if last and last[:3] == mark[:3] and last.frames and mark.frames:
            (first, end), (start, stop) = last.frames, mark.frames
            if end is None or start <= end:
                ends = None if end is None or stop is None else max(end, stop)
                result[-1] = last._replace(frames=(first, ends))
                continue
        result.append(mark)
    return result
