"""Where one shot ends and the next begins, by colour histograms."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from tfrecords import video

GRID = (
    2  # histograms of 2 x 2 parts of the frame: a cut often keeps the colours, seldom their place
)
BINS = 4  # a channel
THRESHOLD = 0.35  # share of pixels that change their bin
CONTRAST = 4.0  # times the median change nearby: a fast pan changes much at every frame
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
        UnreadableError: as `video.decode`.
    """
    times, signatures, rate = [], [], video.DEFAULT_RATE
    for time, rate, frame in video.decode(path):  # noqa: B007  (the rate is the file's)
        times.append(time)
        small = frame.reformat(width=64, height=48, format="rgb24")
        signatures.append(signature(small.to_ndarray()))
    times = np.array(times)
    fps = video.measure_rate(times, rate)
    cuts = tuple(float(times[n]) for n in find_cuts(np.stack(signatures)))
    return Timeline(float(times[-1]) + 1.0 / fps, fps, cuts)


def signature(frame: np.ndarray) -> np.ndarray:
    """Colour histograms of the parts of a frame.

    uint8 [H, W, 3] -> float32 [GRID * GRID * BINS ** 3], its sum 1.
    """
    small = cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA)
    bins = small // (256 // BINS)
    codes = (bins[..., 0].astype(int) * BINS + bins[..., 1]) * BINS + bins[..., 2]
    height, width = 48 // GRID, 64 // GRID
    parts = codes.reshape(GRID, height, GRID, width).swapaxes(1, 2).reshape(GRID * GRID, -1)
    histograms = [np.bincount(part, minlength=BINS**3) for part in parts]
    return np.concatenate(histograms).astype(np.float32) / codes.size


def find_cuts(signatures: np.ndarray) -> list[int]:
    """Frames that begin a new shot.

    A cut changes the histograms by more than `THRESHOLD`, by `CONTRAST` times what is usual nearby,
    and for good: after a flash the old shot comes back.

    Args:
        signatures: float32 [T, D], of `signature`.
    """
    change = 0.5 * np.abs(np.diff(signatures, axis=0)).sum(axis=1)  # [T - 1], 0..1
    cuts = []
    for n in np.flatnonzero(change > THRESHOLD):
        nearby = np.delete(change[max(0, n - AROUND) : n + AROUND + 1], min(n, AROUND))
        if nearby.size and change[n] < CONTRAST * np.median(nearby):
            continue
        before = np.median(signatures[max(0, n - 3) : n + 1], axis=0)
        after = np.median(signatures[n + 1 : n + 5], axis=0)
        if 0.5 * np.abs(before - after).sum() > 0.8 * THRESHOLD:
            cuts.append(int(n) + 1)
    return cuts
