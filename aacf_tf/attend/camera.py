"""Looks at a camera or a stream: JSON lines on standard output, the overlay as a file or served.

A line is a window: from when to when, the class (null: no action), score, share of the context and
the box, as in a timeline. The overlay shows each frame under the maps of the window that ended
last. A camera that is faster than the model is not waited for: frames are dropped, time goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import queue
import signal
import sys
import threading
import time as clock
from pathlib import Path
from typing import Iterator

import cv2
import numpy as np
from av.error import FFmpegError

from aacf_tf.attend.intervals import Interval, context_shares, present
from aacf_tf.attend.overlay import Painter, VideoFile
from aacf_tf.attend.windows import Cutter, Window, hop, span_of
from aacf_tf.serving.predictor import Predictor
from aacf_tf.visualization.mjpeg import Server
from tfrecords.media import video
from tfrecords.utils.atomic import replacing
from tfrecords.utils.errors import UserError

_RATE = 25.0  # frames/s of a source that does not say or says nonsense
_HELD = 64  # frames that wait for the model at most
_AHEAD = 1.0  # seconds; a source that runs ahead of the clock so far is no camera: it can wait
_PATIENCE = 50  # tenths of a second until a reader is left alone
_GAP = 2.0  # seconds without a frame, or back in time, after which time goes on at the next frame


class Camera:
    """Frames of a camera, a stream, or whatever else OpenCV opens, as they come.

    Args:
        address: Number of a camera, or an address.

    Attributes:
        fps: Frames a second, as the source says.

    Raises:
        UserError: The source cannot be opened.
    """

    def __init__(self, address: str):
        cv2.setLogLevel(0)  # what it prints says less than the sentence below
        self._capture = cv2.VideoCapture(int(address) if address.isdecimal() else address)
        if not self._capture.isOpened():
            what = f"camera {address}" if address.isdecimal() else f"stream {address}"
            raise UserError(f"--video: expected a source that sends frames, the {what} does not.")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(rate) if 1 <= rate <= 240 else _RATE
        self._queue: queue.Queue[tuple[float, np.ndarray] | None] = queue.Queue(_HELD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def ticks(self) -> Iterator[np.ndarray]:
        """Yields the frame, uint8 RGB `[H, W, 3]`, that is on the screen at each 1/fps seconds."""
        self._thread.start()
        tick, shift, following = 0, 0.0, 0.0
        held: np.ndarray | None = None
        while (item := self._queue.get()) is not None:
            time, image = item
            if not -_GAP < time + shift - following < _GAP:
                shift = following - time
            time += shift
            following = time + 1 / self.fps
            # A quarter of a frame forgives times that are rounded.
            while held is not None and (tick + 0.25) / self.fps < time:
                yield held
                tick += 1
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            held = image if held is None else video.resize(image, held.shape[:2])
        if held is not None:
            yield held

    def close(self) -> None:
        """Ends the reading."""
        self._closed.set()
        for _ in range(_PATIENCE):  # a dead stream may keep its reader for longer
            if not self._thread.is_alive():
                return
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.1)  # the reader may wait for room

    def _read(self) -> None:
        begun, first = clock.monotonic(), None
        while not self._closed.is_set():
            came, image = self._capture.read()
            if not came:
                break
            elapsed = clock.monotonic() - begun
            stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            time = stamp if stamp > 0 or first is None else elapsed
            first = time if first is None else first
            if time - first <= elapsed + _AHEAD and self._queue.full():
                with contextlib.suppress(queue.Empty):
                    self._queue.get_nowait()
            self._queue.put((time - first, image))
        self._capture.release()
        self._queue.put(None)


def attend_camera(
    predictor: Predictor,
    address: str,
    *,
    output: Path | None = None,
    port: int | None = None,
    seconds: float | None = None,
    threshold: float,
    overlap: float,
) -> None:
    """Prints a JSON line for each window until the source ends, Ctrl-C or SIGTERM comes.

    Args:
        predictor: Model of videos.
        address: Number of a camera, or an address.
        output: The .mp4 of the overlay; None: none.
        port: Port of this machine at which the overlay is served; None: none, 0: any.
        seconds: When to end; None: when the source does.
        threshold, overlap: See `aacf_tf.attend.video.attend_video`.

    Raises:
        UserError: The source cannot be opened or sends nothing, or a file cannot be written.
    """
    for handler in logging.getLogger("aacf_tf").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)  # standard output holds JSON alone
    camera = Camera(address)
    span = span_of(predictor, camera.fps)
    begins = itertools.count(0, hop(span, overlap))
    cutter, painter = Cutter(predictor, camera.fps, span, begins), Painter(predictor, forgets=True)
    lines = _Lines(predictor, painter, camera.fps, threshold)
    last: Window | None = None
    stopped = False
    with _ending_well(), _screens(output, port, camera) as screens:
        try:
            for tick, image in enumerate(camera.ticks()):
                stopped = seconds is not None and tick >= seconds * camera.fps
                if stopped:
                    break
                small = video.scaled_size(image.shape[0], image.shape[1], predictor.short_side)
                window = cutter.push(tick / camera.fps, video.resize(image, small))
                if window is not None:
                    last = window
                    painter.add(window)
                    lines.say(window, image.shape[:2])
                if screens:
                    maps = painter.display([(last, 1.0)], last.end - 1) if last else []
                    picture = painter.draw(image, maps, lines.text, bool(lines.there))
                    for screen in screens:
                        screen.write(picture)
        except KeyboardInterrupt:  # how a camera is ended; what was recorded stays
            stopped = True
        except BrokenPipeError:  # whoever read the lines has had enough
            stopped = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            camera.close()
        if last is None and not stopped:
            raise UserError(
                f"--video: expected {span} frames, a clip of the model, {address} ended before."
            )


class _Lines:
    """Prints windows as JSON.

    Attributes:
        text: Classes of the last window, for the overlay.
        there: Their ids.
    """

    def __init__(self, predictor: Predictor, painter: Painter, fps: float, threshold: float):
        self._predictor, self._painter = predictor, painter
        self._fps, self._threshold = fps, threshold
        self.text, self.there = "", []

    def say(self, window: Window, frame: tuple[int, ...]) -> None:
        """Prints a line for each class that is there, or one that none is."""
        card, labels = self._predictor.card, self._predictor.labels
        tick = window.cells[int(window.presence.argmax())]
        scores = window.scores_at(tick)
        values, shares = scores[card.score], context_shares(scores)
        self.there = present(values, self._threshold, card.multi_label)
        self.text = ", ".join(f"{labels[n]} {values[n]:.2f}" for n in self.there) or "no action"
        found = []
        if self.there:
            found = self._painter.boxes(self._painter.display([(window, 1.0)], tick)[0], frame)
        for index in self.there or [int(values.argmax())]:
            one = Interval(
                start=window.begin / self._fps,
                end=window.end / self._fps,
                label=labels[index] if self.there else None,
                score=float(values[index]),
                context_share=None if shares is None else float(shares[index]),
                at=float(tick) / self._fps,
                box=found[0] if found else None,
            )
            print(json.dumps(one.to_dict()), flush=True)


@contextlib.contextmanager
def _screens(output: Path | None, port: int | None, camera: Camera) -> Iterator[list]:
    """Yields what takes the frames of the overlay: a file, a server, both or none."""
    with contextlib.ExitStack() as stack:
        screens: list = []
        if output is not None:
            temporary = stack.enter_context(_written(output))
            screens.append(
                stack.enter_context(contextlib.closing(VideoFile(temporary, camera.fps)))
            )
        if port is not None:
            server = stack.enter_context(contextlib.closing(Server(port)))
            print(f"overlay: {server.address}", file=sys.stderr)
            screens.append(server)
        yield screens


@contextlib.contextmanager
def _written(output: Path) -> Iterator[Path]:
    try:
        with replacing(output) as temporary:
            yield temporary
    except (OSError, FFmpegError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise UserError(f"Expected to write {output}, received {error}.") from error


@contextlib.contextmanager
def _ending_well() -> Iterator[None]:
    """Has SIGTERM end the loop as Ctrl-C does: a service that is stopped keeps its recording."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
