"""Decoding of videos with PyAV; a `FrameFolder` is decoded as one.

Headers lie, or name no duration and no rate. So nothing here is sized from a header; frames are
counted as they come.

Time is in seconds from the start of the file, as a player shows it. AVI holds no timestamps: a
picture is shown at the number of its chunk over the rate, empty chunks counted, which recorders
write for frames they dropped. Recordings joined end to end go back in time: the next part continues
where the one before ended. A frame belongs to a span [start, end) if the middle of the time it is
shown does: a span written with two or three decimals then names the frames that were meant.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, BinaryIO, Iterator, List, NamedTuple, Optional, Sequence

import av
import cv2
import numpy as np
from av import Packet, VideoFrame, VideoStream
from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.stream import Disposition
from av.video.reformatter import Colorspace

from tfrecords.media import timeline
from tfrecords.media.frames import FrameFolder
from tfrecords.utils import filesystem
from tfrecords.utils.errors import UserError, raise_if_machine

EXTENSIONS = (
    *(".avi", ".mp4", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp"),
    *(".ogv", ".ts", ".mts", ".m2ts", ".m2v", ".vob", ".asf", ".3g2", ".divx", ".mxf", ".ogg"),
)
# A longer clip would not fit into one record (protobuf ends at 2 GiB), nor into a laptop's memory.
MAX_CLIP_BYTES = 2 << 30
# A larger frame is no film's (8K has 33 million) but a damaged header's, or meant to fill a memory.
MAX_PIXELS = 1 << 26
DEFAULT_RATE = 25.0  # frames/s if the file names no rate and has a single frame
MAX_FRAMES = 1 << 16  # of an even timeline: 44 minutes at 25 frames/s; no gap has more ticks
BACK = 0.5  # seconds; a frame that lies farther back than this begins another recording
# Formats that name other files: through them a build would read what lies beyond its data.
PLAYLISTS = {"concat", "dash", "hls", "imf", "rtsp", "sdp"}


class UnreadableError(UserError):
    """A file that cannot be read: a build leaves it out, names it and goes on."""

    def __init__(self, file: str, reason: str):
        super().__init__(f"{file} cannot be read: {reason}.")
        self.file = file
        self.reason = reason


class Header(NamedTuple):
    """The claims of a file: `seconds` (0: none), `fps`; `searchable` from the middle on."""

    seconds: float
    fps: float
    searchable: bool


class Video(NamedTuple):
    """A decoded span: RGB `frames` uint8 [T, H, W, 3], `fps`, `times` in seconds, float [T]."""

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
        path: Local file, or URL of `filesystem`.
        start: Start in seconds, default 0.
        end: End in seconds; None (default): the end of the file.
        short_side: Shorter side in pixels to which larger frames are scaled down, their aspect
            ratio kept. 0 (default): no scaling.
        fps: Frame rate; None (default): the file's own, its mean if it varies.

    Raises:
        UnreadableError: As `read_span`.
    """
    video = read_span(path, start, end, short_side)
    return resample(path, video, fps or video.fps)


def read_span(
    path: str, start: float = 0.0, end: Optional[float] = None, short_side: int = 0
) -> Video:
    """Decodes every frame of the span [start, end) of a video; only they are held in memory.

    A file that breaks off gives the frames before. Arguments as `read_frames`.

    Raises:
        UnreadableError: If no frame of the span can be decoded, or it is too long for a record.
    """
    frames, times = [], []
    size, held, rate = None, 0, DEFAULT_RATE
    for time, nominal, image in read_images(path, start, end):
        rate = nominal
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
    if not isinstance(path, FrameFolder):  # whose rate is what the user says
        rate = timeline.measure_rate(np.array(times), rate)
    return Video(_stack(frames), rate, np.array(times))


