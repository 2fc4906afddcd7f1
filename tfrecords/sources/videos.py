"""Decodes rows of a table of video files: the clip, its mask and its conjugate.

With `people` a clip without a mask gets one of the people, or of what moves, that a program finds.
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
from tfrecords.media import images, video
from tfrecords.media.frames import FrameFolder
from tfrecords.media.masks import read_mask
from tfrecords.media.video import UnreadableError, Video
from tfrecords.people.finder import Motion, find_people, open_finder
from tfrecords.records.names import ANNOTATED
from tfrecords.sources import photographs
from tfrecords.sources.base import Row, Source, SourceOptions
from tfrecords.sources.splitting.alike import alike_pairs
from tfrecords.sources.splitting.assign import make_splits
from tfrecords.sources.stills import StillRow, read_still, still_rows
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import is_remote
from tfrecords.utils.paths import similar

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair

# Kinds of conjugates for `--conjugate=auto`, the best first: what shows the scene without the
# action, as it was filmed, before what is made of the clip itself.
AUTO = ("given", "negative_clip", "before_after", "remove_person", "frozen_frame")
EXTENSIONS = (*video.EXTENSIONS, *images.EXTENSIONS)
MISSING = "there is no such file"  # as the decoders say
SHOWN = 3  # examples named


class VideoSource(Source):
    """A source whose rows name video files; a subclass reads the table.

    Args:
        options: Options of the source.
        rows: Rows of the table.
        paths: Path of every file that the rows name.
        labels: Class names.
        conjugate: Origin of conjugates, one of `CONJUGATES`.
        splits: What names the splits of the rows, for a message; "": nothing does.
    """

    version = 1
    takes_splits = takes_frames_fps = takes_people = True
    auto = AUTO

    def __init__(
        self,
        options: SourceOptions,
        rows: list[Row],
        paths: dict[str, str],
        labels: list[str],
        conjugate: str,
        splits: str = "the data set",
    ):
        super().__init__(options)
        if options.make_splits:
            pairs = alike_pairs(rows, paths) if options.near_duplicates == "apart" else ()
            alike = [(one.media, other.media) for one, other in pairs]
            rows, said = make_splits(rows, options, splits, alike)
            self.remarks = (*self.remarks, said)
        self.labels = labels
        self.multi_label = options.multi_label
        self.conjugate = conjugate
        if options.people != "none":
            self.people, said = open_finder(options.people)
            self.remarks = (*self.remarks, *filter(None, [said]))
        if options.stills:
            photographed = all(images.is_photograph(row.media) for row in rows)
            if isinstance(self.people, Motion) and photographed:
                raise UsageError(
                    "A photograph has no motion: expected --people=mediapipe (python -m "
                    f"tfrecords.people --install) or none, received {options.people}."
                )
            if conjugate == "auto":
                masked = self.people or any(row.mask for row in rows)
                conjugate = "remove_person" if masked else "none"
                self.conjugate = conjugate
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

    def path(self, media: str) -> str:
        """Returns the path of a file that the rows name."""
        return self._paths[media]

    def fingerprint(self) -> str:
        """Returns a digest of the rows and of their files' sizes."""
        sizes = {name: _size(path) for name, path in sorted(self._paths.items())}
        return hashlib.sha256(f"{super().fingerprint()} {sizes}".encode()).hexdigest()

    def load(self, row: Row) -> ClipPair:
        """Decodes a row: clip, mask and conjugate.

        Raises:
            UnreadableError: Names the row's video; its reason names the mask if that is the cause.
        """
        try:
            return self._load(row)
        except UnreadableError as error:
            reason = self._reason(row, error)
            if row.mask and self._paths[row.mask] == error.file != self._paths[row.media]:
                reason = f"{row.mask}: {reason}"
            raise UnreadableError(row.media, reason) from error

    def missing(self) -> tuple[str, ...]:
        """Returns a sentence on the files that are not there, if any, with what may be meant."""
        lines: dict[str, int] = {}
        for row in self._rows:
            lines.setdefault(row.media, row.line)
        absent = [name for name in lines if _size(self._paths[name]) == -1]
        absent = [name for name in absent if not is_remote(self._paths[name])]
        if not absent:
            return ()
        named = [f"line {lines[name]}: {name}{self._meant(name)}" for name in absent[:SHOWN]]
        more = f"; and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        return (
            f"{len(absent)} of {len(lines)} files are not there; skipped.csv names them: "
            f"{'; '.join(named)}{more}.",
        )

    def alike(self) -> list[tuple[Row, Row]]:
        """Returns the pairs of clips of different splits that look alike."""
        if len({row.split for row in self._rows}) < 2:
            return []  # without decoding every clip
        return list(alike_pairs(self._rows, self._paths, across=True))

    def _reason(self, row: Row, error: UnreadableError) -> str:
        """Returns the reason of an error; of a missing file of the row, with what may be meant."""
        named = [name for name in (row.media, row.conjugate_media, row.mask) if name]
        absent = [name for name in named if self._paths[name] == error.file]
        return error.reason + (self._meant(absent[0]) if absent and error.reason == MISSING else "")

    def _meant(self, name: str) -> str:
        """Returns a question whether another file is meant; "": none is like it."""
        path = self._paths[name]
        other = None if is_remote(path) else similar(path, EXTENSIONS)
        if not other or not path.endswith(name):
            return ""
        return f" (did you mean {os.path.relpath(other, path[: len(path) - len(name)] or '.')}?)"

    def _load(self, row: Row) -> ClipPair:
        if isinstance(row, StillRow):
            return read_still(row, self._paths, self.short_side, self.eraser, self.people)
        return self._clip(row)

    def _clip(self, row: Row) -> ClipPair:
        # Here, since it brings TensorFlow: a mistake in the table is answered at once.
        from tfrecords.records.clip_pair import ClipPair

        path = self._paths[row.media]
        span = video.read_span(path, row.start, row.end, self.short_side)
        fps = self._options.fps or span.fps
        clip = video.resample(path, span, fps).frames
        if row.mask:
            mask = read_mask(self._paths[row.mask], span, (row.start, row.end), path)
            mask = mask[video.even_index(path, span, fps)]
            origin = ANNOTATED if self.people else ""  # said where not all have the same
        else:
            mask, origin = find_people(self.people, path, clip)
        media_id = start = conjugate = None
        lost = kind = ""
        auto = self.conjugate == "auto"
        for kind in (self.auto if row.labels else ()) if auto else (self.conjugate,):
            try:
                media_id, start, conjugate = self._conjugate(
                    kind, row, _end(row, span), clip, mask, fps
                )
            except UnreadableError as error:
                named = (row.media, row.conjugate_media)
                names = (n for n in named if n and self._paths[n] == error.file)
                what = f"no conjugate by {kind}" if auto else "no conjugate"
                reason = f"{next(names, error.file)}: {self._reason(row, error)}"
                lost = lost or f"{what}: {reason}"
            if conjugate is not None:
                break
        return ClipPair(
            id=row.id,
            clip=clip,
            conjugate=conjugate,
            labels=row.labels,
            fps=fps,
            mask=mask,
            mask_origin=origin,
            media_id=row.media,
            start=float(span.times[0]),
            conjugate_media_id=media_id,
            conjugate_start=start,
            conjugate_kind=kind if auto and conjugate is not None else "",
            lost=lost,
        )

    def _conjugate(
        self,
        kind: str,
        row: Row,
        end: float,
        clip: np.ndarray,
        mask: Optional[np.ndarray],
        fps: float,
    ) -> tuple[Optional[str], Optional[float], Optional[np.ndarray]]:
        """Returns the conjugate as (file, start in it, frames); frames None: there is none."""
        if kind in ("remove_person", "frozen_frame"):
            made = self._made(kind, clip, mask)
            # The clip itself is no conjugate: an empty mask, or a clip in which nothing moves.
            return None, None, None if np.array_equal(made, clip) else made
        span = None
        if kind == "given" and row.conjugate_media:
            span = (row.conjugate_media, row.conjugate_start, row.conjugate_end)
        elif kind == "before_after":
            span = self._before_or_after(row, end)
        elif kind == "negative_clip":
            span = self._negative(row)
        if span is None:
            return None, None, None
        media, start, stop = span
        other = video.read_frames(self._paths[media], start, stop, self.short_side, fps)
        frames = np.stack([video.resize(frame, clip.shape[1:3]) for frame in other.frames])
        return media, float(other.times[0]), frames

    def _made(self, kind: str, clip: np.ndarray, mask: Optional[np.ndarray]) -> np.ndarray:
        if kind == "frozen_frame":
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


def _size(path: str) -> int:
    """Returns the bytes of a file, or of the frames in a folder; -1: it is not there."""
    if isinstance(path, FrameFolder):
        return path.size()
    return os.path.getsize(path) if os.path.isfile(path) else -1


def _end(row: Row, span: Video) -> float:
    """Returns the end of a row's clip in seconds: the table's, or an earlier one of the file."""
    end = float(span.times[-1]) + 1.0 / span.fps
    return end if row.end is None or end < row.end - 1.0 / span.fps else row.end
