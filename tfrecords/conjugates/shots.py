"""Where one shot ends and the next begins, by colour histograms.

Histograms are kept as quantiles: their distance is then how far colours move (a fade moves them
little by little), where counts in bins jump whenever a colour crosses the border of a bin.
"""

from __future__ import annotations

import itertools
from array import array
from collections import deque
from typing import Iterable, Iterator, NamedTuple

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
NEAR = 4  # frames on either side whose median says what the picture was and is


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
    times, rate = array("d"), video.DEFAULT_RATE

    def signatures() -> Iterator[np.ndarray]:
        nonlocal rate
        for time, rate, frame in video.decode(path):  # noqa: B007  (the rate is the file's)
            times.append(time)
            try:
                small = frame.reformat(width=64, height=48, format="rgb24").to_ndarray()
            except (av.FFmpegError, ValueError) as error:
                reason = f"a frame cannot be converted ({error})"
                raise video.UnreadableError(path, reason) from error
            yield signature(small)

    cuts = find_cuts(signatures())
    fps = video.measure_rate(np.array(times), rate)
    return Timeline(times[-1] + 1.0 / fps, fps, tuple(times[n] for n in cuts))


def signature(frame: np.ndarray) -> np.ndarray:
    """Colour histograms of the parts of a frame, as quantiles.

    uint8 [H, W, 3] -> float32 [GRID * GRID * 3 * QUANTILES], 0..1.
    """
    small = cv2.resize(frame, (16 * GRID, 12 * GRID), interpolation=cv2.INTER_AREA)
    parts = small.reshape(GRID, 12, GRID, 16, 3).transpose(0, 2, 4, 1, 3)
    values = np.sort(parts.reshape(GRID * GRID * 3, -1), axis=-1)
    quantiles = values.reshape(GRID * GRID * 3 * QUANTILES, -1).mean(axis=-1)
    return (quantiles / 255).astype(np.float32)


def find_cuts(signatures: Iterable[np.ndarray]) -> list[int]:
    """Frames that begin a new shot.

    A cut changes the histograms by more than `THRESHOLD`, by `CONTRAST` times what is usual nearby,
    and for good: after a flash the old shot comes back.

    Args:
        signatures: float32 [D] each, of `signature`, one a frame; of a film of hours, so that no
            more than those of two times `NEAR` frames are held, and four bytes a frame.
    """
    change = array("f")  # 0..1; entry n is between frames n and n + 1
    stays = set()  # the entries after which it looks different for good
    window: deque = deque(maxlen=2 * NEAR)
    for number, current in enumerate(itertools.chain(signatures, itertools.repeat(None, NEAR))):
        if window and current is not None:
            change.append(np.abs(current - window[-1]).mean())
        window.append(current)
        n = number - NEAR  # the frames around its end are all there
        if 0 <= n < len(change) and change[n] > THRESHOLD:
            before = np.median(list(window)[:-NEAR], axis=0)
            after = np.median(
                [found for found in list(window)[-NEAR:] if found is not None], axis=0
            )
            if np.abs(before - after).mean() > 0.8 * THRESHOLD:
                stays.add(n)
    cuts = []
    for n in sorted(stays):
        nearby = np.delete(change[max(0, n - AROUND) : n + AROUND + 1], min(n, AROUND))
        if not nearby.size or change[n] >= CONTRAST * np.median(nearby):
            cuts.append(n + 1)
    return cuts
