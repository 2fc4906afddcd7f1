"""Decoding: what is there is read, nothing is believed from a header."""

from __future__ import annotations

import contextlib
import errno
import os
import tracemalloc
import zlib
from fractions import Fraction
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from tfrecords.media import timeline, video
from tfrecords.media.video import UnreadableError
from tfrecords.utils.errors import MachineError


def numbers(frames: np.ndarray) -> list[int]:
    return (frames[:, 0, 0, 0] // 4).tolist()


def test_reads_every_frame_and_its_rate(tmp_path, write_video, counted):
    path = write_video(tmp_path / "a.mkv", counted(30), fps=20)
    frames, fps, times = video.read_frames(str(path))
    assert frames.dtype == np.uint8 and frames.shape == (30, 24, 32, 3)
    assert numbers(frames) == list(range(30))
    assert fps == 20
    np.testing.assert_allclose(times, np.arange(30) / 20, atol=1e-3)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.5, 1.0, range(10, 20)),
        (0.52, 1.02, range(10, 20)),  # rounded by whoever wrote the table
        (0.48, 0.98, range(10, 20)),
        (1.3, None, range(26, 30)),
        (0.0, 99.0, range(30)),
    ],
)
@pytest.mark.parametrize("container", ["mkv", "avi"])  # one that is searched, one that is counted
def test_a_span_holds_the_frames_whose_middle_it_covers(
    tmp_path, write_video, counted, start, end, expected, container
):
    path = write_video(tmp_path / f"a.{container}", counted(30), fps=20)
    assert numbers(video.read_frames(str(path), start, end).frames) == list(expected)


def test_a_span_behind_the_end_is_unreadable(tmp_path, write_video, counted):
    path = write_video(tmp_path / "a.mkv", counted(10))
    with pytest.raises(UnreadableError, match=r"no frame lies in the span \[3, 4\)"):
        video.read_frames(str(path), 3, 4)


def test_varying_rate_becomes_even(tmp_path, write_video, counted):
    # The fourth of six frames stays on for 250 ms.
    path = str(write_video(tmp_path / "a.mkv", counted(6), times=[0, 50, 100, 150, 400, 450]))
    assert numbers(video.read_span(path).frames) == list(range(6))
    assert numbers(video.read_frames(path, fps=20).frames[:10]) == [0, 1, 2, 3, 3, 3, 3, 3, 4, 5]
    even = video.read_frames(path)
    np.testing.assert_allclose(np.diff(even.times), 1 / even.fps)


def test_fps_halves_and_doubles(tmp_path, write_video, counted):
    path = str(write_video(tmp_path / "a.mkv", counted(12), fps=20))
    assert numbers(video.read_frames(path, fps=10).frames) == [0, 2, 4, 6, 8, 10]
    assert numbers(video.read_frames(path, fps=40).frames) == [n // 2 for n in range(24)]


def test_rounded_timestamps_leave_frames_as_they_are():
    times = np.round(np.arange(300) / 29.97, 3)
    index = timeline.sample_index(times, 29.97, 29.97)
    np.testing.assert_array_equal(index, np.arange(300))


def test_frames_are_scaled_down_never_up(tmp_path, write_video, counted):
    assert video.scaled_size(240, 320, 128) == (128, 171)
    assert video.scaled_size(320, 240, 128) == (171, 128)
    assert video.scaled_size(100, 120, 128) == (100, 120)
    assert video.scaled_size(720, 1280, 0) == (720, 1280)
    path = str(write_video(tmp_path / "a.mkv", counted(2, 24, 32)))
    assert video.read_frames(path, short_side=12).frames.shape == (2, 12, 16, 3)


def test_a_file_that_breaks_off_gives_what_it_has(tmp_path, write_video):
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "a.avi", noise)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    frames = video.read_frames(str(path)).frames
    assert 5 <= len(frames) < 12
    np.testing.assert_array_equal(frames, noise[: len(frames)])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), (b"", "empty"), (b"not a video\n" * 40, "not a video")],
)
def test_unreadable_files_say_why(tmp_path, content, reason):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableError, match=reason) as caught:
        video.read_frames(str(path))
    assert caught.value.file == str(path)


@pytest.mark.parametrize("start", [1e12, 1e300])  # beyond 64 bits of the container's unit
def test_a_span_beyond_all_times_is_unreadable(tmp_path, write_video, counted, start):
    path = str(write_video(tmp_path / "a.mkv", counted(10)))
    with pytest.raises(UnreadableError, match="no frame lies in the span"):
        video.read_frames(path, start, 2 * start)


