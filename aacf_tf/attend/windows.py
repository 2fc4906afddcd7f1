"""Cuts a stream of frames into overlapping windows, and blends what the model says of them.

Time is counted in ticks: the frames of a video on an even timeline. A window is as many ticks as a
clip of the model spans. At a tick between the centres of two windows their outputs are mixed
linearly; before the first centre and after the last one, one window stands alone. Only the sampled
frames of the windows under way are held in memory.
"""

from __future__ import annotations

import pickle
import tempfile
from collections import deque
from dataclasses import dataclass
from typing import Iterable, Iterator, Sequence

import numpy as np

from aacf_tf.evaluation.classification import SCORES
from aacf_tf.serving.prediction import Prediction
from aacf_tf.serving.predictor import Predictor
from aacf_tf.visualization import overlays
from tfrecords.media.video import Video


@dataclass
class Window:
    """What the model says of a window.

    Attributes:
        begin, end: Ticks, end exclusive.
        cells: Ticks of the maps' steps, float `[t]`.
        maps: Logits `[t, h, w]` of each map, the action's first, float32.
        scores: Score to probabilities `[C]`.
        presence: Probability that there is an action at each of `cells`, `[t]`; 1 from a head that
            does not learn it.
    """

    begin: int
    end: int
    cells: np.ndarray
    maps: list[np.ndarray]
    scores: dict[str, np.ndarray]
    presence: np.ndarray

    @property
    def centre(self) -> float:
        """The tick in the middle."""
        return (self.begin + self.end - 1) / 2

    def maps_at(self, tick: float) -> list[np.ndarray]:
        """Returns the logits `[h, w]` of each map at a tick."""
        return [overlays.at_times(one, np.array([tick]), self.cells)[0] for one in self.maps]

    def scores_at(self, tick: float) -> dict[str, np.ndarray]:
        """Returns each score's probabilities `[C]` that the class is there and acts at a tick."""
        presence = np.interp(tick, self.cells, self.presence)
        return {score: presence * values for score, values in self.scores.items()}


class Cutter:
    """Cuts ticks into windows and has the model look at each.

    Args:
        predictor: Model.
        fps: Ticks a second.
        span: Ticks of a window.
        begins: First ticks of the windows, increasing; may go on without an end.
    """

    def __init__(self, predictor: Predictor, fps: float, span: int, begins: Iterable[int]):
        self._predictor, self._fps, self._span = predictor, fps, span
        sampled = predictor.sample(span, fps)
        self._first = int(sampled[0])
        self._uses = np.bincount(sampled, minlength=span)  # of a tick, as a frame of the clip
        self._begins = iter(begins)
        self._next = next(self._begins, None)
        self._tick = 0
        self._open: deque[tuple[int, list[np.ndarray], list[float]]] = deque()

    def push(self, time: float, image: np.ndarray) -> Window | None:
        """Takes the frame of the next tick; returns the window that ends with it, if any.

        Args:
            time: Seconds.
            image: Frame, uint8 `[H, W, 3]`; all have one size.
        """
        if self._next == self._tick:
            self._open.append((self._tick, [], []))
            self._next = next(self._begins, None)
        for begin, frames, times in self._open:
            uses = int(self._uses[self._tick - begin])
            frames += [image] * uses
            times += [time] * uses
        self._tick += 1
        if not self._open or self._open[0][0] + self._span > self._tick:
            return None
        begin, frames, times = self._open.popleft()
        clip = Video(np.stack(frames), self._fps, np.array(times))
        return self._window(begin, self._predictor.predict_sampled(clip))

    def _window(self, begin: int, prediction: Prediction) -> Window:
        step = self._predictor.step(self._fps)
        cells = begin + self._first + step * self._predictor.centres[0]
        scores = {score: getattr(prediction, score) for score in SCORES}
        maps = [values.astype(np.float32) for _, values in prediction.maps()]
        presence = np.ones(len(cells))
        if prediction.action_evidence is not None:
            presence = _presence(maps[0])
        return Window(
            begin,
            begin + self._span,
            cells,
            maps,
            {score: np.array([*by.values()]) for score, by in scores.items() if by is not None},
            presence,
        )


def _presence(logits: np.ndarray) -> np.ndarray:
    """Returns the probability of an action at each step of `[t, h, w]`.

    It is the evidence that training learns for the whole clip, `logsumexp - log N` as a logit, of
    the N cells of one step.
    """
    cells = logits.reshape(len(logits), -1).astype(np.float64)
    top = cells.max(axis=1)
    evidence = top + np.log(np.exp(cells - top[:, None]).mean(axis=1))
    return 1 / (1 + np.exp(-np.clip(evidence, -50, 50)))


def span_of(predictor: Predictor, fps: float) -> int:
    """Returns the ticks that a clip of the model spans."""
    return max(1, round(predictor.frames * predictor.step(fps)))


def cover(length: int, span: int, overlap: float) -> list[int]:
    """Returns the first ticks of windows that cover a video; the last one ends with it.

    Args:
        length: Ticks of the video.
        span: Ticks of a window.
        overlap: Share of a window that the next one covers again, 0 to 0.9.
    """
    last = max(0, length - span)
    begins = [*range(0, last, hop(span, overlap))]
    return [*begins, last]


def hop(span: int, overlap: float) -> int:
    """Returns the ticks from one window to the next, at least 1."""
    return max(1, round(span * (1 - overlap)))


def blend(windows: Iterable[Window], length: int) -> Iterator[tuple[int, Sequence]]:
    """Yields each tick of a video with the pairs (window, weight) that describe it.

    Args:
        windows: Windows in the order of time; two are held at once.
        length: Ticks of the video.
    """
    tick, before = 0, None
    for window in windows:
        while before is not None and tick < min(window.centre, length):
            share = max(0.0, (tick - before.centre) / (window.centre - before.centre))
            yield tick, ((before, 1 - share), (window, share))
            tick += 1
        before = window
    for last in range(tick, length if before is not None else 0):
        yield last, ((before, 1.0),)


class Store:
    """Windows in a temporary file, since those of a long video would fill the memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the object)

    def add(self, window: Window) -> None:
        """Adds a window at the end."""
        self._file.seek(0, 2)
        pickle.dump(window, self._file)

    def __iter__(self) -> Iterator[Window]:
        """Yields the windows from the first on."""
        self._file.seek(0)
        while True:
            try:
                window = pickle.load(self._file)
            except EOFError:
                return
            yield window
