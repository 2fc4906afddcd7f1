"""Converted models answer as the SavedModel does; each converter may be missing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf import build_model
from aacf_tf.recipes import load_recipe
from aacf_tf.serving.export import export
from benchmarks import conversions


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A version of the network of `jhmdb`, small: patches, differences, residual blocks."""
    recipe = load_recipe("jhmdb")
    data = dataclasses.replace(recipe.data, frames=4, height=18, width=24)
    options = {**recipe.backbone_options, "width": 12}
    recipe = dataclasses.replace(recipe, data=data, backbone_options=options, hidden=8)
    labels = ["a", "b", "c"]
    return export(build_model(recipe, 3), recipe, labels, tmp_path_factory.mktemp("export"))


@pytest.mark.parametrize("runtime", conversions.RUNTIMES)
def test_converted_for_any_batch_it_is_the_saved_model(runtime, tiny, tmp_path):
    if not conversions.is_installed(runtime):
        packages = " and ".join(conversions.RUNTIMES[runtime][0])
        pytest.skip(f"{runtime} needs {packages}: pip install -e '.[convert]'")
    _, suffix, convert, start = conversions.RUNTIMES[runtime]
    file = tmp_path / f"model{suffix}"
    convert(tiny, file)
    call = start(file, 1)
    signature = tf.saved_model.load(str(tiny)).signatures["serve_resized"]
    shape = signature.structured_input_signature[1]["frames"].shape[1:]
    for batch in (1, 5):
        clips = np.random.default_rng(0).integers(0, 256, [batch, *shape], np.uint8)
        expected = {name: value.numpy() for name, value in signature(frames=clips).items()}
        outputs = call(clips)
        assert outputs.keys() >= expected.keys()
        for name, value in expected.items():
            assert outputs[name].shape == value.shape
        assert conversions.largest_error(outputs, expected) < conversions.LIMIT


def test_errors_of_logits_are_relative():
    expected = {"probabilities": np.array([0.5]), "action_logits": np.array([-20.0, 1.0])}
    outputs = {"probabilities": np.array([0.5]), "action_logits": np.array([-20.0, 1.2])}
    assert conversions.largest_error(outputs, expected) == pytest.approx(0.01)
    outputs["probabilities"] += 0.02
    assert conversions.largest_error(outputs, expected) == pytest.approx(0.02)