def test_a_stream_without_a_decoder_is_unreadable(tmp_path, write_video, counted):
    path = write_video(tmp_path / "a.mkv", counted(3))
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_XXXX"))
    for read in (video.read_frames, video.read_header):
        with pytest.raises(UnreadableError, match="there is no decoder for its video stream"):
            read(str(path))


def test_a_playlist_does_not_lead_to_other_files(tmp_path, write_video, counted):
    write_video(tmp_path / "secret.mkv", counted(3))
    lists = {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n../secret.mkv\n#EXT-X-ENDLIST\n",
        "a.mp4": "ffconcat version 1.0\nfile secret.mkv\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableError, match="not a video"):
            video.read_frames(str(tmp_path / name))


def test_the_name_of_an_image_is_no_pattern(tmp_path):
    for name, shade in (("%d.png", 0), ("0.png", 100), ("1.png", 200)):
        cv2.imwrite(str(tmp_path / name), np.full((24, 32, 3), shade, np.uint8))
    assert numbers(video.read_frames(str(tmp_path / "%d.png")).frames) == [0]


def test_a_gap_of_hours_is_not_filled_with_frames(tmp_path, write_video, counted):
    times = [0, 50, 100, 360_000_000, 360_000_050]  # 100 hours
    path = str(write_video(tmp_path / "a.mkv", counted(5), times=times))
    assert len(video.read_frames(path).frames) == 5  # at its own mean rate
    with pytest.raises(UnreadableError, match=r"5 frames spread over 360000 s .* at 25 frames/s"):
        video.read_frames(path, fps=25)


@pytest.mark.parametrize(
    "name", ["with space", 'a "quote" \'s', "(1)+!&%#", "größe 動画", "$(touch x); -i"]
)
def test_names_are_names_and_nothing_more(tmp_path, write_video, counted, name):
    path = write_video(tmp_path / f"{name}.mkv", counted(3))
    assert numbers(video.read_frames(str(path)).frames) == [0, 1, 2]


def _encoded(path, codec: str, pix_fmt: str, images, fps: int = 10, gap: int = 1) -> str:
    """A video of uint8 [H, W, 3] images, each shown for `gap` ticks of the rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps, gap))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, fps)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number * gap, Fraction(1, fps)
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p", "yuv444p16le", "yuv410p", "gray", "gray16le"]
)
def test_pixel_formats_are_converted(tmp_path, pix_fmt):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = 200, 60
    frames = video.read_frames(_encoded(tmp_path / "a.mkv", "ffv1", pix_fmt, [image] * 3)).frames
    assert frames.shape == (3, 48, 64, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(frames[1, :, 4:28], 200, atol=4)
    np.testing.assert_allclose(frames[1, :, 36:60], 60, atol=4)


def test_a_file_of_a_hundred_hours_is_read_where_it_is_asked_for(tmp_path):
    shades = [np.full((24, 32, 3), n % 60 * 4, np.uint8) for n in range(3600)]
    path = _encoded(tmp_path / "long.mkv", "mpeg4", "yuv420p", shades, fps=1, gap=100)
    header = video.read_header(path)
    assert header.searchable and header.seconds == pytest.approx(360_000, rel=1e-2)
    decoded, packets = [], video._packets

    def recorded(*arguments):
        for packet, frames in packets(*arguments):
            decoded.extend(frame.time for frame in frames or ())
            yield packet, frames

    video._packets = recorded
    try:
        span = video.read_span(path, 180_000, 180_600)
    finally:
        video._packets = packets
    np.testing.assert_allclose(span.times, 180_000 + 100 * np.arange(6))
    assert len(decoded) < 40  # from a key frame before it


def test_a_clip_too_long_for_a_record_is_refused_before_it_fills_the_memory(
    tmp_path, write_video, counted, monkeypatch
):
    path = str(write_video(tmp_path / "a.mkv", counted(200, 48, 64)))
    monkeypatch.setattr(video, "MAX_CLIP_BYTES", 10 * 48 * 64 * 3)
    tracemalloc.start()
    with pytest.raises(UnreadableError, match="passes 11 frames; give start and end, or a short"):
        video.read_span(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 48 * 64 * 3
    assert len(video.read_span(path, 1.0, 1.4).frames) == 8


def test_huge_frames_are_refused_by_what_the_header_says(tmp_path, monkeypatch):
    images = [np.zeros((48, 64, 3), np.uint8)] * 2
    path = _encoded(tmp_path / "a.mkv", "mpeg4", "yuv420p", images)
    monkeypatch.setattr(video, "MAX_PIXELS", 48 * 64 - 1)
    for read in (video.read_header, video.read_span):
        with pytest.raises(UnreadableError, match=r"frames of 64 x 48 pixels .at most 3,071"):
            read(path)


def test_huge_frames_are_refused_before_they_are_decoded(tmp_path):
    # A PNG of 20,000 x 20,000 grey pixels: 30 kB on disk, 1.2 GB decoded.
    content = cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes()
    at = content.index(b"IHDR") + 4
    side = (20_000).to_bytes(4, "big")
    header = b"IHDR" + side + side + content[at + 8 : at + 13]
    crc = zlib.crc32(header).to_bytes(4, "big")
    path = tmp_path / "huge.png"
    path.write_bytes(content[: at - 4] + header + crc + content[at + 17 :])
    with pytest.raises(UnreadableError, match=r"20000 x 20000 pixels|no frame can be decoded"):
        video.read_span(str(path))


def test_frames_that_change_their_size_are_brought_to_the_first_ones(tmp_path):
    parts = b""
    for side in (48, 96):
        images = [np.full((side, side, 3), side, np.uint8)] * 3
        path = tmp_path / f"{side}.m2v"
        _encoded(path, "mpeg2video", "yuv420p", images, fps=25)
        parts += path.read_bytes()
    (tmp_path / "both.m2v").write_bytes(parts)
    frames = video.read_span(str(tmp_path / "both.m2v")).frames
    assert frames.shape[1:] == (48, 48, 3) and len(frames) > 3
    assert frames[0].mean() < 60 < 80 < frames[-1].mean()


def _film(path, numbers, rate: int = 30, codec: str = "mpeg4", **options: str) -> str:
    """A film with the grey 4 n at the n-th tick of its rate, for the numbers given."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "5", **options})
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for number in numbers:
            image = np.full((24, 32, 3), 4 * (number % 60), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def test_empty_chunks_of_an_avi_take_their_time(tmp_path):
    """25 pictures in 30 chunks a second; the row 1-2 s holds what is shown in it."""
    chunks = [n for n in range(90) if n % 6 != 3]
    path = _film(tmp_path / "a.avi", chunks)
    whole = video.read_span(path)
    np.testing.assert_allclose(whole.times, np.array(chunks) / 30, atol=1e-6)
    assert whole.fps == 25.0 and len(video.read_frames(path).frames) == 75
    second = video.read_span(path, 1, 2)
    np.testing.assert_allclose(second.times, [n / 30 for n in chunks if 30 <= n < 60], atol=1e-6)
    shades = second.frames[:, 12, 16, 0] / 4
    np.testing.assert_allclose(shades, [n % 60 for n in chunks if 30 <= n < 60], atol=1)


def test_pictures_of_an_avi_with_b_frames_are_in_order_and_even(tmp_path):
    path = _film(tmp_path / "a.avi", range(40), bf="2")
    span = video.read_span(path)
    np.testing.assert_allclose(np.diff(span.times), 1 / 30, atol=1e-6)
    np.testing.assert_allclose(span.frames[:, 12, 16, 0] / 4, range(len(span.frames)), atol=1)


@pytest.mark.parametrize("extension", ["ts", "mpg"])
def test_joined_recordings_follow_each_other(tmp_path, extension):
    parts = b""
    for name, numbers in (("one", range(50)), ("two", range(30))):
        path = _film(tmp_path / f"{name}.{extension}", numbers, 25, "mpeg2video")
        with open(path, "rb") as file:
            parts += file.read()
    (tmp_path / f"both.{extension}").write_bytes(parts)
    path = str(tmp_path / f"both.{extension}")
    span = video.read_span(path)
    assert len(span.frames) == 80 and span.fps == 25
    np.testing.assert_allclose(span.times, np.arange(80) / 25, atol=0.02)
    late = video.read_span(path, 2.4, 2.8)
    np.testing.assert_allclose(late.frames[:, 12, 16, 0] / 4, range(10, 20), atol=1)
    assert not video.read_header(path).searchable


def test_a_cover_picture_is_no_film(tmp_path):
    path = str(tmp_path / "film.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        cover = container.add_stream("png")
        cover.width, cover.height, cover.pix_fmt = 16, 16, "rgb24"
        cover.disposition = Disposition.attached_pic
        white = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 255, np.uint8), format="rgb24")
        for packet in cover.encode(white):
            container.mux(packet)
        for number in range(5):
            black = av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), format="rgb24")
            black.pts, black.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(black))
        container.mux(stream.encode())
    assert video.read_span(path).frames.shape == (5, 24, 32, 3)
    with av.open(path) as container:
        streams = sorted(container.streams.video, key=lambda stream: stream.width)
        assert streams[0].disposition & Disposition.attached_pic
        first = SimpleNamespace(streams=SimpleNamespace(video=streams))
        assert video._stream(first, path).width == 32
        alone = SimpleNamespace(streams=SimpleNamespace(video=streams[:1]))
        with pytest.raises(UnreadableError, match="it has no video stream, only a cover picture"):
            video._stream(alone, path)


