"""Decoding of videos with PyAV.

Headers lie: J-HMDB claims 3-8 frames more than there are, other files name no duration, no rate or
timestamps that go back. So nothing here is sized from a header; frames are counted as they come.

Time is in seconds from the start of the file, as a player shows it. A frame belongs to a span
[start, end) when the middle of the time it is shown does: a span written with two or three decimals
then names the frames that were meant.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO, Iterator, NamedTuple, Optional, Sequence

import av
import cv2
import numpy as np
from av import VideoFrame, VideoStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import Colorspace

from tfrecords.utils import filesystem
from tfrecords.utils.errors import UserError

# A longer clip would not fit into one record (protobuf ends at 2 GiB), nor into a laptop's memory.
MAX_CLIP_BYTES = 2 << 30
# A larger frame is no film's (8K has 33 million) but a damaged header's, or meant to fill a memory.
MAX_PIXELS = 1 << 26
DEFAULT_RATE = 25.0  # frames/s where the file names no rate and has a single frame
# Formats that name other files: through them a build would read what lies beyond its data.
PLAYLISTS = {"concat", "dash", "hls", "imf", "rtsp", "sdp"}


class UnreadableError(UserError):
    """A file that cannot be read: a build leaves it out, names it and goes on."""

    def __init__(self, file: str, reason: str):
        super().__init__(f"{file} cannot be read: {reason}.")
        self.file = file
        self.reason = reason


class Header(NamedTuple):
    """What a file says of itself, true or not: `seconds` (0: nothing), `fps` frames/s.

    `searchable`: decoding may begin in the middle.
    """

    seconds: float
    fps: float
    searchable: bool


class Video(NamedTuple):
    """A span: `frames` uint8 [T, H, W, 3] RGB, `fps` frames/s, `times` float [T] seconds."""

    frames: np.ndarray
    fps: float
    times: np.ndarray


def read_frames(
    path: str,
    start: float = 0.0,
    end: Optional[float] = None,
    short_side: int = 0,
    fps: Optional[float] = None,
) -> Video:
    """Decodes the span [start, end) of a video, its frames evenly spaced.

    Args:
        path: a local file or a URL of `filesystem`.
        start: seconds.
        end: seconds; None: to the end of the file.
        short_side: pixels; a larger frame is scaled down to it, aspect ratio kept. 0: no scaling.
        fps: frames/s; None: the file's own, its mean where it varies.

    Raises:
        UnreadableError: as `read_span`.
    """
    video = read_span(path, start, end, short_side)
    return resample(path, video, fps or video.fps)


def read_span(
    path: str, start: float = 0.0, end: Optional[float] = None, short_side: int = 0
) -> Video:
    """Decodes the span [start, end) of a video, every frame of it; only they are held in memory.

    A file that breaks off gives the frames before the break. Arguments as `read_frames`.

    Raises:
        UnreadableError: no frame of the span can be decoded, or it is too long for one record.
    """
    frames, times, size, held, rate = [], [], None, 0, DEFAULT_RATE
    for time, rate, frame in decode(path, start):
        middle = time + 0.5 / rate
        if end is not None and middle >= end:
            break
        if middle < start:
            continue
        try:
            image = _upright(frame)
        except (FFmpegError, ValueError) as error:
            raise UnreadableError(path, f"a frame cannot be converted ({error})") from error
        size = size or scaled_size(image.shape[0], image.shape[1], short_side)
        frames.append(resize(image, size))
        times.append(time)
        held += frames[-1].nbytes
        if held > MAX_CLIP_BYTES:
            raise UnreadableError(
                path, f"the clip passes {len(frames)} frames; give start and end, or a short side"
            )
    if not frames:
        span = f"[{start:g}, {'' if end is None else f'{end:g}'})"
        raise UnreadableError(path, f"no frame lies in the span {span} s")
    return Video(_stack(frames), measure_rate(np.array(times), rate), np.array(times))


def _stack(frames: list[np.ndarray]) -> np.ndarray:
    """As `np.stack`, but empties the list meanwhile: a long clip is not held twice."""
    stacked = np.empty((len(frames), *frames[0].shape), frames[0].dtype)
    for n in range(len(frames) - 1, -1, -1):
        stacked[n] = frames.pop()
    return stacked


def resample(path: str, video: Video, fps: float) -> Video:
    """Puts a span of a file on an even timeline; the very frames where they already are on it.

    Raises:
        UnreadableError: as `even_index`.
    """
    index = even_index(path, video, fps)
    if np.array_equal(index, np.arange(len(video.times))):
        return video._replace(fps=fps)
    return Video(video.frames[index], fps, video.times[0] + np.arange(len(index)) / fps)


def even_index(path: str, video: Video, fps: float) -> np.ndarray:
    """`sample_index` of a span of a file.

    Raises:
        UnreadableError: the frames are so far apart that what fills the gap would be too long.
    """
    seconds = video.times[-1] - video.times[0]
    if seconds * fps * video.frames[0].nbytes > MAX_CLIP_BYTES:
        raise UnreadableError(
            path,
            f"{len(video.times)} frames spread over {seconds:.0f} s make too long a clip at "
            f"{fps:g} frames/s; give start and end",
        )
    return sample_index(video.times, video.fps, fps)


def sample_index(times: np.ndarray, own: float, fps: float) -> np.ndarray:
    """Which frame is on the screen at each tick of an even timeline.

    Args:
        times: float [T], seconds, increasing.
        own: the video's rate, frames/s.
        fps: the rate wanted.

    Returns:
        int [T'], T' = the duration times `fps`, at least 1; 0..T-1 where frames are even already.
    """
    count = len(times)
    even = times[0] + np.arange(count) / own
    if abs(fps - own) < 1e-3 * own and np.abs(times - even).max() < 0.75 / own:
        return np.arange(count)
    duration = times[-1] - times[0] + 1.0 / own
    ticks = times[0] + np.arange(max(1, round(duration * fps))) / fps
    # A quarter of a frame forgives timestamps rounded to milliseconds.
    index = np.searchsorted(times, ticks + 0.25 / own, side="right") - 1
    return np.clip(index, 0, count - 1)


def measure_rate(times: np.ndarray, nominal: float) -> float:
    """Frames/s of decoded frames: the header's value where the timestamps bear it out (1 %)."""
    return mean_rate(len(times), times[0], times[-1], nominal) if len(times) else nominal


def mean_rate(count: int, first: float, last: float, nominal: float) -> float:
    """As `measure_rate`, of that many frames between two times in seconds."""
    if count < 2 or last <= first:
        return nominal
    mean = (count - 1) / (last - first)
    return nominal if abs(mean / nominal - 1) < 0.01 else float(mean)


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the shorter is `short_side`; never enlarged. 0: as it is."""
    shorter = min(height, width)
    if not short_side or shorter <= short_side:
        return height, width
    return round(height * short_side / shorter), round(width * short_side / shorter)


def resize(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """uint8 [H, W, C] to (height, width): areas averaged when shrinking, else bilinear."""
    if image.shape[:2] == tuple(size):
        return image
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=interpolation)


def read_header(path: str) -> Header:
    """Opens a file and reads what it says of itself.

    Raises:
        UnreadableError: the file cannot be opened, or holds no video.
    """
    with _open(path) as container:
        stream = _stream(container, path)
        seconds = (container.duration or 0) / av.time_base
        rate = float(stream.average_rate or 0)
        return Header(
            seconds, rate if 1e-3 <= rate <= 1000 else DEFAULT_RATE, _has_times(container)
        )


def decode(path: str, start: float = 0.0) -> Iterator[tuple[float, float, VideoFrame]]:
    """Yields (time in seconds, nominal frames/s, frame) in the order shown.

    Begins at a key frame before `start`, or at the first frame where the file cannot be searched.
    Broken packets are left out.

    Raises:
        UnreadableError: the file cannot be opened, or not a single frame can be decoded.
    """
    first = True
    for time, rate, frame in _decode(path, start):
        if first and start > 0 and time > start:
            break  # the file's index is wrong: the key frame it named lies behind the start
        first = False
        yield time, rate, frame
    else:
        if first and start <= 0:
            raise UnreadableError(path, "no frame can be decoded")
    if first and start > 0:
        yield from decode(path)


def _decode(path: str, start: float) -> Iterator[tuple[float, float, VideoFrame]]:
    with _open(path) as container:
        stream = _stream(container, path)
        # Rows are decoded in parallel, a file by one thread: what a broken file still gives then
        # never depends on the machine.
        stream.codec_context.thread_count = 1
        rate = _nominal_rate(stream)
        origin = (container.start_time or 0) / av.time_base
        counted = not _has_times(container)
        if start > 0 and not counted and stream.time_base:
            try:
                container.seek(int((start + origin) / stream.time_base), stream=stream)
            except (FFmpegError, OverflowError):  # the latter beyond all times there are
                return
        time = -1.0 / rate
        for frame in _frames(container, stream):
            if counted or frame.time is None:
                time += 1.0 / rate
            else:
                time = max(frame.time - origin, time + 1e-3)
            yield time, rate, frame


def _open(path: str) -> InputContainer:
    try:
        if filesystem.is_remote(path):
            return _single(av.open(_fetch(path)), path)
        if not os.path.isfile(path):
            raise UnreadableError(path, "there is no such file")
        if not os.path.getsize(path):
            raise UnreadableError(path, "the file is empty")
        # Without the option f%d.png would be taken for the pattern of many files.
        return _single(av.open(path, options={"pattern_type": "none"}), path)
    except (FFmpegError, OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(path, f"not a video ({text})") from error


def _single(container: Any, path: str) -> InputContainer:
    if container.format.name in PLAYLISTS:
        container.close()
        raise UnreadableError(path, f"a playlist ({container.format.name}), not a video")
    return container


def _stream(container: InputContainer, path: str) -> VideoStream:
    if not container.streams.video:
        raise UnreadableError(path, "it has no video stream")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise UnreadableError(path, "there is no decoder for its video stream")
    if stream.width * stream.height > MAX_PIXELS:
        size = f"{stream.width} x {stream.height} pixels"
        raise UnreadableError(path, f"frames of {size} (at most {MAX_PIXELS:,} are decoded)")
    # The frames themselves may be larger than the container says.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _has_times(container: InputContainer) -> bool:
    """Whether frames carry their times; else they are counted.

    AVI holds none: ffmpeg's guess goes back where there are B frames, and HMDB51's files leave a
    gap at the end.
    """
    return container.format.name != "avi"


def _fetch(path: str) -> BinaryIO:
    try:
        return filesystem.open_media(path)
    except OSError as error:
        raise UnreadableError(path, str(error)) from error


def _nominal_rate(stream: VideoStream) -> float:
    """The header's frames/s, if it is credible."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0.1 <= rate <= 1000:
            return float(rate)
    return DEFAULT_RATE


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError):
            return  # the container ends here
        if packet is None:
            return
        try:
            yield from packet.decode()
        except (FFmpegError, OSError):
            continue  # this packet is broken; a later one may not be


def _upright(frame: VideoFrame) -> np.ndarray:
    """uint8 [H, W, 3] RGB, turned as the file's display matrix says."""
    bt709 = int(frame.colorspace) == int(Colorspace.ITU709)
    space = Colorspace.ITU709 if bt709 else None
    image = frame.reformat(format="rgb24", src_colorspace=space).to_ndarray()
    turns = getattr(frame, "rotation", 0)
    # Counter-clockwise degrees; a broken header holds nonsense (-2^31 has been seen).
    if turns in (90, 180, 270, -90, -180, -270):
        image = np.ascontiguousarray(np.rot90(image, turns // 90))
    return image
