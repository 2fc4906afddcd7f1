"""From an object store to an object store: built and trained against a local S3 server."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[1]
# Runs commands, one a line of JSON, as their scripts would. One process for all, since each takes
# seconds to import TensorFlow; and not this one, since the S3 client aborts when a process ends.
COMMANDS = """
import contextlib, importlib.util, io, json, os, sys
from absl import flags
from tfrecords.build import command as build
from tfrecords.show import command as show
from tfrecords.utils import commandline
from tfrecords.utils.remote import stores
answers = sys.stdout
can = stores.is_registered("s3://bucket") or importlib.util.find_spec("s3fs")
print(json.dumps(bool(can)), flush=True)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    module = {"build": build, "show": show}[name]
    values = module.define_flags(flags.FlagValues())
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            commandline._show_messages()  # on this standard output
            rest = values([name, *arguments])[1:]
            commandline._guarded(lambda positional: module.main(positional, values), rest)
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), errors.getvalue()]), file=answers, flush=True)
os._exit(0)
"""


class Done(NamedTuple):
    """Returns what a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def s3() -> dict[str, str]:
    """The environment of a process that is to see the server; it has an empty bucket."""
    if not importlib.util.find_spec("moto") or not importlib.util.find_spec("flask"):
        pytest.skip("needs an S3 server: pip install 'moto[server]'")
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"))
                break
            except urllib.error.URLError:
                assert server.poll() is None, "moto's server has ended"
                time.sleep(0.2)
        yield {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "S3_ENDPOINT": address,
            "S3_USE_HTTPS": "0",
            "S3_VERIFY_SSL": "0",
        }
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(s3):
    """The bucket, as its server shows it."""
    import boto3

    store = boto3.resource(
        "s3",
        endpoint_url=s3["S3_ENDPOINT"],
        region_name=s3["AWS_REGION"],
        aws_access_key_id=s3["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=s3["AWS_SECRET_ACCESS_KEY"],
    )
    return store.Bucket("bucket")


def read(bucket, name: str) -> bytes:
    return bucket.Object(name).get()["Body"].read()


@pytest.fixture(scope="module")
def command(s3):
    """Runs a command that sees the server: `command("show", directory)` -> `Done`."""
    worker = subprocess.Popen(
        [sys.executable, "-c", COMMANDS],
        cwd=PROJECT,
        env=s3,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(*arguments: str) -> Done:
        print(json.dumps(arguments), file=worker.stdin, flush=True)
        return Done(*json.loads(worker.stdout.readline()))

    with worker:
        if not json.loads(worker.stdout.readline()):
            pytest.skip("needs s3://, of tensorflow-io or of fsspec")
        yield run


def video(path: Path, shade: int) -> bytes:
    """Fourteen frames of 32 x 24 pixels."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 24, 32, "bgr0"
        for n in range(14):
            image = np.full((24, 32, 3), shade + 3 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def test_build_to_s3_and_train_two_steps_from_it(s3, command, bucket, tmp_path):
    lines = ["video,label,split,end"]
    for n in range(10):
        name = f"videos/clip {n}.mkv"
        (tmp_path / "videos").mkdir(exist_ok=True)
        if n != 9:  # the last is missing
            bucket.put_object(Key=f"in/{name}", Body=video(tmp_path / name, 10 * n))
        lines.append(f"{name},{'ab'[n % 2]},{'train' if n < 8 else 'test'},1")
    table = "\n".join(lines) + "\n"
    bucket.put_object(Key="in/clips.csv", Body=table.encode())
    (tmp_path / "clips.csv").write_text(table)

    build = ("build", "--num_shards=3", "--conjugate=frozen_frame")
    local = tmp_path / "local"
    done = command(*build, f"--input={tmp_path / 'clips.csv'}", f"--output={local}")
    assert done.returncode == 0, done.stderr
    remote = (*build, "--input=s3://bucket/in/clips.csv", "--output=s3://bucket/out/data")
    done = command(*remote)
    assert done.returncode == 0, done.stderr
    assert "9 clips of 2 classes, 9 with a conjugate (frozen_frame), 1 rows skipped" in done.stdout
    for path in local.iterdir():
        if path.name not in ("build.json", "skipped.csv"):  # sizes; the reason's words
            assert read(bucket, f"out/data/{path.name}") == path.read_bytes(), path.name
    assert b"clip 9.mkv,cannot be fetched" in read(bucket, "out/data/skipped.csv")
    assert {item.key for item in bucket.objects.filter(Prefix="out/")} == {
        f"out/data/{path.name}" for path in local.iterdir()
    }
    assert "finished already" in command(*remote).stdout

    # Neither finished nor with notes of what is: all of it is written again, over what is there.
    lost = "out/data/train-00001-of-00003.tfrecord"
    whole = read(bucket, lost)
    for name in (lost, "out/data/dataset.json"):
        bucket.Object(name).delete()
    done = command(*remote)
    assert done.returncode == 0, done.stderr
    assert read(bucket, lost) == whole

    done = command("show", "s3://bucket/out/data", "--verify")
    assert (done.returncode, done.stdout) == (
        0,
        "s3://bucket/out/data: 9 records in 6 shards, 180 images: checksums agree.\n",
    ), done.stderr
    train = [
        sys.executable,
        "train_main.py",
        "--recipe=demo",
        "--mode=train",
        "--epochs=1",
        "--batch_size=4",  # two steps
        "--frames=4",
        "--height=24",
        "--width=32",
        "--set=backbone_options.width=8",
        "--set=baseline=none",
        "--data=s3://bucket/out/data",
        "--workdir=s3://bucket/runs/first",
    ]
    for said in ("", "finished already"):  # the second time it finds there what it has kept
        done = subprocess.run(
            train, cwd=PROJECT, env=s3, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    kept = {item.key.rpartition("/")[2] for item in bucket.objects.filter(Prefix="runs/first/")}
    assert {"config.json", "checkpoint", "ckpt-2.index", "history.json"} <= kept
    assert b'"ckpt-2"' in read(bucket, "runs/first/checkpoints/main/checkpoint")
    bucket.Object(lost).delete()
    done = command("show", "s3://bucket/out/data")
    assert done.returncode == 1
    assert "Expected the shard s3://bucket/out/data/train-00001-of-00003.tfrecord" in done.stderr


def test_a_bucket_that_is_not_there_is_one_sentence(command, tmp_path):
    (tmp_path / "clips.csv").write_text("video,label\na.mkv,x\n")
    where = f"--input={tmp_path / 'clips.csv'}"
    done = command("build", where, "--output=s3://nobucket/data")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: s3://nobucket/data/")
    done = command("build", "--input=s3://bucket/no.csv", "--output=x")
    assert done.returncode == 2
    assert "Expected a csv file at s3://bucket/no.csv: cannot be fetched" in done.stderr
