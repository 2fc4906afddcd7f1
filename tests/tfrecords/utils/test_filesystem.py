"""Files beyond this machine, over HTTP from a server in this process."""

from __future__ import annotations

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.build import plan
from tfrecords.build.shards import outcome
from tfrecords.media.video import UnreadableError
from tfrecords.records import dataset
from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils import atomic, filesystem
from tfrecords.utils.errors import MachineError, UsageError, UserError
from tfrecords.utils.remote import shards, stores


@pytest.fixture
def server(tmp_path):
    """Serves tmp_path with byte ranges, which http:// of tensorflow-io asks for; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = tmp_path / self.path.lstrip("/")
            busy = path.with_name(f"{path.name}.busy")  # how often it is to answer 503
            if busy.is_file() and int(busy.read_text()):
                busy.write_text(str(int(busy.read_text()) - 1))
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            wanted = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "bytes=0-999999999"))
            data = path.read_bytes() if path.is_file() else b""
            part = data[int(wanted[1]) : int(wanted[2]) + 1]
            self.send_response(404 if not data else 206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("s3://bucket/a.mp4", True),
        ("https://host/a.mp4", True),
        ("a.mp4", False),
        ("http/a.mp4", False),
        ("file:///etc/passwd", False),
    ],
)
def test_is_remote(path, remote):
    assert filesystem.is_remote(path) == remote


def test_local_files_need_no_tensorflow_io(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    with filesystem.open_file(str(tmp_path / "a")) as file:
        assert file.read() == b"content"
    with pytest.raises(FileNotFoundError):
        filesystem.open_file(str(tmp_path / "b"))


def test_a_remote_file_is_fetched_whole(server, tmp_path):
    data = np.random.default_rng(0).bytes(1_500_000)
    (tmp_path / "a").write_bytes(data)
    with filesystem.open_file(f"{server}/a") as file:
        assert file.read() == data
        file.seek(100)
        assert file.read(5) == data[100:105]
    with pytest.raises(OSError, match=r"cannot be fetched: .*404"):
        filesystem.open_file(f"{server}/b")


def test_rows_of_remote_videos_and_masks(server, tmp_path, write_video, counted):
    write_video(tmp_path / "a.mkv", counted(20), fps=20)
    np.savez(tmp_path / "m.npz", mask=np.ones((10, 24, 32), bool))
    (tmp_path / "tables").mkdir()  # the files lie outside: containment is for local paths
    table = tmp_path / "tables" / "clips.csv"
    table.write_text(
        "video,label,start,end,mask\n"
        f"{server}/a.mkv,x,0,0.5,{server}/m.npz\n"
        f"{server}/b.mkv,x,0,0.5,\n"
        f"{server}/a.mkv,x,0,0.5,{server}/n.npz\n"
    )
    source = open_source("csv", SourceOptions(input=str(table)))
    there, no_video, no_mask = source.rows()
    pair = source.load(there)
    assert (pair.clip[:, 0, 0, 0] // 4).tolist() == list(range(10))
    assert pair.mask.shape == (10, 24, 32) and pair.mask.all()
    assert pair.media_id == f"{server}/a.mkv"
    with pytest.raises(UnreadableError) as caught:
        source.load(no_video)
    assert caught.value.file == f"{server}/b.mkv"
    assert caught.value.reason.startswith("cannot be fetched: ")
    with pytest.raises(UnreadableError) as caught:
        source.load(no_mask)
    assert caught.value.reason.startswith(f"{server}/n.npz: ")
    assert "cannot be fetched" in caught.value.reason


def test_media_are_fetched_once(server, tmp_path, monkeypatch):
    data = np.random.default_rng(0).bytes(300_000)
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() + data)
    fetched, fetch = [], filesystem.RemotePath.fetch

    def count(path):
        fetched.append(path.name)
        return fetch(path)

    monkeypatch.setattr(filesystem.RemotePath, "fetch", count)
    monkeypatch.setattr(filesystem, "KEPT", 2)
    monkeypatch.setattr(filesystem, "_fetched", filesystem._Fetched())

    def read(name):
        return filesystem.open_media(f"{server}/{name}")

    with ThreadPoolExecutor(4) as pool:  # whoever comes later waits for the first
        views = list(pool.map(read, "aaaa"))
    assert fetched == ["a"]
    first, second, *_ = views
    assert first.read(3) == b"a" + data[:2]
    first.seek(-4, 2)
    assert first.read() == data[-4:] and first.tell() == 300_001
    assert second.read() == b"a" + data  # a place of its own
    assert (read("b").read(1), read("a").read(1), read("c").read(1)) == (b"b", b"a", b"c")
    assert fetched == ["a", "b", "c"]
    third = views[2]
    assert read("b").read(1) == b"b" and fetched[3:] == ["b"]  # it was used before a
    assert third.read() == b"a" + data  # though forgotten by now, open until it is closed
    for _ in range(2):  # a failure is not kept
        with pytest.raises(OSError, match=r"cannot be fetched: .*404"):
            read("missing")
    assert fetched[4:] == ["missing", "missing"]


def test_a_store_that_is_busy_is_asked_again(server, tmp_path, write_video, counted, monkeypatch):
    monkeypatch.setattr(filesystem, "WAITS", (0.0, 0.0))
    write_video(tmp_path / "a.mkv", counted(5), fps=20)
    (tmp_path / "clips.csv").write_text(f"video,label\n{server}/a.mkv,x\n")
    source = open_source("csv", SourceOptions(input=str(tmp_path / "clips.csv")))
    (tmp_path / "a.mkv.busy").write_text("2")
    assert len(source.load(source.rows()[0]).clip) == 5
    monkeypatch.setattr(filesystem, "_fetched", filesystem._Fetched())
    (tmp_path / "a.mkv.busy").write_text("99")
    # Not a broken video: the build ends, and its next try may find the store in better health.
    with pytest.raises(MachineError, match=r"a\.mkv cannot be fetched: .*503"):
        outcome(source, source.rows()[0], 95)


def test_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").write_bytes(b"content")
    assert str(filesystem.to_path("~/a")) == filesystem.absolute("~/a") == str(tmp_path / "a")
    with filesystem.open_file("~/a") as file:
        assert file.read() == b"content"


@pytest.fixture(params=["ram", "memory"])
def remote(request, monkeypatch):
    """A folder beyond this machine: in memory, TensorFlow's own or that of fsspec."""
    if request.param == "memory":
        pytest.importorskip("fsspec")
    monkeypatch.setattr(filesystem, "SCHEMES", (*filesystem.SCHEMES, f"{request.param}://"))
    folder = filesystem.to_path(f"{request.param}://bucket/folder")
    yield folder
    filesystem.remove_folder(folder)


