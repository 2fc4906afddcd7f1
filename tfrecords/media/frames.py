"""Folders of frames: pictures that are a video, in the order of the numbers in their names.

A folder holds the pictures of one video. Its numbers may begin anywhere and go by any step; one
that is missing in between is a frame that was dropped, and takes its time. Optical flow beside the
frames (`flow_x_00001.jpg`, `x_00001.jpg`) is left aside.
"""

from __future__ import annotations

import os
import re
from typing import Iterator

import numpy as np
from av import VideoFrame

FLOW = re.compile(r"(flow|[xyuv]_)", re.IGNORECASE)  # how the name of a picture of flow begins
DIGITS = re.compile(r"\d+")


class FrameFolder(str):
    """Path of a folder of frames, which serves wherever the path of a video does.

    Args:
        path: Local folder.
        fps: Frames/s.
    """

    fps: float

    def __new__(cls, path: str, fps: float) -> FrameFolder:
        """Returns the path with its rate."""
        folder = super().__new__(cls, path)
        folder.fps = fps
        return folder

    def listed(self) -> list[tuple[float, str]]:
        """Lists (time in seconds, file name) of the frames, in order.

        Raises:
            UnreadableError: The folder is missing, holds no picture, or pictures of several videos.
        """
        from tfrecords.media.images import is_photograph
        from tfrecords.media.video import UnreadableError

        try:
            names = [name for name in os.listdir(self) if is_photograph(name)]
        except OSError as error:
            raise UnreadableError(self, f"not a folder of frames ({error.strerror})") from error
        series: dict[str, list[str]] = {}
        for name in names:
            if not name.startswith("."):
                series.setdefault(DIGITS.sub("#", name).casefold(), []).append(name)
        if len(series) > 1:
            series = {kind: series[kind] for kind in series if not FLOW.match(kind)} or series
        if not series:
            raise UnreadableError(self, "a folder without pictures")
        if len(series) > 1:
            kinds = ", ".join(sorted(series)[:3])
            raise UnreadableError(
                self, f"expected frames of one video, received pictures called {kinds}"
            )
        (names,) = series.values()
        numbered = sorted(([int(n) for n in DIGITS.findall(name)], name) for name in names)
        times = _times([numbers for numbers, _ in numbered], self.fps)
        return list(zip(times, [name for _, name in numbered]))

    def decode(self, start: float = 0.0) -> Iterator[tuple[float, float, VideoFrame]]:
        """Yields (time in seconds, frames/s, frame) from a time on.

        Raises:
            UnreadableError: As `listed`, or a picture cannot be read.
        """
        from tfrecords.media.images import read_image
        from tfrecords.media.video import UnreadableError

        for time, name in self.listed():
            if time + 1.0 / self.fps <= start:
                continue
            try:
                pixels = read_image(os.path.join(self, name)).pixels
            except UnreadableError as error:
                raise UnreadableError(self, f"{name}: {error.reason}") from error
            yield time, self.fps, VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")

    def size(self) -> int:
        """Returns the bytes of all files in the folder."""
        return sum(os.path.getsize(os.path.join(self, name)) for name in os.listdir(self))


def _times(numbers: list[list[int]], fps: float) -> list[float]:
    """Returns times by the one number that counts; by the order if several do, or none."""
    columns = np.array(numbers, dtype=object).T
    counting = [column for column in columns if len(set(column)) > 1]
    steps = np.diff(counting[0]) if len(counting) == 1 else np.ones(len(numbers) - 1, object)
    step = min(steps, default=1)
    if step < 1:  # one number written twice, such as 1 and 01
        steps, step = np.ones(len(numbers) - 1, object), 1
    return [0.0, *(float(count) / step / fps for count in np.cumsum(steps))]
