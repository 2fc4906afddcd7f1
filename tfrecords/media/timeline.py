"""Times and rates of frames: what lies on the screen when, and how many a second."""

from __future__ import annotations

from typing import Optional

import numpy as np

from tfrecords.utils.errors import UsageError

# Usual rates in frames/s.
RATES = (10.0, 12.0, 12.5, 15.0, 20.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0)


def check_span(start: float, end: Optional[float], prefix: str = "") -> None:
    """Raises a UsageError unless 0 <= start < end, in seconds; `prefix` is that of the names."""
    if not start >= 0:  # nor is NaN
        raise UsageError(f"{prefix}start: expected 0 or more seconds, received {start}.")
    if end is not None and not end > start:
        raise UsageError(f"{prefix}end: expected more than {prefix}start={start}, received {end}.")


def sample_index(times: np.ndarray, rate: float, fps: float) -> np.ndarray:
    """Returns which frame is on the screen at each tick of an even timeline.

    Args:
        times: Increasing times of the frames in seconds, float [T].
        rate: Frame rate of the video.
        fps: Frame rate of the timeline.

    Returns:
        Indices, int [T'] with T' = duration times `fps`, at least 1; 0..T-1 if the frames are even
        already.
    """
    count = len(times)
    even = times[0] + np.arange(count) / rate
    if abs(fps - rate) < 1e-3 * rate and np.abs(times - even).max() < 0.75 / rate:
        return np.arange(count)
    duration = times[-1] - times[0] + 1.0 / rate
    ticks = times[0] + np.arange(max(1, round(duration * fps))) / fps
    # A quarter of a frame forgives timestamps rounded to milliseconds.
    index = np.searchsorted(times, ticks + 0.25 / rate, side="right") - 1
    return np.clip(index, 0, count - 1)


def measure_rate(times: np.ndarray, nominal: float) -> float:
    """Returns the frame rate of decoded frames: the header's if the timestamps bear it out (1 %).

    Else their mean, or the usual rate near it (1.5 %) if they are its timeline in ticks of the
    header's rate: 25 pictures in 30 chunks a second are a film of 25.
    """
    if not len(times):
        return nominal
    mean = mean_rate(len(times), times[0], times[-1], nominal)
    for rate in sorted(RATES, key=lambda rate: abs(rate - mean)):
        drift = times - np.arange(len(times)) / rate
        if abs(rate / mean - 1) < 0.015 and mean < nominal and np.ptp(drift) < 1.01 / nominal:
            return rate
    return mean


def mean_rate(count: int, first: float, last: float, nominal: float) -> float:
    """Returns the mean rate of frames between two times, or the nominal one (1 %)."""
    if count < 2 or last <= first:
        return nominal
    mean = (count - 1) / (last - first)
    return nominal if abs(mean / nominal - 1) < 0.01 else float(mean)