def test_a_remote_path_is_used_as_a_local_one(remote, tmp_path):
    def use(folder):
        file = folder / "a b+(1).txt"
        before = (file.is_file(), file.exists(), folder.is_dir(), list(folder.glob("*")))
        atomic.write_text(file, "für\n")  # once: ram:// would append a second text
        atomic.write_text(folder / "b.json", "{}")
        with pytest.raises(FileNotFoundError):
            (folder / "c").read_bytes()
        there = [path.name for path in sorted(folder.glob("*.txt"))]
        read = (file.read_text(encoding="utf-8"), file.read_bytes(), filesystem.file_size(file))
        state = (file.is_file(), file.is_dir(), folder.is_dir(), folder.is_file(), file.name)
        digest = atomic.sha256(file)
        file.unlink()
        with pytest.raises(FileNotFoundError):
            file.unlink()
        file.unlink(missing_ok=True)
        left = sorted(path.name for path in folder.iterdir())
        filesystem.remove_folder(folder)
        return before, there, read, state, digest, left, folder.exists()

    local = use(tmp_path / "folder")
    assert use(remote) == local
    assert local[1] == ["a b+(1).txt"] and local[5] == ["b.json"] and local[6] is False


def test_a_remote_file_is_whole_or_not_there(remote):
    with pytest.raises(KeyboardInterrupt), atomic.replacing(remote / "a") as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert not (remote / "a").exists()