def test_the_ticks_of_a_gap_are_bounded_whatever_the_frames_size(tmp_path, write_video, counted):
    times = [0, 40, 80, 6_900_000_000]  # 80 days of frames of a few bytes
    path = str(write_video(tmp_path / "a.mkv", counted(4, 2, 2), times=times))
    with pytest.raises(UnreadableError, match=r"4 frames spread over 6900000 s .* 25 frames/s"):
        video.read_frames(path, fps=25)


def test_a_name_with_a_colon_is_a_file(tmp_path, write_video, counted):
    path = write_video(tmp_path / "a.mkv", counted(3)).rename(tmp_path / "2024-01-01T12:30:05.mkv")
    assert numbers(video.read_frames(str(path)).frames) == [0, 1, 2]
    with contextlib.chdir(tmp_path) if hasattr(contextlib, "chdir") else pytest.skip("Python 3.11"):
        assert numbers(video.read_frames(path.name).frames) == [0, 1, 2]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_say_nothing_about_a_video(
    tmp_path, write_video, counted, monkeypatch, number
):
    path = str(write_video(tmp_path / "a.mkv", counted(3)))

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(video.av, "open", fail)
    with pytest.raises(MachineError, match="oo many open files"):
        video.read_span(path)


def test_odd_videos(shared_data):
    unreadable = {
        "gomp4_sample_init.encv.mp4": "no frame can be decoded",
        "moviepy_zero_bytes.webm": "the file is empty",
        "mp4parse_invalid_userdata.mp4": "no frame can be decoded",
        "text_named.mp4": "not a video",
        "tfio_audio_only.mp4": "no video stream",
        "truncated_no_moov.mp4": "not a video",
        "zero_bytes.avi": "the file is empty",
    }
    for path in sorted((shared_data / "odd_videos").iterdir()):
        try:
            frames = video.read_frames(str(path), end=1.0, short_side=32).frames
        except UnreadableError as error:
            assert unreadable.pop(path.name, "readable") in error.reason, path.name
        else:
            assert frames.ndim == 4 and len(frames), path.name
    assert not unreadable


