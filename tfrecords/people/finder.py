"""Finds the people of a clip: `open_finder` by the name of a method, then `find`.

MediaPipe runs in processes of its own interpreter (`mediapipe_helper`), one for each thread that
asks at the same time; they end with this process. What is found is a function of the clip alone.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple, Union

import cv2
import numpy as np

from tfrecords.media.motion import WINDOW, motion_mask
from tfrecords.media.video import UnreadableError
from tfrecords.people.environment import INSTALL, PYTHON, interpreter, last_line
from tfrecords.records.names import AUTOMATIC
from tfrecords.utils.errors import UserError

METHODS = ("auto", "mediapipe", "motion")
HELPER = Path(__file__).with_name("mediapipe_helper.py")
SECONDS = 120  # until the helper answers for the first time
LINES = 240  # shorter side at which people are looked for
# Chosen on 63 clips of J-HMDB for recall: what is missed of a person stays in the conjugate.
# MediaPipe's is .86, .89, .90 and .92 with 0, 1, 2 and 4 neighbours, its precision .60, .55, .52
# and .48; with 2 and a threshold of .5 .88 and .58; without the landscapes' network .86 and .56.
# Motion's is .57, .61, .64 and .68, its precision .58, .55, .53 and .50.
NEIGHBOURS = 2  # frames on either side: a person missed in one is found in the next
THRESHOLD = 0.3  # likelihood of a person's pixel


class ClipError(Exception):
    """The people of one clip cannot be found; those of others may be."""


class Motion:
    """Finds what moves, see `tfrecords.media.motion`.

    Attributes:
        name: Name of the method.
        reach: Frames on either side of one that say where its people are.
        title: Name with the version, if there are several: what is found depends on it.
    """

    name = title = "motion"
    reach = WINDOW // 2 + NEIGHBOURS

    def find(self, frames: np.ndarray) -> np.ndarray:
        """Returns the map of what moves in frames uint8 [T, H, W, 3]: bool [T, H, W]."""
        return over_neighbours(motion_mask(frames))


class MediaPipe:
    """Finds people by MediaPipe's networks of selfies and poses; the one that is surest counts.

    Args:
        python: Interpreter that has MediaPipe.

    Attributes:
        name, reach, title: As of `Motion`.
        python: As above.
        version: Version of MediaPipe that answers.

    Raises:
        UserError: The interpreter has no MediaPipe; or, in `find`, its process has ended.
    """

    name, reach = "mediapipe", NEIGHBOURS

    def __init__(self, python: str):
        self.python = python
        first = _Helper(python)
        self.version, self.title = first.version, f"{self.name} {first.version}"
        self._idle, self._lock = [first], threading.Lock()

    def find(self, frames: np.ndarray) -> np.ndarray:
        """Returns the map of the people in frames uint8 [T, H, W, 3]: bool [T, H, W].

        Raises:
            ClipError: MediaPipe fails on this clip.
        """
        _, height, width, _ = frames.shape
        with self._lend() as helper:
            return likely_mask(helper.ask(scaled(frames)), (height, width))

    def close(self) -> None:
        """Ends the processes."""
        while self._idle:
            self._idle.pop().end()

    @contextlib.contextmanager
    def _lend(self) -> Iterator[_Helper]:
        with self._lock:
            helper = self._idle.pop() if self._idle else None
        helper = helper or _Helper(self.python)
        try:
            yield helper
        except UserError:  # its process has ended
            helper.end()
            raise
        except ClipError:
            self._idle.append(helper)
            raise
        self._idle.append(helper)


Finder = Union[MediaPipe, Motion]


def open_finder(method: str) -> Tuple[Finder, str]:
    """Opens a method, one of `METHODS`: (finder, a sentence on the choice of "auto", else "").

    Raises:
        UserError: MediaPipe is asked for and cannot be had.
    """
    if method == "motion":
        return Motion(), ""
    try:
        finder = open_mediapipe()
    except UserError as error:
        if method == "mediapipe":
            raise
        return Motion(), f"--people=auto: by motion, since MediaPipe cannot be had: {error}"
    said = f"--people=auto: by MediaPipe {finder.version}, {finder.python}."
    return finder, said if method == "auto" else ""


def find_people(
    finder: Optional[Finder], path: str, frames: np.ndarray
) -> Tuple[Optional[np.ndarray], str]:
    """Returns the mask of the people in a clip and its origin; None, "" if there are none.

    Args:
        finder: Finder; None: nobody is found.
        path: File of the clip, for messages.
        frames: Frames, uint8 [T, H, W, 3].

    Raises:
        UnreadableError: The method fails on this clip.
        UserError: The process of the method has ended.
    """
    if finder is None:
        return None, ""
    try:
        mask = finder.find(frames)
    except ClipError as error:
        raise UnreadableError(path, f"its people cannot be found ({error})") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return (mask, f"{AUTOMATIC}{finder.name}") if mask.any() else (None, "")


def open_mediapipe() -> MediaPipe:
    """Opens MediaPipe by the interpreter that has it; UserError if there is none."""
    return MediaPipe(interpreter())


def scaled(frames: np.ndarray) -> np.ndarray:
    """Scales frames to a shorter side of `LINES`; nearly square networks see them smaller."""
    height, width = frames.shape[1:3]
    scale = LINES / min(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return frames
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, size, interpolation=how) for frame in frames])


def likely_mask(likely: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Returns the mask of likelihoods 0..255 of people.

    Args:
        likely: uint8 [T, h, w].
        size: (height, width) of the mask.
    """
    large = [cv2.resize(frame, size[::-1]) for frame in over_neighbours(likely)]
    return np.stack(large) > 255 * THRESHOLD