def read_images(
    path: str, start: float = 0.0, end: Optional[float] = None
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yields (time in seconds, nominal frames/s, image) of a span, one frame after the other.

    Raises:
        UnreadableError: As `decode`, or if a frame cannot be converted.
    """
    for time, rate, frame in decode(path, start):
        middle = time + 0.5 / rate
        if end is not None and middle >= end:
            return
        if middle < start:
            continue
        try:
            image = _upright(frame)
        except (FFmpegError, ValueError) as error:
            raise_if_machine(error, path)
            raise UnreadableError(path, f"a frame cannot be converted ({error})") from error
        yield time, rate, image


def _stack(frames: list[np.ndarray]) -> np.ndarray:
    """Stacks frames and empties the list meanwhile, so that a long clip is not held twice."""
    stacked = np.empty((len(frames), *frames[0].shape), frames[0].dtype)
    for n in range(len(frames) - 1, -1, -1):
        stacked[n] = frames.pop()
    return stacked


def resample(path: str, video: Video, fps: float) -> Video:
    """Puts a span of a file on an even timeline; keeps the frames if they are on it already.

    Raises:
        UnreadableError: As `even_index`.
    """
    index = even_index(path, video, fps)
    if np.array_equal(index, np.arange(len(video.times))):
        return video._replace(fps=fps)
    return Video(video.frames[index], fps, video.times[0] + np.arange(len(index)) / fps)


def even_index(path: str, video: Video, fps: float) -> np.ndarray:
    """Returns the `timeline.sample_index` of a span of a file.

    Raises:
        UnreadableError: If the frames are so far apart that the filled gap would be too long.
    """
    seconds = video.times[-1] - video.times[0]
    longest = max(MAX_FRAMES, len(video.times))
    if seconds * fps > min(longest, MAX_CLIP_BYTES / video.frames[0].nbytes):
        raise UnreadableError(
            path,
            f"{len(video.times)} frames spread over {seconds:.0f} s make too long a clip at "
            f"{fps:g} frames/s; give start and end",
        )
    return timeline.sample_index(video.times, video.fps, fps)


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Scales (height, width) down so that the shorter side is `short_side`; 0: as it is."""
    shorter = min(height, width)
    if not short_side or shorter <= short_side:
        return height, width
    return round(height * short_side / shorter), round(width * short_side / shorter)


def resize(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes uint8 [H, W, C] to (height, width): area averages if smaller, else bilinear."""
    if image.shape[:2] == tuple(size):
        return image
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=interpolation)


def read_header(path: str) -> Header:
    """Opens a file and reads its header.

    Raises:
        UnreadableError: If the file cannot be opened, or holds no video.
    """
    if isinstance(path, FrameFolder):
        return Header(path.listed()[-1][0] + 1.0 / path.fps, path.fps, True)
    with _open(path) as container:
        stream = _stream(container, path)
        seconds = (container.duration or 0) / av.time_base
        rate = float(stream.average_rate or 0)
        rate = rate if 1e-3 <= rate <= 1000 else DEFAULT_RATE
        return Header(seconds, rate, _is_searchable(container))


def decode(path: str, start: float = 0.0) -> Iterator[tuple[float, float, VideoFrame]]:
    """Yields (time in seconds, nominal frames/s, frame) in the order shown.

    Begins at a key frame before `start`, or at the first frame if the file cannot be searched.
    Broken packets are left out.

    Raises:
        UnreadableError: If the file cannot be opened, or not a single frame can be decoded.
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
    if isinstance(path, FrameFolder):
        yield from path.decode(start)
        return
    with _open(path) as container:
        stream = _stream(container, path)
        # Rows are decoded in parallel, a file by one thread: what a broken file still gives then
        # never depends on the machine.
        stream.codec_context.thread_count = 1
        rate = _nominal_rate(stream)
        if start > 0 and _is_searchable(container) and stream.time_base:
            origin = (container.start_time or 0) / av.time_base
            try:
                container.seek(int((start + origin) / stream.time_base), stream=stream)
            except (FFmpegError, OverflowError):  # the latter beyond the largest time
                return
        times = _chunk_times if container.format.name == "avi" else _stamped_times
        time = -1e-3  # no frame lies before the file
        for shown, frame in times(container, stream, path, rate):
            time = max(shown, time + 1e-3)
            yield time, rate, frame


def _stamped_times(
    container: InputContainer, stream: VideoStream, path: str, rate: float
) -> Iterator[tuple[float, VideoFrame]]:
    """Yields (time, frame) by the frames' timestamps; parts joined end to end follow each other."""
    shift, time = -(container.start_time or 0) / av.time_base, -1.0 / rate
    for _, frames in _packets(container, stream, path):
        for frame in frames or ():
            following = time + 1.0 / rate
            time = following if frame.time is None else frame.time + shift
            if time < following - 1.0 / rate - BACK:
                shift += following - time
                time = following
            yield time, frame


def _chunk_times(
    container: InputContainer, stream: VideoStream, path: str, rate: float
) -> Iterator[tuple[float, VideoFrame]]:
    """Yields (time, frame) by the numbers of an AVI's chunks, which demuxing counts as `dts`.

    With B frames, chunks lie in another order than pictures are shown in; but the n-th picture
    shown has the n-th time of a chunk that holds one.
    """
    unit = float(stream.time_base or 1.0 / rate)
    # A chunk of MPEG-4 may say that its picture is not coded: the one before stays. Encoders with B
    # frames write such chunks at the start, until the first picture is ready: these take no time.
    skips, delay = stream.codec_context.name == "mpeg4", int(stream.codec_context.has_b_frames)
    lag, begun = 0, False
    waiting: deque[float] = deque()
    time = -unit
    for packet, frames in _packets(container, stream, path):
        if packet.size and packet.dts is not None:
            waiting.append((packet.dts - lag) * unit)
            if frames is None or (not frames and skips and len(waiting) > delay):
                waiting.pop()
                lag += bool(delay and not begun)
            begun = begun or bool(frames)
        for frame in frames or ():
            time = waiting.popleft() if waiting else time + unit
            yield time, frame


def _open(path: str) -> InputContainer:
    try:
        if filesystem.is_remote(path):
            return _single(av.open(_fetch(path)), path)
        if not os.path.isfile(path):
            raise UnreadableError(path, "there is no such file")
        if not os.path.getsize(path):
            raise UnreadableError(path, "the file is empty")
        # Without the scheme a:b.mp4 would be a protocol; without the option f%d.png a pattern.
        return _single(av.open(f"file:{path}", options={"pattern_type": "none"}), path)
    except (FFmpegError, OSError, ValueError) as error:
        raise_if_machine(error, path)
        text = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(path, f"not a video ({text})") from error


def _single(container: Any, path: str) -> InputContainer:
    if container.format.name in PLAYLISTS:
        container.close()
        raise UnreadableError(path, f"a playlist ({container.format.name}), not a video")
    return container


def _stream(container: InputContainer, path: str) -> VideoStream:
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        cover = ", only a cover picture" if container.streams.video else ""
        raise UnreadableError(path, f"it has no video stream{cover}")
    stream = films[0]
    if stream.codec_context is None:
        raise UnreadableError(path, "there is no decoder for its video stream")
    if stream.width * stream.height > MAX_PIXELS:
        size = f"{stream.width} x {stream.height} pixels"
        raise UnreadableError(path, f"frames of {size} (at most {MAX_PIXELS:,} are decoded)")
    # The frames themselves may be larger than the container says.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _is_searchable(container: InputContainer) -> bool:
    """Returns whether decoding may begin in the middle.

    Not in AVI, whose B frames have no times of their own, nor in formats whose timestamps may
    start anew (transport and program streams): what lies before decides the time.
    """
    joined = Flags(container.format.flags) & Flags.ts_discont
    return container.format.name != "avi" and not joined


def _fetch(path: str) -> BinaryIO:
    try:
        return filesystem.open_media(path)
    except OSError as error:
        raise UnreadableError(path, str(error)) from error


def _nominal_rate(stream: VideoStream) -> float:
    """Returns the header's frame rate if it is credible, else `DEFAULT_RATE`."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0.1 <= rate <= 1000:
            return float(rate)
    return DEFAULT_RATE


def _packets(
    container: InputContainer, stream: VideoStream, path: str
) -> Iterator[tuple[Packet, Optional[List[VideoFrame]]]]:
    """Yields (packet, frames that came out of it); None: the packet is broken."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError) as error:
            raise_if_machine(error, path)
            return  # the container ends here
        if packet is None:
            return
        try:
            frames = packet.decode()
        except (FFmpegError, OSError) as error:
            raise_if_machine(error, path)
            frames = None  # a later packet may be whole
        yield packet, frames


def _upright(frame: VideoFrame) -> np.ndarray:
    """Converts a frame to RGB, uint8 [H, W, 3], turned as the file's display matrix says."""
    space = Colorspace.ITU709 if int(frame.colorspace) == int(Colorspace.ITU709) else None
    image = frame.reformat(format="rgb24", src_colorspace=space).to_ndarray()
    turns = getattr(frame, "rotation", 0)
    # Counter-clockwise degrees; a broken header holds nonsense (-2^31 has been seen).
    if turns in (90, 180, 270, -90, -180, -270):
        image = np.ascontiguousarray(np.rot90(image, turns // 90))
    return image
