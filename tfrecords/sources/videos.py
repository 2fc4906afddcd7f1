"""Decodes rows of a table of video files: the clip, its mask and its conjugate.

With `stills` each row becomes as many photographs, evenly spaced over its clip; a row that names a
photograph becomes that one.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Optional

import numpy as np

from tfrecords.conjugates import before_after, shots
from tfrecords.conjugates.frozen_frame import frozen_frame
from tfrecords.conjugates.remove_person import remove_person
from tfrecords.media import video
from tfrecords.media.masks import read_mask
from tfrecords.media.video import UnreadableError, Video
from tfrecords.sources import photographs
from tfrecords.sources.base import Row, Source, SourceOptions
from tfrecords.sources.stills import StillRow, read_still, still_rows

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair


class VideoSource(Source):
    """A source whose rows name video files; a subclass reads the table.

    Args:
        options: Options of the source.
        rows: Rows of the table.
        paths: Path of every file that the rows name.
        labels: Class names.
        conjugate: Origin of conjugates, one of `CONJUGATES`.
    """

    version = 1

    def __init__(
        self,
        options: SourceOptions,
        rows: list[Row],
        paths: dict[str, str],
        labels: list[str],
        conjugate: str,
    ):
        super().__init__(options)
        self.labels = labels
        self.multi_label = options.multi_label
        self.conjugate = conjugate
        if options.stills:
            self.eraser = photographs.open_eraser(options, conjugate)
            self.one_record_a_span = False
            rows = [still for row in rows for still in still_rows(row, options.stills)]
            if options.short_side is None:
                self.short_side = photographs.SHORT_SIDE
        self._options = options
        self._rows = rows
        self._paths = paths
        self._by_media = defaultdict(list)
        for row in rows:
            self._by_media[paths[row.media]].append(row)
        self._timelines: dict[str, shots.Timeline] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def rows(self) -> list[Row]:
        """Returns all rows, in the order of the table."""
        return self._rows

    def fingerprint(self) -> str:
        """Returns a digest of the rows and of their files' sizes."""
        sizes = {
            name: os.path.getsize(path) if os.path.isfile(path) else -1
            for name, path in sorted(self._paths.items())
        }
        return hashlib.sha256(f"{super().fingerprint()} {sizes}".encode()).hexdigest()

    def load(self, row: Row) -> ClipPair:
        """Decodes a row: clip, mask and conjugate.

        Raises:
            UnreadableError: Names the row's video; its reason names the mask if that is the cause.
        """
        try:
            return self._load(row)
        except UnreadableError as error:
            reason = error.reason
            if row.mask and self._paths[row.mask] == error.file != self._paths[row.media]:
                reason = f"{row.mask}: {reason}"
            raise UnreadableError(row.media, reason) from error

    def _load(self, row: Row) -> ClipPair:
        if isinstance(row, StillRow):
            return read_still(row, self._paths, self.short_side, self.eraser)
        return self._clip(row)

    def _clip(self, row: Row) -> ClipPair:
        # Here, since it brings TensorFlow: a mistake in the table is answered at once.
        from tfrecords.records.clip_pair import ClipPair

        path = self._paths[row.media]
        span = video.read_span(path, row.start, row.end, self.short_side)
        fps = self._options.fps or span.fps
        clip = video.resample(path, span, fps).frames
        mask = None
        if row.mask:
            mask = read_mask(self._paths[row.mask], span, (row.start, row.end), path)
            mask = mask[video.even_index(path, span, fps)]
        media_id = start = conjugate = None
        lost = ""
        try:
            media_id, start, conjugate = self._conjugate(row, _end(row, span), clip, mask, fps)
        except UnreadableError as error:
            names = (
                n for n in (row.media, row.conjugate_media) if n and self._paths[n] == error.file
            )
            lost = f"no conjugate: {next(names, error.file)}: {error.reason}"
        return ClipPair(
            id=row.id,
            clip=clip,
            conjugate=conjugate,
            labels=row.labels,
            fps=fps,
            mask=mask,
            media_id=row.media,
            start=float(span.times[0]),
            conjugate_media_id=media_id,
            conjugate_start=start,
            lost=lost,
        )

    def _conjugate(
        self, row: Row, end: float, clip: np.ndarray, mask: Optional[np.ndarray], fps: float
    ) -> tuple[Optional[str], Optional[float], Optional[np.ndarray]]:
        """Returns the conjugate as (file, start in it, frames); frames None: there is none."""
        if self.conjugate in ("remove_person", "frozen_frame"):
            made = self._made(clip, mask)
            # The clip itself is no conjugate: an empty mask, or a clip in which nothing moves.
            return None, None, None if np.array_equal(made, clip) else made
        span = None
        if self.conjugate == "given" and row.conjugate_media:
            span = (row.conjugate_media, row.conjugate_start, row.conjugate_end)
        elif self.conjugate == "before_after":
            span = self._before_or_after(row, end)
        elif self.conjugate == "negative_clip":
            span = self._negative(row)
        if span is None:
            return None, None, None
        media, start, stop = span
        other = video.read_frames(self._paths[media], start, stop, self.short_side, fps)
        frames = np.stack([video.resize(frame, clip.shape[1:3]) for frame in other.frames])
        return media, float(other.times[0]), frames

    def _made(self, clip: np.ndarray, mask: Optional[np.ndarray]) -> np.ndarray:
        if self.conjugate == "frozen_frame":
            return frozen_frame(clip)
        return clip if mask is None else remove_person(clip, mask)

    def _before_or_after(self, row: Row, end: float) -> Optional[tuple[str, float, float]]:
        """Returns (file, start, end) of the conjugate of a row, whose clip reaches to `end`."""
        if not row.labels or (row.end is None and not row.start):
            return None  # no action to leave out, or the clip is the whole file
        path, margin = self._paths[row.media], self._options.margin
        actions = [
            (other.start, math.inf if other.end is None else other.end)
            for other in self._by_media[path]
            if other.labels
        ]
        alike = self._options.conjugate_rank == "alike"
        # Rows of one file wait for each other: what one has decoded serves the next.
        with self._locks[path]:
            if path not in self._timelines:
                self._timelines[path] = shots.scan(path)
            timeline = self._timelines[path]
            clip = row.start, end
            fps = timeline.fps(row.start)
            if alike:
                around = row.start - before_after.NEAR, end + before_after.NEAR
                shot = timeline.shot(*clip, around)
            else:
                room = end - row.start + margin
                shot = timeline.shot(*clip, before_after.between_actions(clip, actions), room)
        if alike:
            candidates = before_after.windows(clip, [shot], actions, fps, margin)
            span = before_after.most_alike(path, clip, candidates)
        else:
            span = before_after.free_span(clip, shot, actions, fps, margin)
        return (row.media, *span) if span else None

    def _negative(self, row: Row) -> Optional[tuple[str, float, Optional[float]]]:
        """Returns the nearest clip with no action of the same video and split (a tie: before)."""
        if not row.labels:
            return None
        others = [
            other
            for other in self._by_media[self._paths[row.media]]
            if not other.labels and other.split == row.split
        ]
        nearest = min(others, key=lambda other: abs(other.start - row.start), default=None)
        return (nearest.media, nearest.start, nearest.end) if nearest else None


def _end(row: Row, span: Video) -> float:
    """Returns the end of a row's clip in seconds: the table's, or an earlier one of the file."""
    end = float(span.times[-1]) + 1.0 / span.fps
    return end if row.end is None or end < row.end - 1.0 / span.fps else row.end
