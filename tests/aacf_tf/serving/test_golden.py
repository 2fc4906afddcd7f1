"""An export of version 0.1 answers as it did when it was made, by every signature.

`python tests/aacf_tf/serving/test_golden.py` makes a new one, after a change that is meant.
"""

from __future__ import annotations

import dataclasses
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

GOLDEN = Path(__file__).parent / "golden"
MODEL, ANSWERS = GOLDEN / "model.tar.xz", GOLDEN / "answers.npz"


def requests():
    """The inputs of every signature: a clip of PNG files, its pixels, and a record."""
    from tfrecords import ClipPair
    from tfrecords.records import codec

    clips = np.random.default_rng(0).integers(0, 256, [1, 4, 24, 24, 3], np.uint8)
    record = codec.encode(ClipPair("x", clips[0], None, ()), {}, image_format="PNG")
    return {
        "serving_default": {"frames": [[tf.io.encode_png(frame).numpy() for frame in clips[0]]]},
        "serve_tensor": {"frames": clips},
        "serve_resized": {"frames": clips},
        "serve_examples": {"examples": [record]},
        "features": {"frames": clips},
    }


def answers(version):
    signatures = tf.saved_model.load(str(version)).signatures
    given = requests()
    assert given.keys() == signatures.keys()
    return {
        f"{name}/{key}": value.numpy()
        for name, inputs in given.items()
        for key, value in signatures[name](**{k: tf.constant(v) for k, v in inputs.items()}).items()
    }


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(MODEL) as archive:
        archive.extractall(folder)
    return folder


def test_it_answers_as_it_did(versions):
    found = answers(versions / "1")
    with np.load(ANSWERS) as expected:
        assert found.keys() == {*expected}
        for name, value in expected.items():
            scale = max(1.0, np.abs(value).max())
            np.testing.assert_allclose(found[name], value, atol=1e-5 * scale, err_msg=name)


def test_it_loads_in_this_version(versions):
    from aacf_tf import load
    from tfrecords.media.video import Video

    model = load(versions)
    clip = Video(requests()["serve_tensor"]["frames"][0], 10.0, np.arange(4) / 10)
    with np.load(ANSWERS) as expected:
        wanted = expected["serve_tensor/probabilities"][0]
    found = [*model.predict_clip(clip).probabilities.values()]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def make() -> None:
    import aacf_tf
    from aacf_tf.recipes import load_recipe
    from aacf_tf.serving.export import export

    recipe = load_recipe("demo")
    data = dataclasses.replace(recipe.data, frames=4, height=24, width=24, fps=0.0)
    recipe = dataclasses.replace(recipe, data=data, backbone_options={"width": 12}, hidden=4)
    tf.keras.utils.set_random_seed(0)
    model = aacf_tf.build_model(recipe, 3)
    for variable in model.head.trainable_variables:
        variable.assign(tf.random.normal(variable.shape, stddev=0.5))
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        version = export(model, recipe, ["jump", "spin", "wave"], Path(folder))
        np.savez_compressed(ANSWERS, **answers(version))
        with tarfile.open(MODEL, "w:xz") as archive:
            archive.add(version, "1")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    make()
