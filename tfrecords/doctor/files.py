"""Looks at every file that the rows of a source name: its first frame, rate and length."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from av.error import FFmpegError

from tfrecords.media import images, video
from tfrecords.media.frames import FrameFolder
from tfrecords.media.video import UnreadableError
from tfrecords.sources.base import Row
from tfrecords.sources.videos import VideoSource
from tfrecords.utils.errors import raise_if_machine
from tfrecords.utils.progress import progress


class File(NamedTuple):
    """What a file is.

    Attributes:
        size: (width, height) in pixels; (0, 0): it cannot be read.
        seconds: Length by its header; 0: unknown, or a photograph.
        fps: Frame rate by its header; 0: a photograph.
        reason: Why it cannot be read; "": it can.
    """

    size: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    fps: float = 0.0
    reason: str = ""


def look_at_files(source: VideoSource, workers: int) -> dict[str, File]:
    """Looks at the files of clips and of given conjugates, by name in the order of the rows."""
    named = (name for row in source.rows() for name in (row.media, row.conjugate_media))
    names = list(dict.fromkeys(filter(None, named)))
    with ThreadPoolExecutor(workers) as pool:
        looks = pool.map(look_at, map(source.path, names))
        bar = progress(looks, total=len(names), desc="files", unit="file", leave=False)
        return dict(zip(names, bar))


def look_at(path: str) -> File:
    """Reads the header of a file and decodes its first frame.

    Raises:
        MachineError: As `video.decode`.
    """
    try:
        if images.is_photograph(path) and not isinstance(path, FrameFolder):
            return File(images.read_image(path, short_side=64).size)
        header = video.read_header(path)
        _, _, frame = next(video.read_images(path))
        return File((frame.shape[1], frame.shape[0]), header.seconds, header.fps)
    except UnreadableError as error:
        return File(reason=error.reason)
    except (FFmpegError, ValueError) as error:
        raise_if_machine(error, path)
        return File(reason=f"it cannot be decoded ({error})")


def length(row: Row, file: File) -> float:
    """Returns the seconds of a row's clip; 0: unknown."""
    end = min(filter(None, (row.end, file.seconds)), default=0.0)
    return max(0.0, end - row.start)
