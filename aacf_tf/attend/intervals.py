"""Finds the intervals of a video in which an action is, from scores that come tick by tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np

THRESHOLD = 0.5  # of a score, below which there is no action


@dataclass
class Interval:
    """A time in which an action is.

    Attributes:
        start, end: Seconds.
        label: Class; None: no action, in the stream of a camera.
        score: Mean probability, 0..1, that the class is there and acts.
        context_share: Part of the context in what speaks for the class, 0..1: its probability by
            the context over the sum of those by action and context; None: a head without both.
        at: Second of the highest score.
        box: (left, top, right, bottom) around the largest region of the action map at that second,
            in pixels of the video; None: no region is above half of the highest evidence.
        tick: The tick of that second.
    """

    start: float
    end: float
    label: str | None
    score: float
    context_share: float | None
    at: float
    box: tuple[int, int, int, int] | None = None
    tick: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns what files and streams of JSON hold, seconds rounded to milliseconds."""
        sides = ("left", "top", "right", "bottom")
        share = self.context_share
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "class": self.label,
            "score": round(self.score, 4),
            "context_share": None if share is None else round(share, 4),
            "at": round(self.at, 3),
            "box": None if self.box is None else dict(zip(sides, self.box)),
        }


def context_shares(scores: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Returns the context's part `[C]` in what speaks for each class; None without both scores."""
    if "action" not in scores or "context" not in scores:
        return None
    total = scores["action"] + scores["context"]
    return np.divide(scores["context"], total, out=np.full(total.shape, 0.5), where=total > 0)


def present(values: np.ndarray, threshold: float, multi_label: bool) -> list[int]:
    """Returns the classes that are there, of scores `[C]`: the best one, or all if multi-label."""
    if multi_label:
        return np.flatnonzero(values >= threshold).tolist()
    best = int(values.argmax())
    return [best] if values[best] >= threshold else []


@dataclass
class _Open:
    """An interval under way: its first tick, its ticks so far, sums, and its best tick."""

    first: int
    ticks: int = 0
    score: float = 0.0
    share: float | None = None
    best: float = -1.0
    best_tick: int = 0


class Finder:
    """Finds intervals; call `add` for each tick and `close` at the end.

    Args:
        labels: Class names.
        start: Second of tick 0.
        fps: Ticks a second.
        threshold: Score from which on a class is there.
        multi_label: Whether classes are judged independently; else only the best one can be there.
        shortest: Ticks; shorter intervals are taken for noise and left out, default none.

    Attributes:
        intervals: The intervals that have ended, in the order of their ends.
    """

    def __init__(
        self,
        labels: Sequence[str],
        start: float,
        fps: float,
        threshold: float,
        multi_label: bool,
        shortest: float = 0.0,
    ):
        self._labels, self._start, self._fps, self._shortest = labels, start, fps, shortest
        self._threshold, self._multi_label = threshold, multi_label
        self._open: dict[int, _Open] = {}
        self.intervals: list[Interval] = []

    def add(self, tick: int, values: np.ndarray, shares: np.ndarray | None) -> None:
        """Adds the scores `[C]` of a tick, and the context's shares `[C]`, if there are any."""
        there = present(values, self._threshold, self._multi_label)
        for index in [index for index in self._open if index not in there]:
            self._end(index)
        for index in there:
            one = self._open.setdefault(index, _Open(tick))
            one.ticks += 1
            one.score += float(values[index])
            if shares is not None:
                one.share = (one.share or 0.0) + float(shares[index])
            if values[index] > one.best:
                one.best, one.best_tick = float(values[index]), tick

    def close(self) -> list[Interval]:
        """Ends the intervals under way; returns all in the order of their starts."""
        for index in list(self._open):
            self._end(index)
        self.intervals.sort(key=lambda one: (one.start, one.end))
        return self.intervals

    def _end(self, index: int) -> None:
        one = self._open.pop(index)
        if one.ticks < self._shortest:
            return
        self.intervals.append(
            Interval(
                start=self._start + one.first / self._fps,
                end=self._start + (one.first + one.ticks) / self._fps,
                label=self._labels[index],
                score=one.score / one.ticks,
                context_share=None if one.share is None else one.share / one.ticks,
                at=self._start + one.best_tick / self._fps,
                tick=one.best_tick,
            )
        )
