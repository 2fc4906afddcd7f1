"""The command that shows where a model looks."""

from __future__ import annotations

import csv
import dataclasses
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from aacf_tf import build_model, load, load_recipe
from aacf_tf.attend import __main__ as command
from aacf_tf.attend.overlay import write_video
from aacf_tf.serving.export import export
from aacf_tf.visualization import overlays
from tfrecords.media.video import Video
from tfrecords.utils.errors import UsageError, UserError

LABELS = ["down", "right"]
FRAMES, SIZE = 6, 24


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory):
    recipe = load_recipe("demo")
    recipe = dataclasses.replace(
        recipe,
        backbone_options={"width": 12},
        data=dataclasses.replace(recipe.data, frames=FRAMES, height=SIZE, width=SIZE, fps=0.0),
    )
    tf.random.set_seed(0)
    model = build_model(recipe, len(LABELS))
    for variable in model.head.trainable_variables:
        variable.assign(tf.random.normal(variable.shape, stddev=0.5))
    directory = tmp_path_factory.mktemp("export") / "aacf"
    export(model, recipe, LABELS, directory)
    return directory


@pytest.fixture(scope="module")
def predictor(model_directory):
    return load(model_directory)


def video(length, height=50, width=67, fps=25.0):
    frames = np.random.default_rng(0).integers(0, 256, [length, height, width, 3], dtype=np.uint8)
    return Video(frames, fps, np.arange(length) / fps)


def run(*arguments):
    values = command.define_flags(flags.FlagValues())
    values(["attend", *map(str, arguments)])
    command.main([], values)


def read(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_boxes_go_round_what_is_hot(predictor):
    heat = np.zeros([4, 4])
    assert overlays.find_boxes(predictor.spread(heat, (240, 240))) == []
    # Cells lie at pixels 4, 10, 16 and 22 of 24; halfway to the next one they are half as hot.
    heat[1, 1:3] = 1.0
    heat[3, 0] = 1.0  # and the corner at the lower left
    wide, corner = overlays.find_boxes(predictor.spread(heat, (240, 240)))
    np.testing.assert_allclose(wide, (75, 75, 195, 135), atol=1)
    np.testing.assert_allclose(corner, (0, 195, 75, 240), atol=1)


def test_an_overlay_has_the_length_size_and_rate_of_the_video(model_directory, tmp_path, capsys):
    clip = video(14)
    write_video(tmp_path / "in.mp4", (f[:, :66] for f in clip.frames), 30000 / 1001)
    output = tmp_path / "out.mp4"
    run(f"--model={model_directory}", f"--video={tmp_path / 'in.mp4'}", f"--output={output}")
    frames = read(output)
    assert len(frames) == 14 and frames[0].shape == (50, 66, 3)
    with av.open(str(output)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
    text = capsys.readouterr().out
    assert "means over 4 windows" in text and str(output) in text
    assert not list(tmp_path.glob("*.tmp"))


def test_a_folder_becomes_a_table(model_directory, tmp_path, caplog):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "more" / ".hidden").mkdir(parents=True)
    for name in ("a.mp4", "more/b.mp4", "more/.hidden/d.mp4"):
        write_video(folder / name, (f[:, :66] for f in video(8).frames), 25.0)
    (folder / "c.mp4").write_bytes(b"no video")
    run(f"--model={model_directory}", f"--input={folder}", f"--output={tmp_path / 'p.csv'}")
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == ["a.mp4", "more/b.mp4"]
    assert list(rows[0])[:4] == ["video", "predicted", "action_down", "action_right"]
    total = float(rows[0]["combined_down"]) + float(rows[0]["combined_right"])
    assert total == pytest.approx(1, abs=2e-6)
    assert "c.mp4 cannot be read" in caplog.text


def test_a_real_video(shared_data, model_directory, tmp_path):
    source = shared_data / "clips" / "kth" / "person01_boxing_d1_uncomp.avi"
    output = tmp_path / "boxing.mp4"
    run(f"--model={model_directory}", f"--video={source}", f"--output={output}", "--end=0.6")
    assert len(read(output)) == 15


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "--model"),
        (("--model=nowhere",), "nowhere"),
        (("--model=.",), "one of --image=FILE, --video=FILE and --input=FOLDER, received none"),
        (("--model=.", "--image=a", "--video=b"), "received --image and --video"),
        (("--model=.", "--image=none.jpg"), "--image: no such file: 'none.jpg'"),
        (("--model=.", "--video=none.mp4"), "none.mp4"),
        (("--model=.", "--input=none"), "none"),
        (("--model=.", "--input=.", "--output=x.mp4"), r"ends in \.csv"),
        (("--model=.", "--input=.", "--output=none/x.csv"), "folder that exists"),
        (("--model=.", "--input=.", "--output=/proc/x.csv"), "--output: .* cannot be written"),
        (("--model=.", "--input=.", "--output=full.csv"), "cannot be written: Is a directory"),
        (("--model=.", "--video=full.csv"), "received the folder 'full.csv': --input takes"),
        (("--model=.", "--input=.", "--start=nan"), "--start: expected 0 or more seconds"),
        (("--model=.", "--input=.", "--end=nan"), "--end: expected more than --start=0"),
        (("--model=.", "--input=.", "--start=2", "--end=1"), "--end"),
        (("--model=.", "--input=."), "Expected an exported model"),
        (("--model=.", "--input=.", "--timeline=t.csv"), "--timeline: expected with the file of a"),
        (
            ("--model=.", "--video=0", "--timeline=t.csv"),
            "received it with --video=0, which writes",
        ),
        (
            ("--model=.", "--video=a.mp4", "--timeline=t.txt"),
            r"ends in \.json or .*, received t.txt",
        ),
        (
            ("--model=.", "--video=a.mp4", "--timeline=no/t.csv"),
            "--timeline: .* folder that exists",
        ),
        (("--model=.", "--video=a.mp4", "--serve=80"), "--serve: expected with a camera"),
        (("--model=.", "--video=0", "--serve=99999"), "--serve: expected a port, 0 to 65535"),
        (("--model=.", "--video=0", "--start=1"), "--start: expected with a file only, received 1"),
        (
            ("--model=.", "--video=a.mp4", "--threshold=2"),
            "--threshold: expected 0 to 1, received 2",
        ),
        (("--model=.", "--video=a.mp4", "--threshold=nan"), "--threshold: expected 0 to 1"),
        (("--model=.", "--video=a.mp4", "--overlap=1"), "--overlap: expected 0 to 0.9, received 1"),
    ],
)
def test_wrong_use_is_one_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full.csv").mkdir()
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UserError, match=message):
        run(*arguments)


def test_a_model_of_videos_refuses_photographs(model_directory, predictor, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"a video for .* sees clips of 6 frames, received the im"):
        predictor.predict(path)
    with pytest.raises(UsageError, match=r"--image: expected a video for .* \(--video\), received"):
        run(f"--model={model_directory}", f"--image={path}")


def test_the_command_ends_with_2_and_no_stack_trace():
    command = [sys.executable, "-m", "aacf_tf.attend", "--model=nowhere", "--video=x.mp4"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "nowhere" in result.stderr
