"""Any SavedModel as a classifier: one of another project, one of ours; the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from aacf_tf.bias import __main__ as command
from aacf_tf.bias.classifier import Options, open_classifier, scale
from tfrecords.utils.errors import UsageError

SHAPE = [2, 3, 6, 40, 48]  # channels first, and a batch of two


class Foreign(tf.Module):
    """The brightest channel of the rim, from pixels -1..1, channels first; logits."""

    @tf.function(input_signature=[tf.TensorSpec(SHAPE, tf.float32, name="video")])
    def classify(self, video):
        tf.debugging.assert_less_equal(tf.abs(video), 1.0)
        return {"logits": tf.reduce_mean(video[:, :, :, :4], axis=[2, 3, 4]), "other": video[:, 0]}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="image")])
    def see(self, image):
        tf.debugging.assert_greater(tf.reduce_max(image), 1.1)  # ImageNet's white is 2.2 and more
        rim = tf.reduce_mean(image[:, :4], axis=[1, 2])
        return {"probabilities": tf.nn.softmax(rim)}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.string, name="frames")])
    def encoded(self, frames):
        return {"probabilities": tf.ones([tf.shape(frames)[0], 3]) / 3}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    module, path = Foreign(), tmp_path_factory.mktemp("foreign") / "model"
    signatures = {
        "classify": module.classify,
        "see": module.see,
        "serving_default": module.encoded,
    }
    tf.saved_model.save(module, str(path), signatures)
    (path.parent / "labels.txt").write_text("red\ngreen\nblue\n")  # the channels' order
    return path


VIDEO = {"signature": "classify", "scaling": "-1..1"}


def test_another_layout_scaling_and_batch(foreign):
    classifier = open_classifier(str(foreign), Options(**VIDEO))
    assert classifier.clip["frames"] == 6 and classifier.clip["size"] == (40, 48)
    clips = np.random.default_rng(0).integers(0, 256, (5, 6, 40, 48, 3), np.uint8)
    expected = (clips[:, :, :4] / 127.5 - 1).mean((1, 2, 3))
    np.testing.assert_allclose(classifier(clips)["logits"], expected, atol=1e-5)
    assert "layout bcthw, pixels -1..1" in classifier.assumed[1]
    assert "every frame" in classifier.assumed[2] and "assumed" not in classifier.assumed[0]


def test_a_network_of_images_sees_each_frame(foreign):
    options = Options(signature="see", scaling="imagenet", height=40, width=48, frames=2)
    classifier = open_classifier(str(foreign), options)
    clips = np.random.default_rng(0).integers(0, 256, (3, 2, 40, 48, 3), np.uint8)
    rim = scale(clips, "imagenet")[:, :, :4].mean((2, 3))
    each = np.exp(rim) / np.exp(rim).sum(-1, keepdims=True)
    np.testing.assert_allclose(classifier(clips)["probabilities"], each.mean(1), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"serving_default .*takes encoded strings \(it has classify"),
        ({"signature": "predict"}, r"--signature: expected one of .*classify.*received predict"),
        ({**VIDEO, "input_name": "clip"}, r"--input_name: .*\(video\), received clip"),
        ({**VIDEO, "output_name": "scores"}, r"--output_name: .*\(logits\), received scores"),
        ({**VIDEO, "layout": "bthwc"}, r"--layout: expected .*\[2, 3, 6, 40, 48\]"),
        ({**VIDEO, "frames": 8}, r"--frames: expected the model's 6, received 8"),
        ({"signature": "see"}, "--height, --width: expected"),
        ({**VIDEO, "scaling": "uint8"}, r"pixels uint8; .*it answers: .*"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_one_sentence(foreign, options, message):
    with pytest.raises(UsageError, match=message):
        open_classifier(str(foreign), Options(**options))


def run(*arguments):
    values = command.define_flags(flags.FlagValues())
    values(["bias", *arguments])
    command.main([], values)


def test_the_command(foreign, coloured_data, tmp_path, capsys):
    labels = foreign.parent / "labels.txt"
    given = [f"--{name}={value}" for name, value in VIDEO.items()]
    output = tmp_path / "bias"
    run(
        f"--model={foreign}",
        f"--data={coloured_data}",
        f"--output={output}",
        f"--labels={labels}",
        "--clips=9",
        *given,
    )
    shown = capsys.readouterr().out
    assert "signature classify: video float32 [2, 3, 6, 40, 48] -> logits" in shown
    assert "and 100.0% take the scene's class" in shown
    content = json.loads((output / "bias.json").read_text(encoding="utf-8"))
    assert content["labels"] == ["red", "green", "blue"]
    assert content["sets"]["swap_other"]["scores"]["logits"]["share"] == 0
    assert content["model"]["path"] == str(foreign)
    page = (output / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 3 * len(content["sets"])
    assert "scene of " in page and "https://" not in page and 'src="data:' in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model: expected a SavedModel"),
        (["--model=x", "--data=d", "--output=o"], "--model: no such folder: 'x'"),
        (["--model=.", "--data=d", "--output=o"], "folder of a SavedModel, received '.'"),
        (["--model=.", "--data=d", "--output=o", "--frames=0"], "--frames: expected 1 or more"),
    ],
    ids=str,
)
def test_wrong_flags(arguments, message):
    with pytest.raises(UsageError, match=message):
        run(*arguments)


def test_a_model_of_this_project(exported, squares_data, tmp_path):
    _, directory, version = exported
    classifier = open_classifier(str(directory))
    assert classifier.folder == version
    assert classifier.clip["labels"] == ["jump", "spin", "wave"]
    assert classifier.clip["size"] == (48, 48) and classifier.clip["resize"] == "stretch"
    outputs = classifier(np.zeros((2, 8, 48, 48, 3), np.uint8))
    assert next(iter(outputs)) == "action"  # the score that it serves
    assert outputs["combined"].shape == (2, 3) and outputs["action_attention"].ndim == 4
    with pytest.raises(UsageError, match="without 'down' and 1 more"):
        run(f"--model={directory}", f"--data={squares_data}", f"--output={tmp_path / 'out'}")
