"""Decoding: what is there is read, nothing is believed from a header."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tfrecords import video
from tfrecords.video import UnreadableError


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
    index = video.sample_index(times, 29.97, 29.97)
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
