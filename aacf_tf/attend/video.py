"""Shows where a model looks in a video of any length, and when an action is there.

The file is decoded three times: for the times of its frames, for the model, for the overlay. In
memory are the frames of two windows; what the model says of each window is kept in a temporary
file.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, NamedTuple, Sequence

import numpy as np

from aacf_tf.attend.intervals import THRESHOLD, Finder, Interval, context_shares
from aacf_tf.attend.overlay import Painter, write_video
from aacf_tf.attend.scores import print_scores
from aacf_tf.attend.timelines import write_timeline
from aacf_tf.attend.windows import Cutter, Store, Window, blend, cover, span_of
from aacf_tf.serving.predictor import Predictor
from tfrecords.media import timeline, video
from tfrecords.utils.progress import progress

_LINES = 20  # intervals that are printed
_SHORTEST = 0.4  # of a window; a shorter interval, as at a cut, is noise
OVERLAP = 0.5  # of a window with the next one


class Ticks(NamedTuple):
    """A span of a video on an even timeline: seconds of tick 0, rate, uses of each frame."""

    start: float
    fps: float
    uses: np.ndarray

    @property
    def count(self) -> int:
        """The number of ticks."""
        return int(self.uses.sum())


@dataclass
class Seen:
    """What a model says of a video.

    Attributes:
        ticks: The video's timeline.
        size: Height and width of its frames.
        windows: The windows, in the order of time.
        count: Their number.
        means: Score to class to mean over the windows.
        intervals: Where an action is.
        painter: Painter that has seen all windows.
    """

    ticks: Ticks
    size: tuple[int, int]
    windows: Store
    count: int
    means: dict[str, dict[str, float]]
    intervals: list[Interval]
    painter: Painter


def attend_video(
    predictor: Predictor,
    path: str,
    output: Path | None,
    start: float = 0.0,
    end: float | None = None,
    *,
    timelines: Sequence[Path] = (),
    threshold: float = THRESHOLD,
    overlap: float = OVERLAP,
) -> Seen:
    """Writes the overlay and the timelines of a video, and prints its scores and intervals.

    Args:
        predictor: Model of videos.
        path: The video.
        output: The .mp4 to write, in size and rate as the video; None: none.
        start, end: Span in seconds; end None: to the end of the file.
        timelines: Files to write the intervals to, see `aacf_tf.attend.timelines`.
        threshold: Score from which on an action is there, 0 to 1.
        overlap: Share of a window that the next one covers again, 0 to 0.9.

    Raises:
        UserError: The video cannot be read, or a file cannot be written.
    """
    seen = look(predictor, path, start, end, threshold, overlap)
    score, multi_label = predictor.card.score, predictor.card.multi_label
    how = "one clip" if seen.count == 1 else f"means over {seen.count} windows"
    print(f"{path}: {seen.ticks.count / seen.ticks.fps:.1f} s, {how}; ranked by {score}")
    print_scores(seen.means, score, multi_label)
    _print_intervals(seen.intervals, threshold)
    about = {
        "fps": round(seen.ticks.fps, 6),
        "height": seen.size[0],
        "width": seen.size[1],
        "score": score,
        "threshold": threshold,
    }
    seconds = seen.ticks.start + seen.ticks.count / seen.ticks.fps
    for file in timelines:
        write_timeline(file, path, seconds, about, seen.intervals)
        print(f"timeline: {file}")
    if output is not None:
        write_video(output, _draw(predictor, path, start, end, seen), seen.ticks.fps)
        print(f"overlay: {output}")
    return seen


def look(
    predictor: Predictor,
    path: str,
    start: float = 0.0,
    end: float | None = None,
    threshold: float = THRESHOLD,
    overlap: float = OVERLAP,
) -> Seen:
    """Runs the model over the windows of a video, see `attend_video`."""
    times, fps, _ = predictor.measure(path, start, end)
    index = timeline.sample_index(times, fps, fps)
    ticks = Ticks(float(times[0]), fps, np.bincount(index, minlength=len(times)))
    span = min(span_of(predictor, fps), ticks.count)
    begins = cover(ticks.count, span, overlap)
    cutter, painter, windows = Cutter(predictor, fps, span, begins), Painter(predictor), Store()
    labels, multi_label = predictor.labels, predictor.card.multi_label
    finder = Finder(labels, ticks.start, fps, threshold, multi_label, _SHORTEST * span)
    sums: dict[str, np.ndarray] = {}
    size = (0, 0)

    def see() -> Iterator[Window]:
        nonlocal size
        small = None
        with progress(total=len(begins), desc="windows", unit="window", leave=False) as bar:
            for tick, (image, uses) in _frames(path, start, end, ticks):
                if small is None:
                    size = image.shape[:2]
                    small = video.scaled_size(size[0], size[1], predictor.short_side)
                image = video.resize(image, small)
                for number in range(tick, tick + uses):
                    window = cutter.push(ticks.start + number / fps, image)
                    if window is not None:
                        windows.add(window)
                        painter.add(window)
                        for name, values in window.scores.items():
                            sums[name] = sums.get(name, 0) + values
                        bar.update()
                        yield window

    for tick, parts in blend(see(), ticks.count):
        finder.add(tick, *_mix(parts, tick, predictor.card.score))
    intervals = finder.close()
    _add_boxes(intervals, windows, painter, ticks.count, size)
    means = {
        name: dict(zip(predictor.labels, (values / len(begins)).tolist()))
        for name, values in sums.items()
    }
    return Seen(ticks, size, windows, len(begins), means, intervals, painter)


def _frames(
    path: str, start: float, end: float | None, ticks: Ticks
) -> Iterator[tuple[int, tuple[np.ndarray, int]]]:
    """Yields (first tick, (frame, ticks that show it)) of a video, in full size."""
    tick = 0
    for uses, (_, _, image) in zip(ticks.uses.tolist(), video.read_images(path, start, end)):
        if uses:
            yield tick, (image, uses)
            tick += uses


def _mix(parts: Sequence, tick: int, score: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the score `[C]` of a tick, and the context's shares."""
    mixed: dict[str, Any] = {}
    for window, weight in parts:
        for name, values in window.scores_at(tick).items():
            mixed[name] = mixed.get(name, 0) + weight * values
    return mixed[score], context_shares(mixed)


