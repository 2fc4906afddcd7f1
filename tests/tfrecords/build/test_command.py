"""Building: the same bytes however it went, and one plan a directory."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import pytest
import tensorflow as tf
from absl import flags

from tfrecords.build import build_dataset, command, plan, summary
from tfrecords.conjugates import shots
from tfrecords.records import codec, writer
from tfrecords.records.dataset import load_info, load_manifest
from tfrecords.sources import SourceOptions
from tfrecords.utils import filesystem
from tfrecords.utils.errors import UsageError, UserError

PROJECT = Path(__file__).resolve().parents[3]
BUILD = [sys.executable, "-m", "tfrecords.build"]


def run(**options) -> None:
    """The command, in this process."""
    values = command.define_flags(flags.FlagValues())
    values(["build", *(f"--{name}={value}" for name, value in options.items())])
    command.main([], values)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def ids(shard: Path) -> list[str]:
    records = tf.data.TFRecordDataset(str(shard)).as_numpy_iterator()
    return [codec.decode(record).id for record in records]


def skipped_rows(directory: Path) -> dict[str, str]:
    """File -> reason."""
    with (directory / "skipped.csv").open(newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture
def table(tmp_path, write_video, counted) -> str:
    """Nine rows of train and two of test; row 5 is broken."""
    lines = ["video,label,split,start,end"]
    write_video(tmp_path / "a.mkv", counted(60), fps=20)
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    for n in range(9):
        name = "broken.mp4" if n == 4 else "a.mkv"
        lines.append(f"{name},{'xy'[n % 2]},train,{n * 0.3:.1f},{n * 0.3 + 0.2:.1f}")
    lines += ["a.mkv,x,test,2.8,3", "a.mkv,y,test,2.7,2.8"]
    path = tmp_path / "clips.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_shards_hold_their_rows_and_counts_agree(table, tmp_path, capsys):
    output = tmp_path / "out"
    run(input=table, output=output, num_shards=3, conjugate="frozen_frame")
    info = load_info(output)
    assert info.labels == ["x", "y"] and info.fps == 20 and info.frame_size == [24, 32]
    assert info.splits == {
        "train": {"shards": 3, "clips": 8, "pairs": 8, "negatives": 0, "skipped": 1},
        "test": {"shards": 3, "clips": 2, "pairs": 2, "negatives": 0, "skipped": 0},
    }
    manifest = load_manifest(output)
    assert set(manifest) == {path.name for path in output.glob("*.tfrecord")}
    data = (output / "train-00001-of-00003.tfrecord").read_bytes()
    assert manifest["train-00001-of-00003.tfrecord"] == {
        "records": 2,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    # Rows 1, 4, 7 of 0..8; row 4 is the broken one and leaves its neighbours where they are.
    assert ids(output / "train-00001-of-00003.tfrecord") == [
        "a.mkv@0.300-0.500",
        "a.mkv@2.100-2.300",
    ]
    assert ids(output / "test-00002-of-00003.tfrecord") == []
    skipped = (output / "skipped.csv").read_text().splitlines()
    assert skipped[0] == "file,reason" and skipped[1].startswith("broken.mp4,not a video")
    printed = capsys.readouterr().out
    assert "10 clips of 2 classes, 10 with a conjugate (frozen_frame), 1 rows skipped" in printed


def test_bytes_depend_on_nothing_but_the_input(table, tmp_path):
    run(input=table, output=tmp_path / "one", workers=1, num_shards=2)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in (table, tmp_path / "a.mkv", tmp_path / "broken.mp4"):
        shutil.copy(path, elsewhere)
    run(input=elsewhere / "clips.csv", output=tmp_path / "two", workers=4, num_shards=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_from_python_as_by_the_command(table, tmp_path, capsys):
    given = {"num_shards": 2, "quality": 90}
    run(input=table, output=tmp_path / "command", fps=10, **given)
    said = capsys.readouterr().out
    options = SourceOptions(input=table, fps=10.0)
    info = build_dataset(options, tmp_path / "python", **given)
    assert content(tmp_path / "python") == content(tmp_path / "command")
    assert info == load_info(tmp_path / "python")
    assert summary(tmp_path / "command") in said
    with pytest.raises(UsageError, match="--quality of 1 to 100, received 0"):
        build_dataset(options, tmp_path / "none", quality=0)


def test_a_stopped_build_continues(table, tmp_path, monkeypatch):
    run(input=table, output=tmp_path / "whole", num_shards=3)
    output = tmp_path / "stopped"
    real, written = writer.write_shard, []

    def fail_at_the_third(path, examples):
        if len(written) == 2:
            Path(f"{path}.tmp").write_bytes(b"half a shard")
            raise RuntimeError("power failure")
        written.append(path)
        return real(path, examples)

    monkeypatch.setattr(writer, "write_shard", fail_at_the_third)
    with pytest.raises(RuntimeError):
        run(input=table, output=output, num_shards=3)
    assert not (output / "dataset.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(writer, "write_shard", real)
    run(input=table, output=output, num_shards=3)
    assert {path: path.stat().st_mtime_ns for path in written} == finished  # kept, not rebuilt
    assert content(output) == content(tmp_path / "whole")


def test_a_stopped_build_beyond_this_machine_continues(table, tmp_path, monkeypatch):
    run(input=table, output=tmp_path / "whole", num_shards=3)
    monkeypatch.setattr(filesystem, "SCHEMES", (*filesystem.SCHEMES, "ram://"))
    output = filesystem.to_path("ram://builds/stopped")
    real, written = writer.write_shard, []

    def fail_at_the_third(path, examples):
        if len(written) == 2:
            raise RuntimeError("power failure")
        written.append(path)
        return real(path, examples)

    monkeypatch.setattr(writer, "write_shard", fail_at_the_third)
    with pytest.raises(RuntimeError):
        run(input=table, output=output, num_shards=3)
    assert not (output / "dataset.json").exists()
    del written[:]
    monkeypatch.setattr(writer, "write_shard", lambda *a: written.append(a[0]) or real(*a))
    run(input=table, output=output, num_shards=3)
    assert len(written) == 4
    assert {path.name: path.read_bytes() for path in output.iterdir()} == content(
        tmp_path / "whole"
    )


def test_a_finished_build_does_nothing(table, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    run(input=table, output=tmp_path / "out")
    monkeypatch.setattr(writer, "write_shard", None)
    run(input=table, output=tmp_path / "out")
    assert "finished already" in caplog.text


def test_another_plan_is_refused(table, tmp_path):
    output = tmp_path / "out"
    run(input=table, output=output)
    with pytest.raises(UsageError, match="with quality 95, not 80"):
        run(input=table, output=output, quality=80)
    Path(table).write_text(Path(table).read_text() + "a.mkv,x,test,0,1\n")
    with pytest.raises(UsageError, match="from other rows or files"):
        run(input=table, output=output)
    with pytest.raises(UsageError, match="new or empty directory"):
        run(input=table, output=tmp_path)


def test_a_build_by_another_version_is_refused(table, tmp_path, monkeypatch):
    run(input=table, output=tmp_path / "out")
    monkeypatch.setattr(plan, "BUILDER_VERSION", plan.BUILDER_VERSION + 1)
    with pytest.raises(UsageError, match="by another version of this command"):
        run(input=table, output=tmp_path / "out")


def test_a_build_that_came_to_nothing_leaves_the_directory_free(table, tmp_path):
    output, path = tmp_path / "out", tmp_path / "mended.csv"
    path.write_text("video,label\nbrokn.mp4,x\nbroken.mp4,y\n")
    with pytest.raises(UserError, match=r"Not one of 2 rows .* the first: brokn"):
        run(input=path, output=output, num_shards=2)
    assert list(output.iterdir()) == []
    path.write_text("video,label\na.mkv,x\n")
    run(input=path, output=output, num_shards=1)
    assert load_info(output).splits["train"]["clips"] == 1


def test_a_build_stopped_before_its_first_record_leaves_the_directory_free(
    table, tmp_path, monkeypatch
):
    output, real, written = tmp_path / "out", writer.write_shard, []

    def stop_at_the_second(path, examples):
        if written:
            Path(f"{path}.tmp").write_bytes(b"half a shard")
            raise RuntimeError("power failure")
        written.append(path)
        return real(path, ())  # as if none of its rows could be read

    monkeypatch.setattr(writer, "write_shard", stop_at_the_second)
    with pytest.raises(RuntimeError):
        run(input=table, output=output, num_shards=3)
    monkeypatch.setattr(writer, "write_shard", real)
    run(input=table, output=output, num_shards=2, quality=80)
    run(input=table, output=tmp_path / "fresh", num_shards=2, quality=80)
    assert content(output) == content(tmp_path / "fresh")


def test_what_another_plan_has_built_stays(table, tmp_path, monkeypatch):
    output, real = tmp_path / "out", writer.write_shard

    def stop_after_the_first(path, examples):
        real(path, examples)
        raise RuntimeError("power failure")

    monkeypatch.setattr(writer, "write_shard", stop_after_the_first)
    with pytest.raises(RuntimeError):
        run(input=table, output=output, num_shards=3)
    with pytest.raises(UsageError, match="with quality 95, not 80"):
        run(input=table, output=output, num_shards=3, quality=80)
    assert (output / "train-00000-of-00003.tfrecord").stat().st_size


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (cv2.error("bad\n size"), "cv2.error: bad size"),
        (ValueError("bad size"), "ValueError: bad size"),
        (AttributeError("no width"), "AttributeError: no width"),
        (MemoryError(), "MemoryError: "),
        (av.error.InvalidDataError(1, "bad size"), "av.error.InvalidDataError: "),
    ],
)
def test_an_error_nobody_foresaw_skips_the_row(table, tmp_path, monkeypatch, error, reason):
    real = shots.scan

    def fail(path):
        if path.endswith("odd.mkv"):
            raise error
        return real(path)

    monkeypatch.setattr(shots, "scan", fail)
    shutil.copy(tmp_path / "a.mkv", tmp_path / "odd.mkv")
    with open(table, "a") as file:
        file.write("odd.mkv,x,test,0.5,1\n")
    run(input=table, output=tmp_path / "out")
    counts = load_info(tmp_path / "out").splits["test"]
    assert (counts["clips"], counts["skipped"]) == (2, 1)
    assert skipped_rows(tmp_path / "out")["odd.mkv"].startswith(reason)


def test_an_output_that_cannot_be_made_is_one_sentence(table, tmp_path):
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [*BUILD, f"--input={table}", f"--output={tmp_path / 'file' / 'out'}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: --output: ") and done.stderr.count("\n") == 1
    assert done.stderr.endswith("cannot be written: Not a directory.\n")


def test_two_builds_do_not_share_a_directory(table, tmp_path, monkeypatch):
    output = tmp_path / "out"
    monkeypatch.setattr(writer, "write_shard", lambda *_: run(input=table, output=output))
    with pytest.raises(UserError, match="Another build is writing into"):
        run(input=table, output=output)


def test_strict_and_nothing_readable(table, tmp_path):
    with pytest.raises(UserError, match="1 rows could not be read") as caught:
        run(input=table, output=tmp_path / "out", strict=True)
    assert caught.value.exit_code == 1
    assert load_info(tmp_path / "out").splits["train"]["clips"] == 8  # built all the same
    broken = tmp_path / "broken.csv"
    broken.write_text("video,label\nbroken.mp4,x\n")
    with pytest.raises(UserError, match="Not one of 1 rows could be read"):
        run(input=broken, output=tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0}, "--quality of 1 to 100, received 0"),
        ({"fps": 0}, "--fps"),
        ({"margin": -1}, "--margin of at least 0"),
        ({"source": "films"}, "--source among .*csv"),
        ({"output": ""}, "--output"),
        ({"input": ""}, "--input to name a csv file"),
        ({"input": "ftp://host/clips.csv"}, "--input to begin with s3://.*received ftp://host"),
        ({"output": "https://host/out"}, "--output where files can be written"),
        ({"filler": "https://host/net"}, "--filler where folders can be listed, received https"),
        (
            {"source": "jhmdb", "input": "s3://bucket/jhmdb"},
            r"--input on this machine for --source=jhmdb \(remote: csv\)",
        ),
        ({"runner": "spark"}, "--runner among local, beam, received spark"),
        ({"margin": "inf"}, "--margin of at least 0, received inf"),
    ],
)
def test_wrong_flags(table, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        run(**{"input": table, "output": tmp_path / "out", **options})


def test_conjugate_pairs(shared_data, tmp_path):
    given = "video,label,conjugate_video\n" + "".join(
        f"{name}_action.mp4,{name},{name}_{side}.mp4\n"
        for name in ("golf", "shoot_bow")
        for side in ("before", "after")
    )
    (tmp_path / "given.csv").write_text(given)
    root = shared_data / "conjugate_pairs"
    run(input=tmp_path / "given.csv", data_root=root, output=tmp_path / "given")
    assert load_info(tmp_path / "given").splits["train"]["pairs"] == 4

    name = "Golf_Tips_-_Hit_The_Driver_300+_Yards!!!_golf_f_nm_np1_fr_med_0.avi"
    spans = f"video,label,start,end\n{name},golf,{29 / 30:.3f},{69 / 30:.3f}\n"
    (tmp_path / "spans.csv").write_text(spans)
    root = shared_data / "clips" / "hmdb51"
    run(input=tmp_path / "spans.csv", data_root=root, output=tmp_path / "spans")
    shard = tmp_path / "spans" / "train-00000-of-00001.tfrecord"
    pair = codec.decode(next(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator()))
    # 29 frames before, 20 after; the margin takes 15 of either: frames 0..13 are the conjugate.
    assert len(pair.clip) == 40 and len(pair.conjugate) == 14
    assert (pair.conjugate_start, pair.conjugate_end) == pytest.approx((0, 14 / 30), abs=1e-5)


@pytest.mark.slow
def test_odd_videos(shared_data, tmp_path):
    root = shared_data / "odd_videos"
    names = sorted(path.name for path in root.iterdir())
    path = tmp_path / "odd.csv"
    path.write_text("video,label,end\n" + "".join(f"{name},x,3\n" for name in names))
    options = {"input": path, "data_root": root, "output": tmp_path / "out", "short_side": 64}
    with pytest.raises(UserError, match="7 rows could not be read") as caught:
        run(**options, strict=True)
    assert caught.value.exit_code == 1
    counts = load_info(tmp_path / "out").splits["train"]
    assert (counts["clips"], counts["skipped"], len(names)) == (26, 7, 33)
    skipped = skipped_rows(tmp_path / "out")
    assert skipped.pop("text_named.mp4").startswith("not a video (")
    assert skipped.pop("truncated_no_moov.mp4").startswith("not a video (")
    assert skipped == {
        "gomp4_sample_init.encv.mp4": "no frame can be decoded",
        "moviepy_zero_bytes.webm": "the file is empty",
        "mp4parse_invalid_userdata.mp4": "no frame can be decoded",
        "tfio_audio_only.mp4": "it has no video stream",
        "zero_bytes.avi": "the file is empty",
    }
    run(**options)  # finished, and without --strict no failure


@pytest.mark.slow
def test_kill_9(shared_data, tmp_path):
    command = [*BUILD, "--source=jhmdb", "--num_shards=8"]
    lines = (shared_data / "jhmdb" / "index.csv").read_text().splitlines()[:41]
    for name in ("videos", "masks"):
        (tmp_path / name).symlink_to(shared_data / "jhmdb" / name)
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    command += [f"--input={tmp_path}", f"--data_root={shared_data / 'jhmdb'}"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, f"--output={whole}"], cwd=PROJECT, check=True)
    for _ in range(3):
        before = len(list(killed.glob("*.tfrecord")))
        process = subprocess.Popen([*command, f"--output={killed}"], cwd=PROJECT)
        while len(list(killed.glob("*.tfrecord"))) < before + 2 and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (killed / "dataset.json").exists()
    subprocess.run([*command, f"--output={killed}"], cwd=PROJECT, check=True)
    assert content(killed) == content(whole)


def test_what_was_left_out_is_tried_again(table, tmp_path, write_video, counted, capsys):
    output, options = tmp_path / "out", {"num_shards": 3, "conjugate": "frozen_frame"}
    run(input=table, output=output, **options)
    run(input=table, output=output, retry_skipped=True, **options)  # still broken: the same
    assert "broken.mp4" in skipped_rows(output)
    kept = [path for path in output.glob("*.tfrecord") if path.name[:11] != "train-00001"]
    finished = {path: path.stat().st_mtime_ns for path in kept}
    write_video(tmp_path / "broken.mp4", counted(60), fps=20)
    with pytest.raises(UsageError, match="from other rows or files"):
        run(input=table, output=output, **options)
    run(input=table, output=output, retry_skipped=True, **options)
    assert skipped_rows(output) == {} and load_info(output).splits["train"]["clips"] == 9
    assert {path: path.stat().st_mtime_ns for path in kept} == finished
    run(input=table, output=tmp_path / "anew", **options)
    assert content(output) == content(tmp_path / "anew")
    Path(table).write_text(Path(table).read_text() + "a.mkv,x,test,0,1\n")
    with pytest.raises(UsageError, match="from other rows or files"):
        run(input=table, output=output, retry_skipped=True, **options)


def test_trouble_of_the_machine_ends_a_build_that_goes_on(table, tmp_path, monkeypatch):
    run(input=table, output=tmp_path / "whole", num_shards=3)
    real, opened = av.open, []

    def exhausted(*arguments, **options):
        opened.append(arguments)
        if len(opened) > 6:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(*arguments, **options)

    monkeypatch.setattr(av, "open", exhausted)
    with pytest.raises(UserError, match="Too many open files: this is the machine's trouble") as e:
        run(input=table, output=tmp_path / "out", num_shards=3, workers=1)
    assert e.value.exit_code == 1 and not (tmp_path / "out" / "dataset.json").exists()
    monkeypatch.setattr(av, "open", real)
    run(input=table, output=tmp_path / "out", num_shards=3)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_an_unreadable_conjugate_is_named_and_costs_no_clip(tmp_path, write_video, counted, caplog):
    write_video(tmp_path / "a.mkv", counted(60), fps=20)
    (tmp_path / "t.csv").write_text(
        "video,label,start,end,conjugate_start,conjugate_end\na.mkv,x,0,1,9,10\na.mkv,y,0,1,1,2\n"
    )
    run(input=tmp_path / "t.csv", output=tmp_path / "out")
    counts = load_info(tmp_path / "out").splits["train"]
    assert (counts["clips"], counts["pairs"], counts["skipped"]) == (2, 1, 0)
    reason = skipped_rows(tmp_path / "out")["a.mkv"]
    assert reason == "no conjugate: a.mkv: no frame lies in the span [9, 10) s"
    assert "Warning: 1 conjugates are missing, see skipped.csv." in caplog.text


def test_suspicious_classes_are_said_once_before_and_kept(table, tmp_path, caplog):
    Path(table).write_text(Path(table).read_text() + "broken.mp4,z,train,,\na.mkv,x,val,0,1\n")
    run(input=table, output=tmp_path / "out")
    said = [line for line in caplog.messages if line.startswith("Warning: ")]
    val, z = (
        "the split 'val' looks like 'validation'",
        "no clip of the split 'train' has the label 'z'",
    )
    assert [val in said[1], z in said[2]] == [True, True] and len(said) == 3  # z: once it was read
    assert load_info(tmp_path / "out").warnings == [said[2], said[1]]