def test_rotation_is_honoured(shared_data):
    path = shared_data / "odd_videos" / "decord_video_270.mov"
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0))
    frames = video.read_frames(str(path)).frames
    assert frames.shape[1:3] == (stored.width, stored.height)
    upright = np.rot90(stored.to_ndarray(format="rgb24"))
    assert np.abs(frames[0].astype(int) - upright).mean() < 2


def test_headers_are_not_believed(shared_data):
    path = shared_data / "clips/hmdb51/6arrowswithin30seconds_shoot_bow_f_nm_np1_fr_med_3.avi"
    with av.open(str(path)) as container:
        claimed = container.streams.video[0].frames
    read = video.read_frames(str(path), short_side=32)
    assert len(read.frames) == 81 == claimed - 1
    # Its timestamps go back where B frames stand; the times given never do.
    np.testing.assert_allclose(np.diff(read.times), 1 / 30, atol=1e-6)


def test_searching_finds_the_same_frames_as_reading_from_the_start(shared_data):
    path = str(shared_data / "odd_videos" / "torchcodec_nasa_13013.mp4")
    whole = video.read_frames(path, short_side=32)
    part = video.read_frames(path, 3.32, 4.32, short_side=32)
    np.testing.assert_array_equal(part.frames, whole.frames[83:108])