def _add_boxes(
    intervals: Iterable[Interval],
    windows: Store,
    painter: Painter,
    length: int,
    size: Sequence[int],
) -> None:
    """Adds the box of each interval's best tick; only now the range of the maps is known."""
    wanted: dict[int, list[Interval]] = {}
    for one in intervals:
        wanted.setdefault(one.tick, []).append(one)
    for tick, parts in blend(windows, length) if wanted else ():
        if tick in wanted:
            found = painter.boxes(painter.display(parts, tick)[0], size)
            for one in wanted[tick]:
                one.box = found[0] if found else None


def _draw(
    predictor: Predictor, path: str, start: float, end: float | None, seen: Seen
) -> Iterator[np.ndarray]:
    """Yields the frames of the overlay, of the video's own size."""
    described = blend(seen.windows, seen.ticks.count)
    coming = sorted(seen.intervals, key=lambda one: one.start, reverse=True)
    there: list[Interval] = []
    with progress(total=seen.ticks.count, desc="overlay", unit="frame", leave=False) as bar:
        for _, (image, uses) in _frames(path, start, end, seen.ticks):
            image = video.resize(image, seen.size)
            for tick, parts in itertools.islice(described, uses):
                time = seen.ticks.start + (tick + 0.5) / seen.ticks.fps
                while coming and coming[-1].start <= time:
                    there.append(coming.pop())
                there = [one for one in there if one.end > time]
                text = ", ".join(f"{one.label} {one.score:.2f}" for one in there) or "no action"
                maps = seen.painter.display(parts, tick)
                yield seen.painter.draw(image, maps, text, bool(there))
                bar.update()


def _print_intervals(intervals: Sequence[Interval], threshold: float) -> None:
    """Prints a line for each interval: its time, its class, the context's share and the box."""
    if not intervals:
        print(f"  no action: no score reaches the threshold of {threshold:g}")
    for one in intervals[:_LINES]:
        text = f"{one.label} {one.score:.2f}"
        if one.context_share is not None:
            text += f", context {100 * one.context_share:.0f} %"
        left, top, right, bottom = one.box or (0, 0, 0, 0)
        box = f"x {left}-{right} y {top}-{bottom}" if one.box else "no box"
        print(f"  {one.start:7.2f} - {one.end:.2f} s  {text}; at {one.at:.2f} s: {box}")
    if len(intervals) > _LINES:
        print(f"  ... and {len(intervals) - _LINES} intervals more")
