"""Where one shot ends and the next begins, by colour histograms.

Histograms are kept as quantiles: their distance is then how far colours move (a fade moves them
little by little), where counts in bins jump whenever a colour crosses the border of a bin.
"""

from __future__ import annotations

from typing import NamedTuple

import av
import cv2
import numpy as np

from tfrecords import video

# Histograms of 4 x 4 parts of the frame: a cut may keep the colours, seldom their place.
GRID = 4
QUANTILES = 8
# Mean move of the quantiles, 0..1. On real films cuts give .13-.37, jumps in one shot .07-.1, fast
# motion close to the camera up to .12, all else below .05.
THRESHOLD = 0.065
CONTRAST = 5.0  # times the median change nearby: a fast pan changes much at every frame
AROUND = 12  # frames on either side that count as nearby


class Timeline(NamedTuple):
    """A whole file: its `end` in seconds, `fps`, and the times in seconds at which shots begin."""

    end: float
    fps: float
    cuts: tuple[float, ...]

    def shot(self, start: float, end: float) -> tuple[float, float]:
        """From the last cut before a span to the first one after it: the shot it lies in."""
        # A span rounded by the user may reach over a cut by less than a frame.
        slack = 1.0 / self.fps
        before = [cut for cut in self.cuts if cut <= start + slack]
        after = [cut for cut in self.cuts if cut >= end - slack]
        return max(before, default=0.0), min(after, default=self.end)


def scan(path: str) -> Timeline:
    """Decodes a whole file once, small, for its end and its cuts.

    Raises:
        UnreadableError: as `video.decode`, or a frame cannot be converted.
    """
    times, signatures, rate = [], [], video.DEFAULT_RATE
    for time, rate, frame in video.decode(path):  # noqa: B007  (the rate is the file's)
        times.append(time)
        try:
            small = frame.reformat(width=64, height=48, format="rgb24").to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            reason = f"a frame cannot be converted ({error})"
            raise video.UnreadableError(path, reason) from error
        signatures.append(signature(small))
    times = np.array(times)
    fps = video.measure_rate(times, rate)
    cuts = tuple(float(times[n]) for n in find_cuts(np.stack(signatures)))
    return Timeline(float(times[-1]) + 1.0 / fps, fps, cuts)


def signature(frame: np.ndarray) -> np.ndarray:
    """Colour histograms of the parts of a frame, as quantiles.

    uint8 [H, W, 3] -> float32 [GRID * GRID * 3 * QUANTILES], 0..1.
    """
    small = cv2.resize(frame, (16 * GRID, 12 * GRID), interpolation=cv2.INTER_AREA)
    parts = small.reshape(GRID, 12, GRID, 16, 3).transpose(0, 2, 4, 1, 3)
    values = np.sort(parts.reshape(GRID * GRID * 3, -1), axis=-1)
    quantiles = values.reshape(GRID * GRID * 3 * QUANTILES, -1).mean(axis=-1)
    return (quantiles / 255).astype(np.float32)


def find_cuts(signatures: np.ndarray) -> list[int]:
    """Frames that begin a new shot.

    A cut changes the histograms by more than `THRESHOLD`, by `CONTRAST` times what is usual nearby,
    and for good: after a flash the old shot comes back.

    Args:
        signatures: float32 [T, D], of `signature`.
    """
    change = np.abs(np.diff(signatures, axis=0)).mean(axis=1)  # [T - 1], 0..1
    cuts = []
    for n in np.flatnonzero(change > THRESHOLD):
        nearby = np.delete(change[max(0, n - AROUND) : n + AROUND + 1], min(n, AROUND))
        if nearby.size and change[n] < CONTRAST * np.median(nearby):
            continue
        before = np.median(signatures[max(0, n - 3) : n + 1], axis=0)
        after = np.median(signatures[n + 1 : n + 5], axis=0)
        if np.abs(before - after).mean() > 0.8 * THRESHOLD:
            cuts.append(int(n) + 1)
    return cuts