def over_neighbours(maps: np.ndarray) -> np.ndarray:
    """Returns the largest value of each pixel of [T, H, W] over the frames nearby."""
    reach = np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    places = np.clip(np.arange(len(maps))[:, None] + reach, 0, len(maps) - 1)
    return np.stack([maps[near].max(axis=0) for near in places])


class _Helper:
    """A process of `mediapipe_helper`; one thread talks to it at a time."""

    def __init__(self, python: str):
        self._python = python
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (a pipe nobody reads would fill up)
        try:
            self._process = subprocess.Popen(
                [python, str(HELPER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is this process's to answer
            )
        except OSError as error:
            raise UserError(f"{python} cannot be started: {error.strerror}.") from error
        self.end = weakref.finalize(self, _end, self._process, self._log)
        alarm = threading.Timer(SECONDS, self._process.kill)
        alarm.start()
        try:
            self.version = str(self._answer()["mediapipe"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = self._last_words()
            self.end()
            raise UserError(
                f"Expected MediaPipe in {python} ({INSTALL} makes an environment that has it, "
                f"{PYTHON} names another interpreter), received: {reason}."
            ) from error
        finally:
            alarm.cancel()

    def ask(self, frames: np.ndarray) -> np.ndarray:
        """Asks for the likelihoods of frames uint8 [T, H, W, 3]: uint8 [T, H, W]."""
        pipe = self._process.stdin
        assert pipe is not None
        shape = list(frames.shape[:3])
        try:
            pipe.write(json.dumps({"shape": shape}).encode() + b"\n")
            pipe.write(np.ascontiguousarray(frames).data)
            pipe.flush()
            answer = self._answer()
            if "error" not in answer:
                return self._read(shape)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"The helper that finds people, {self._python}, has ended: {self._last_words()}; "
                "the same command continues, --people=motion does without it."
            ) from error
        raise ClipError(f"MediaPipe: {answer['error']}")

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def _read(self, shape: list) -> np.ndarray:
        assert self._process.stdout is not None
        data = self._process.stdout.read(int(np.prod(shape)))
        return np.frombuffer(data, np.uint8).reshape(shape)

    def _last_words(self) -> str:
        """Returns why the process has ended, as far as it is known."""
        try:
            code: Optional[int] = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "an answer that is none"
        self._log.seek(0)
        said = last_line(self._log.read().decode(errors="replace"))
        return f"signal {-code}" if code and code < 0 else said


def _end(process: subprocess.Popen, log: Any) -> None:
    """Ends a helper and lets go of its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, log):
        with contextlib.suppress(OSError):  # what was still to be written
            if pipe:
                pipe.close()
