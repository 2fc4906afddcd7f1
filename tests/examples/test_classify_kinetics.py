"""The example: its words are those of the published outputs, its numbers those of the networks."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from aacf_tf.backbones.networks.i3d import i3d
from aacf_tf.backbones.two_stream import CHANNELS, read_array
from examples import classify_kinetics
from tfrecords.media.video import Video
from tfrecords.utils.errors import UsageError

LABELS = ["abseiling", "air drumming", "zumba"]
SCOPES = {"rgb": "RGB/inception_i3d", "flow": "Flow/inception_i3d"}


def run(*arguments):
    values = classify_kinetics.define_flags(flags.FlagValues())
    values(["classify_kinetics", *arguments])
    classify_kinetics.main([], values)


def save_checkpoint(model, prefix, scope):
    """Writes a model's variables under the official names."""
    ends = {"kernel": "w", "bias": "b"}
    names = []
    for variable in model.weights:
        path, name = variable.name.split(":")[0].rsplit("/", 1)
        names.append(f"{scope}/{path}/{ends.get(name, name)}")
    values = [variable.numpy() for variable in model.weights]
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Folder with a clip, weights and labels; the flags of each stream, the logits of each."""
    folder, rng = tmp_path_factory.mktemp("sample"), np.random.default_rng(0)
    (folder / "labels.txt").write_text("\n".join([*LABELS, ""]))
    arguments, logits = {}, {}
    for stream, channels in CHANNELS.items():
        array = rng.uniform(-1, 1, (1, 9, 32, 32, channels)).astype(np.float32)
        np.save(folder / f"{stream}.npy", array)
        model = i3d(include_top=True, classes=len(LABELS), channels=channels)
        model.weights[-1].assign(rng.normal(0, 2, len(LABELS)))
        save_checkpoint(model, folder / stream, SCOPES[stream])
        arguments[stream] = [
            f"--{stream}_weights={folder / stream}",
            f"--{stream}={folder / stream}.npy",
        ]
        logits[stream] = model(read_array(folder / f"{stream}.npy", stream)).numpy()[0]
    return folder, arguments, logits


def test_words_and_digits():
    text = classify_kinetics.describe(np.array([60, -70, 60], np.float32), LABELS, top=2)
    assert text == (
        "Norm of logits: 110.000000\n"
        "\n"
        "Top classes and probabilities\n"
        "0.5 60.0 abseiling\n"
        "0.5 60.0 zumba"
    )


@pytest.mark.parametrize("stream", ["rgb", "flow", "joint"])
def test_published_outputs(stream, shared_data):
    published = json.loads((shared_data / "i3d/i3d_expected.json").read_text())
    published = published["expected"][f"out/imagenet_{stream}.txt"]
    labels = [f"class {n}" for n in range(400)]
    logits = np.zeros(400)
    for line in published["top20"]:
        labels[line["label_index"]] = line["label"]
        logits[line["label_index"]] = line["logit"]
    # What is not published: whatever gives the norm; too improbable, by less than 0.001.
    rest = published["norm_of_logits"] ** 2 - (logits**2).sum()
    logits[logits == 0] = -np.sqrt(rest / 380)
    lines = classify_kinetics.describe(logits.astype(np.float32), labels, top=20).splitlines()
    assert float(lines[0].removeprefix("Norm of logits: ")) == pytest.approx(
        published["norm_of_logits"], abs=2e-5
    )
    assert lines[1:3] == ["", "Top classes and probabilities"] and len(lines) == 23
    for line, expected in zip(lines[3:], published["top20"]):
        probability, logit, label = line.split(" ", 2)
        assert (logit, label) == (str(expected["logit"]), expected["label"])
        assert float(probability) == pytest.approx(expected["prob"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("streams", [("rgb",), ("flow",), ("rgb", "flow")])
def test_prediction_from_a_checkpoint_of_the_official_names(streams, sample, capsys):
    folder, arguments, logits = sample
    run(f"--labels={folder}/labels.txt", *(x for stream in streams for x in arguments[stream]))
    expected = sum(logits[stream] for stream in streams)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Norm of logits: ")
    assert float(lines[0].split()[-1]) == pytest.approx(np.linalg.norm(expected), rel=1e-4)
    rows = [line.split(" ", 2) for line in lines[3:]]
    order = np.argsort(-expected)
    assert [label for _, _, label in rows] == [LABELS[index] for index in order]
    np.testing.assert_allclose([float(x) for _, x, _ in rows], expected[order], rtol=1e-4)
    probabilities = [float(x) for x, _, _ in rows]
    np.testing.assert_allclose(probabilities, tf.nn.softmax(expected[order]), rtol=1e-4)


def test_a_video_is_prepared_as_the_sample_was(monkeypatch, rng):
    frames = rng.integers(0, 256, (3, 240, 320, 3), np.uint8)
    asked = []

    def read_frames(path, start, end, fps):
        asked.append((path, start, end, fps))
        return Video(frames, fps, np.arange(3) / fps)

    monkeypatch.setattr("tfrecords.media.video.read_frames", read_frames)
    pixels = classify_kinetics.read_video("a.avi", 1.0, 3.0)
    assert asked == [("a.avi", 1.0, 3.0, 25.0)]
    assert pixels.dtype == np.uint8 and pixels.shape == (1, 3, 224, 224, 3)
    expected = tf.image.resize(frames, (256, 341))[:, 16:240, 58:282]
    assert np.abs(pixels[0] - expected).max() <= 1.0


def test_a_real_video_gives_the_frames_of_the_sample(shared_data):
    path = shared_data / "i3d/v_CricketShot_g04_c01_rgb.gif"
    assert classify_kinetics.read_video(str(path)).shape == (1, 79, 224, 224, 3)


def test_as_many_labels_as_classes(sample, tmp_path):
    _, arguments, _ = sample
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    with pytest.raises(UsageError, match=r"The file has 3 classes.* The labels name 2 classes"):
        run(f"--labels={tmp_path}/labels.txt", *arguments["rgb"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--labels: expected a label map"),
        (["--labels=x"], "--rgb_weights, --flow_weights or both"),
        (["--labels=x", "--rgb_weights=w"], "expected --video or --rgb, received neither"),
        (["--labels=x", "--rgb_weights=w", "--video=v", "--rgb=r"], "one of --video and --rgb"),
        (["--labels=x", "--flow_weights=w", "--video=v"], "flow is not yet computed from a video"),
        (["--labels=x", "--rgb_weights=w", "--rgb=r", "--flow=f"], "--flow: .* --flow_weights"),
        (["--labels=x", "--flow_weights=w", "--flow=f", "--rgb=r"], "expected --rgb_weights"),
        (["--labels=x", "--rgb_weights=w", "--video=v", "--start=2", "--end=1"], "--end"),
        (["--labels=x", "--rgb_weights=w", "--rgb=r"], "--labels: expected a text file"),
    ],
)
def test_wrong_use_is_one_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        run(*arguments)


@pytest.mark.parametrize("text", ["", "one\n\ntwo\n"])
def test_an_empty_line_is_no_class(text, tmp_path):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(UsageError, match="one class a line, received an empty line"):
        classify_kinetics.read_labels(str(tmp_path / "labels.txt"))


def test_the_command_ends_with_2_and_starts_no_tensorflow():
    command = [sys.executable, "-X", "importtime", "-m", "examples.classify_kinetics"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("error: --labels: expected a label map")
    assert "tensorflow" not in result.stderr
