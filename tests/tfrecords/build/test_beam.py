"""A build by Apache Beam writes what the local build writes, and goes on where one stopped."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from tfrecords.build import command, shards
from tfrecords.records import codec
from tfrecords.sources import SourceOptions, open_source
from tfrecords.utils.errors import UsageError, UserError

BEAM = "needs apache-beam: pip install 'aacf-tf[beam]'"


def run(*arguments: str, **options) -> None:
    """The command, in this process; `arguments` are Beam's."""
    values = command.define_flags(flags.FlagValues())
    text = [f"--{name}={value}" for name, value in options.items()]
    rest = values(["build", *text, "--", *arguments])
    command.main(rest[1:], values)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def table(tmp_path, write_video, counted) -> Path:
    """Nine rows of train and two of test; row 5 is broken."""
    write_video(tmp_path / "a.mkv", counted(60), fps=20)
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    lines = ["video,label,split,start,end"]
    for n in range(9):
        name = "broken.mp4" if n == 4 else "a.mkv"
        lines.append(f"{name},{'xy'[n % 2]},train,{n * 0.3:.1f},{n * 0.3 + 0.2:.1f}")
    lines += ["a.mkv,x,test,2.8,3", "a.mkv,y,test,2.7,2.8"]
    path = tmp_path / "clips.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_same_bytes(table, tmp_path, caplog):
    pytest.importorskip("apache_beam", reason=BEAM)
    caplog.set_level("INFO")
    run(input=table, output=tmp_path / "local", num_shards=3)
    run(input=table, output=tmp_path / "beam", num_shards=3, runner="beam")
    assert content(tmp_path / "beam") == content(tmp_path / "local")
    assert "6 of 6 shards are to be written by Beam" in caplog.text


def test_a_completion_network_on_workers(tmp_path, write_video, counted, capsys):
    """It is loaded where it is needed; what is wrong with it ends the build in one sentence."""
    write_video(tmp_path / "a.mkv", counted(4), fps=20)
    np.savez(tmp_path / "a.npz", mask=np.eye(24, 32, dtype=bool)[None].repeat(4, axis=0))
    (tmp_path / "clips.csv").write_text("video,label,mask\na.mkv,x,a.npz\n")
    module = tf.Module()
    specs = [
        tf.TensorSpec((None, None, None, 3), tf.uint8, "image"),
        tf.TensorSpec((None, None, None), tf.uint8, "mask"),
    ]
    module.run = tf.function(lambda image, mask: {"image": 255 - image}, input_signature=specs)
    tf.saved_model.save(module, str(tmp_path / "model"), {"serving_default": module.run})
    options = {"input": tmp_path / "clips.csv", "filler": tmp_path / "model", "blend": "none"}
    options.update(stills=4, num_shards=2)
    run(**options, output=tmp_path / "local")
    shard = tmp_path / "local" / "train-00000-of-00002.tfrecord"
    data = next(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())
    pair = codec.decode(data)
    assert abs(int(pair.conjugate[pair.mask].mean()) - 255) < 3 and pair.clip.max() < 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"other of --filler cannot be loaded"):
        run(**{**options, "filler": tmp_path / "other"}, output=tmp_path / "none")
    pytest.importorskip("apache_beam", reason=BEAM)
    run(**options, output=tmp_path / "beam", runner="beam")
    assert content(tmp_path / "beam") == content(tmp_path / "local")
    # What a worker sees that has another network in that place.
    values = {"input": str(options["input"]), "filler": str(options["filler"]), "stills": 4}
    seen = [open_source("csv", SourceOptions(**values)).identity()]
    with (tmp_path / "model" / "saved_model.pb").open("ab") as file:
        file.write(b"more")
    seen.append(open_source("csv", SourceOptions(**values)).identity())
    assert seen[0] != seen[1]


def test_one_runner_goes_on_where_the_other_stopped(table, tmp_path, monkeypatch, caplog):
    pytest.importorskip("apache_beam", reason=BEAM)
    caplog.set_level("INFO")
    run(input=table, output=tmp_path / "whole", num_shards=3)
    output, real, done = tmp_path / "stopped", shards.write_one, []

    def stop_at_the_third(directory, shard, *rest):
        if len(done) == 2:
            raise RuntimeError("power failure")
        done.append(shard.name)
        real(directory, shard, *rest)

    monkeypatch.setattr(shards, "write_one", stop_at_the_third)
    with pytest.raises(RuntimeError):
        run(input=table, output=output, num_shards=3)
    monkeypatch.setattr(shards, "write_one", real)
    run(input=table, output=output, num_shards=3, runner="beam")
    assert "4 of 6 shards are to be written by Beam" in caplog.text
    assert content(output) == content(tmp_path / "whole")


def test_a_failed_pipeline_is_one_sentence(table, tmp_path, monkeypatch):
    beam = pytest.importorskip("tfrecords.build.beam", reason=BEAM)
    monkeypatch.setattr(beam.WriteShard, "setup", lambda self: 1 / 0)
    with pytest.raises(UserError, match=r"The Beam pipeline failed: .*division by zero") as caught:
        run(input=table, output=tmp_path / "out", runner="beam")
    assert "\n" not in str(caught.value)


def test_a_worker_that_sees_another_table_stops(table, tmp_path):
    beam = pytest.importorskip("tfrecords.build.beam", reason=BEAM)
    options = SourceOptions(input=str(table))
    opener = partial(open_source, "csv", options)
    writer = beam.WriteShard(opener, "another", str(tmp_path / "out"), 95, 1)
    with pytest.raises(UserError, match="A worker sees other rows or files"):
        writer.setup()


def test_flags_of_beam(table, tmp_path):
    with pytest.raises(UsageError, match=r"flags only .*received '--runner=FlinkRunner'"):
        run("--runner=FlinkRunner", input=table, output=tmp_path / "out")
    with pytest.raises(UsageError, match=r"flags only .*received 'FlinkRunner'"):
        run("FlinkRunner", input=table, output=tmp_path / "out", runner="beam")
    pytest.importorskip("apache_beam", reason=BEAM)
    with pytest.raises(UserError, match=r"Beam pipeline failed: .*NoSuchRunner"):
        run("--runner=NoSuchRunner", input=table, output=tmp_path / "out", runner="beam")


@pytest.mark.slow
def test_several_processes(table, tmp_path):
    pytest.importorskip("apache_beam", reason=BEAM)
    run(input=table, output=tmp_path / "local", num_shards=3)
    parallel = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    run(*parallel, input=table, output=tmp_path / "beam", num_shards=3, runner="beam")
    assert content(tmp_path / "beam") == content(tmp_path / "local")
