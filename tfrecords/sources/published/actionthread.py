"""ActionThread: actions in TV series, each with what comes before and after it.

    DIR/actions.csv    video,label,start,end and, if you like, split: a line an action, seconds in
                       the video (columns as in the source csv)
    DIR/threads.csv    if there is one: video,thread,start,end, a line a shot, seconds, with the
                       name of the thread it belongs to
    DIR/...            the videos, under the names that the tables give

M. Hoai, A. Zisserman: Thread-safe: towards recognizing human actions across shot boundaries, ACCV
2014. A thread is the shots of a scene that one camera position shows, with shots of other threads
cut in between. The data set's own file of annotations is not public; this layout is ours.

Conjugates (`before_after`): a span before or after the action in the same thread, over no annotated
action. With threads.csv it may lie in another shot of the thread, beyond a cut away and back;
without, in the shot of the action, whose ends are looked for. --conjugate_rank=alike chooses among
the windows of all these shots up to a minute away.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import replace
from typing import Iterable, NamedTuple, Optional

from tfrecords.conjugates import before_after
from tfrecords.conjugates.before_after import MIN_FRAMES, Span, free_pieces
from tfrecords.media.video import DEFAULT_RATE
from tfrecords.sources.base import Row, SourceOptions
from tfrecords.sources.csv import CsvSource
from tfrecords.sources.published.layout import fail, read_span, require_local
from tfrecords.sources.table import TableReader
from tfrecords.utils.errors import UsageError


class Shot(NamedTuple):
    """A shot of a video, in seconds, and the name of its thread."""

    thread: str
    start: float
    end: float


class ActionThreadSource(CsvSource):
    """The source `actionthread`; `options.input` is the folder."""

    name = "actionthread"

    def __init__(self, options: SourceOptions):
        folder = require_local(options.input, "--input", "a folder with an actions.csv")
        table = os.path.join(folder, "actions.csv")
        if not os.path.isfile(table):
            raise UsageError(
                f"Expected --input to name a folder with an actions.csv, received {folder}."
            )
        super().__init__(replace(options, input=table))
        for row in self._rows:
            if row.end is None:
                fail(f"{table}, line {row.line}", "expected a start and an end, received none")
        threads = os.path.join(folder, "threads.csv")
        self._shots, remarks = _read_threads(threads, set(self._paths), options.encoding)
        self.remarks += remarks
        if self._shots and self.conjugate == "before_after":
            videos = {row.media for row in self._rows}
            self.remarks += (
                f"threads.csv names the threads of {len(self._shots)} of {len(videos)} videos; in "
                "the others, conjugates lie in the shot of the action.",
            )

    def fingerprint(self) -> str:
        """Returns a digest of rows, files and threads."""
        return hashlib.sha256(f"{super().fingerprint()} {self._shots}".encode()).hexdigest()

    def _before_or_after(self, row: Row, end: float) -> Optional[tuple[str, float, float]]:
        shots = self._shots.get(row.media)
        if not shots or not row.labels:
            return super()._before_or_after(row, end)
        path, margin, clip = self._paths[row.media], self._options.margin, (row.start, end)
        actions = [(other.start, other.end) for other in self._by_media[path] if other.labels]
        spans = own_thread(clip, shots)
        if self._options.conjugate_rank == "alike":
            low, high = row.start - before_after.NEAR, end + before_after.NEAR
            near = [(max(start, low), min(stop, high)) for start, stop in spans]
            candidates = before_after.windows(clip, near, actions, DEFAULT_RATE, margin)
            span = before_after.most_alike(path, clip, candidates)
        else:
            span = span_in_thread(clip, spans, actions, margin)
        return (row.media, *span) if span else None


def own_thread(clip: Span, shots: Iterable[Shot]) -> list[Span]:
    """Returns the shots of the thread that shows most of a clip; none if it lies in no shot."""
    seen: dict[str, float] = defaultdict(float)  # thread -> seconds of the clip it shows
    for shot in shots:
        seen[shot.thread] += max(0.0, min(clip[1], shot.end) - max(clip[0], shot.start))
    if not any(seen.values()):
        return []
    thread = max(seen, key=lambda name: seen[name])
    return [(shot.start, shot.end) for shot in shots if shot.thread == thread]


def span_in_thread(
    clip: Span, shots: Iterable[Span], actions: Iterable[Span], margin: float
) -> Optional[Span]:
    """Chooses a conjugate's span in the shots of a thread.

    As long as the clip where a free piece of one shot has the room, else the longest piece there
    is, of at least `MIN_FRAMES` frames; of equal ones the nearest in time (a tie: before).

    Args:
        clip: Span (start, end) of the clip in seconds, as all spans.
        shots: Shots of the thread.
        actions: Spans of all annotated actions of the video; may include the clip's own.
        margin: Seconds between the clip and its conjugate.

    Returns:
        The span (start, end), or None if no shot has room.
    """
    start, end = clip
    blocked = [*actions, (start - margin, end + margin)]
    ranked = []
    for low, high in (piece for shot in shots for piece in free_pieces(shot, blocked)):
        length = min(end - start, high - low)
        before = high <= start
        span = (high - length, high) if before else (low, low + length)
        away = start - span[1] if before else span[0] - end
        if length >= (MIN_FRAMES - 0.5) / DEFAULT_RATE:
            # To the millisecond: equal lengths may differ in their last bits.
            ranked.append((-round(length, 3), round(away, 3), not before, span))
    return min(ranked, key=lambda item: item[:3])[3] if ranked else None


def _read_threads(
    path: str, videos: set[str], encoding: Optional[str]
) -> tuple[dict[str, list[Shot]], tuple[str, ...]]:
    """Reads (shots of the videos that actions.csv names, remarks); empty if there is no file."""
    if not os.path.isfile(path):
        return {}, ()
    shots = defaultdict(list)
    table = TableReader(path, ("video", "thread", "start", "end"), encoding=encoding)
    for line, cells in table:
        span = read_span(cells["start"], cells["end"], f"{path}, line {line}", table.decimal_comma)
        if not cells["thread"]:
            fail(f"{path}, line {line}", "expected the name of a thread, received none")
        name = os.path.normpath(cells["video"]).replace(os.sep, "/")
        if name in videos:
            shots[name].append(Shot(cells["thread"], *span))
    if not shots:
        fail(path, "expected a video that actions.csv names, received none")
    return dict(shots), tuple(table.remarks)
