"""The road of a camera, with a file as device and a stream of this machine."""

from __future__ import annotations

import functools
import http.server
import itertools
import json
import threading
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

from aacf_tf.attend import camera
from aacf_tf.attend.__main__ import is_live
from aacf_tf.visualization.mjpeg import Server
from tfrecords.media.video import read_frames
from tfrecords.utils.errors import UsageError, UserError


@pytest.fixture
def film(acted, write_video, tmp_path):
    return write_video(tmp_path / "made.mkv", acted(48, [("red", 24, 48)]), fps=12)


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_source_becomes_lines_and_an_overlay(seer, film, tmp_path, capsys):
    output = tmp_path / "out.mp4"
    camera.attend_camera(seer, str(film), output=output, threshold=0.5, overlap=0.5)
    rows = lines(capsys)
    assert [row["start"] for row in rows] == [round(n / 12, 3) for n in range(0, 43, 3)]
    assert {row["class"] for row in rows} == {None, "red"}
    for row in rows:
        acting = row["end"] > 2.0
        assert (row["class"] == "red") == acting and (row["box"] is not None) == acting
    assert rows[-1]["box"] == {"left": 32, "top": 12, "right": 48, "bottom": 24}
    assert [*rows[0]] == ["start", "end", "class", "score", "context_share", "at", "box"]
    assert read_frames(str(output)).frames.shape == (48, 48, 64, 3)


def test_a_stream_of_this_machine(seer, film, tmp_path, capsys):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/made.mkv"
        assert is_live(address)
        camera.attend_camera(seer, address, seconds=3.0, threshold=0.5, overlap=0.0)
        server.shutdown()
    assert [row["class"] for row in lines(capsys)] == [None] * 4 + ["red"] * 2


def test_recording_ends_well_with_ctrl_c(seer, film, tmp_path, monkeypatch):
    ticks = camera.Camera.ticks

    def interrupted(self):
        yield from itertools.islice(ticks(self), 20)
        raise KeyboardInterrupt

    monkeypatch.setattr(camera.Camera, "ticks", interrupted)
    camera.attend_camera(seer, str(film), output=tmp_path / "o.mp4", threshold=0.5, overlap=0.5)
    assert len(read_frames(str(tmp_path / "o.mp4")).frames) == 20


class Fake:
    """A capture whose frames have given times; a frame is its number."""

    def __init__(self, times):
        self.times, self.number = times, -1

    def read(self):
        self.number += 1
        image = np.full([4, 4, 3], self.number, np.uint8)
        return self.number < len(self.times), image

    def get(self, _):
        return 1000 * self.times[self.number]

    def isOpened(self):
        return True

    def release(self):
        pass


@pytest.mark.parametrize(
    "times, shown",
    [
        ([1.0, 1.1, 1.2, 1.3], [0, 1, 2, 3]),
        ([1.0, 1.1, 1.3, 1.4], [0, 1, 1, 2, 3]),  # a frame is missing
        ([1.0, 1.05, 1.1, 1.2], [0, 2, 3]),  # one too many
        ([5.0, 5.1, 0.0, 0.1], [0, 1, 2, 3]),  # the clock is set back
        ([5.0, 5.1, 99.0, 99.1], [0, 1, 2, 3]),  # a pause of a minute is not filled
    ],
)
def test_time_goes_on_evenly(monkeypatch, times, shown):
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Fake(times))
    source = camera.Camera("0")
    source.fps = 10.0
    assert [int(image[0, 0, 0]) for image in source.ticks()] == shown


def test_a_source_that_ends_before_a_clip_leaves_nothing_behind(seer, acted, write_video, tmp_path):
    short = write_video(tmp_path / "short.mkv", acted(4, []), fps=12)
    output = tmp_path / "o.mp4"
    with pytest.raises(UserError, match=r"expected 6 frames, a clip of the model, .* ended before"):
        camera.attend_camera(seer, str(short), output=output, threshold=0.5, overlap=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["short.mkv"]


@pytest.mark.parametrize("address", ["99", "rtsp://127.0.0.1:1/none", "http://127.0.0.1:1/none"])
def test_a_source_that_sends_nothing_is_one_sentence(address):
    with pytest.raises(UserError, match=r"--video: expected a source that sends frames, the "):
        camera.Camera(address)


def test_names_of_files_are_no_cameras():
    assert not any(map(is_live, ("a.mp4", "0.mp4", "C:/a.mp4", "./0", "file.rtsp")))
    assert all(map(is_live, ("0", "12", "RTSP://host/a", "udp://@:1234")))


def test_pictures_are_served_to_this_machine_alone():
    server = Server(0)
    try:
        picture = np.full([8, 8, 3], (200, 30, 30), np.uint8)
        threading.Timer(0.05, server.write, [picture]).start()
        with urllib.request.urlopen(server.address, timeout=20) as answer:
            assert "multipart/x-mixed-replace" in answer.headers["Content-Type"]
            head = b"".join(iter(answer.readline, b"\r\n"))
            size = int(head.split(b"Content-Length: ")[1].split()[0])
            jpeg = np.frombuffer(answer.read(size), np.uint8)
        found = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(found.astype(int) - picture).max() < 12
        request = urllib.request.Request(server.address, headers={"Host": "elsewhere.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, timeout=20)
        with pytest.raises(UsageError, match="--serve: expected a free port"):
            Server(int(server.address.rsplit(":", 1)[1].strip("/")))
    finally:
        server.close()