def test_a_data_set_is_written_and_read_beyond_this_machine(remote, tmp_path):
    clips = [np.full((3, 8, 8, 3), 20 * n, np.uint8) for n in range(5)]
    pairs = [ClipPair(str(n), clip, clip, ("a",)) for n, clip in enumerate(clips)]
    for directory in (remote, tmp_path / "local"):
        write_dataset(directory, {"train": pairs}, ["a"], num_shards=2)
    assert dataset.digest(str(remote)) == dataset.digest(tmp_path / "local")
    assert dataset.load_manifest(remote) == dataset.load_manifest(tmp_path / "local")
    batches = read_dataset(str(remote), "train", frames=3, size=(8, 8), training=False)
    ((inputs, _, _),) = batches.as_numpy_iterator()
    assert inputs["clip"][:, 0, 0, 0, 0].tolist() == [0, 40, 80, 20, 60]  # two shards


def test_copies_of_shards_are_bounded_and_current(monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setattr(shards, "KEPT_SHARDS", 2)
    monkeypatch.setattr(shards, "KEPT_BYTES", 25)
    fetch = shards._Copies().fetch
    urls = [f"memory://copies/{name}" for name in "abc"]
    for url, size in zip(urls, (10, 10, 10)):
        stores.Gfile(url)._files.pipe_file(url, url[-1:].encode() * size)
    copies = [Path(fetch(url)) for url in urls]
    assert [copy.exists() for copy in copies] == [False, True, True]
    assert copies[2].read_bytes() == b"c" * 10
    stores.Gfile(urls[2])._files.pipe_file(urls[2], b"new")
    assert Path(fetch(urls[2])).read_bytes() == b"new"


def test_a_scheme_whose_package_is_missing_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "adlfs", None)  # its import fails
    with pytest.raises(UserError, match=r"^az://a: expected the packages that read az://.*adlfs"):
        stores.Gfile("az://a")


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({}, None),
        ({"S3_ENDPOINT": "http://a:1", "S3_USE_HTTPS": "1"}, "http://a:1"),
        ({"S3_ENDPOINT": "a:1"}, "https://a:1"),
        ({"S3_ENDPOINT": "a:1", "S3_USE_HTTPS": "0", "S3_VERIFY_SSL": "0"}, "http://a:1"),
    ],
)
def test_s3_by_the_variables_of_tensorflow_io(environment, endpoint, monkeypatch):
    for name in ("S3_ENDPOINT", "S3_USE_HTTPS", "S3_VERIFY_SSL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"AWS_REGION": "here", **environment}.items():
        monkeypatch.setenv(name, value)
    options = stores._options("s3")
    assert options.get("endpoint_url") == endpoint
    assert options["client_kwargs"]["region_name"] == "here"
    assert options["client_kwargs"].get("verify", True) == ("S3_VERIFY_SSL" not in environment)


def test_of_two_builds_by_different_plans_one_is_refused(remote):
    """A remote directory knows no locks: the plan that lies there says whose it is."""
    plan.claim(remote, {"fps": 10})
    plan.claim(remote, {"fps": 10})  # the same build goes on
    with pytest.raises(UsageError, match="was built with fps 10, not 16"):
        plan.claim(remote, {"fps": 16})  # though no shard is there yet
    plan.confirm(remote, {"fps": 10})
    with pytest.raises(UserError, match=rf"Another build is writing into {remote}\."):
        plan.confirm(remote, {"fps": 16})  # which had looked before the other came


@pytest.mark.parametrize(
    ("name", "folder", "reason"),
    [
        ("new/deep/a.csv", False, ""),
        ("new/deep", True, ""),
        ("full", True, ""),
        ("full", False, "Is a directory"),
        ("file/a.csv", False, "Not a directory"),
        ("file", True, "Not a directory"),
        ("a" * 300, False, "File name too long"),
        ("/proc/a.csv", False, "No such file or directory"),
        ("/proc/new/deep", True, "No such file or directory"),
    ],
)
def test_outputs_are_tried_first(tmp_path, name, folder, reason):
    (tmp_path / "full").mkdir()
    (tmp_path / "file").write_text("x")
    if reason:
        with pytest.raises(UserError, match=rf"^--output: .* cannot be written: .*{reason}"):
            filesystem.check_output(tmp_path / name, "output", folder)
    else:
        filesystem.check_output(tmp_path / name, "output", folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full"]


def test_remote_outputs_are_not_tried():
    filesystem.check_output(filesystem.RemotePath("s3://nowhere/a"), "output")
