"""Draws maps, boxes and the class over the frames of a video, and writes videos."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Iterable, Sequence

import av
import numpy as np
from av.error import FFmpegError

from aacf_tf.attend.windows import Window
from aacf_tf.serving.predictor import Predictor
from aacf_tf.visualization import overlays
from tfrecords.media import pictures
from tfrecords.utils.atomic import replacing
from tfrecords.utils.errors import UserError

_LEGIBLE = 120  # pixels of height from which on there is room for a line of text
_COLORS = (overlays.ACTION_COLORS, overlays.CONTEXT_COLORS)
_KEPT = 64  # windows by which the maps of a camera are scaled


class Painter:
    """Draws the overlay of a video, frame by frame.

    Args:
        predictor: Model.
        forgets: Whether maps are shown relative to the last windows, not to all.
    """

    def __init__(self, predictor: Predictor, forgets: bool = False):
        self._predictor, self._forgets = predictor, forgets
        self._ranges: list[overlays.Range] = []

    def add(self, window: Window) -> None:
        """Counts a window into the range of values by which maps are shown."""
        kept = {"kept": _KEPT, "forgets": True} if self._forgets else {}
        self._ranges = self._ranges or [overlays.Range(**kept) for _ in window.maps]
        for spread, values in zip(self._ranges, window.maps):
            spread.add(values)

    def display(self, parts: Iterable[tuple[Window, float]], tick: float) -> list[np.ndarray]:
        """Returns each map `[h, w]` at a tick, 0..1, of windows and their weights."""
        mixed = [
            sum(weight * values for (_, weight), values in zip(parts, row))
            for row in zip(*(window.maps_at(tick) for window, _ in parts))
        ]
        return [one.display(np.asarray(values)) for one, values in zip(self._ranges, mixed)]

    def boxes(self, cells: np.ndarray, frame: Sequence[int]) -> list[tuple]:
        """Finds the boxes of the displayed action map in a frame (height, width)."""
        return overlays.boxes_in(self._predictor.place(frame, cells.shape), cells, frame)

    def draw(
        self, image: np.ndarray, maps: Sequence[np.ndarray], text: str, boxed: bool
    ) -> np.ndarray:
        """Draws the displayed maps, the boxes of the action and a text over a frame.

        Args:
            image: Frame, uint8 `[H, W, 3]`.
            maps: Result of `display`; none before the first window.
            text: A line for the top, if there is room.
            boxed: Whether there is an action to draw boxes around.

        Returns:
            Frame of the same size, uint8.
        """
        frame = image.shape[:2]
        layers = [
            (self._predictor.spread(cells, frame), colors) for cells, colors in zip(maps, _COLORS)
        ]
        picture = overlays.tint_all(image, layers[::-1])  # the action lies above the context
        for box in self.boxes(maps[0], frame) if boxed else ():
            pictures.draw_box(picture, box)
        if text and frame[0] >= _LEGIBLE:
            bar = _bar(frame[1], max(20, frame[0] // 18), text)
            picture[: len(bar)] = bar
        return picture


@lru_cache(maxsize=256)
def _bar(width: int, height: int, text: str) -> np.ndarray:
    return pictures.text_bar(width, height, [text])


class VideoFile:
    """An mp4 that is written frame by frame; `write_video` writes a whole one.

    Args:
        path: File to write, itself, not under a temporary name.
        fps: Frames a second.
    """

    def __init__(self, path: Path, fps: float):
        # H.264 plays everywhere; a build of PyAV without x264 still has MPEG-4.
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._container = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream(codec, rate=_rate(fps))
        self._stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            self._stream.options = {"crf": "18", "preset": "veryfast"}
        else:
            self._stream.bit_rate = 4_000_000
        self._begun = False

    def write(self, image: np.ndarray) -> None:
        """Writes a frame, uint8 `[height, width, 3]` RGB; an odd side gets a line more."""
        odd = [(0, side % 2) for side in image.shape[:2]]
        image = np.pad(image, [*odd, (0, 0)], mode="edge") if any(n for _, n in odd) else image
        if not self._begun:
            self._stream.height, self._stream.width = image.shape[:2]
            self._begun = True
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Writes what the encoder holds back, and the index."""
        if self._begun:
            self._container.mux(self._stream.encode())
        self._container.close()


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Writes an mp4 under a temporary name, then renames it.

    Args:
        path: File to write.
        frames: Frames of one size, uint8 `[height, width, 3]` RGB; odd sides get a line more.
        fps: Frames a second.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        with replacing(path) as temporary:
            file = VideoFile(temporary, fps)
            try:
                for image in frames:
                    file.write(image)
            finally:
                file.close()
    except (OSError, FFmpegError) as error:
        raise UserError(f"Expected to write {path}, received {error}.") from error


def _rate(fps: float) -> Fraction:
    """Returns a rate as encoders take it: 30000/1001, or thousandths of a slow one."""
    rate = Fraction(fps).limit_denominator(1001)
    return rate if rate > 0 else Fraction(1, 1000)
