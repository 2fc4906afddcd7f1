"""Optical flow alone, and two streams: from the batches to the served model."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf import load, recipes
from aacf_tf.evaluation import predictions
from aacf_tf.evaluation.evaluate import evaluate
from aacf_tf.report import clips
from aacf_tf.runs.run import Run
from aacf_tf.serving.export import export
from aacf_tf.serving.signatures import make_signatures
from aacf_tf.training import restoring
from tfrecords import ClipPair, read_dataset, write_dataset
from tfrecords.media import flow, pictures
from tfrecords.records import codec, names
from tfrecords.records.dataset import shard_paths
from tfrecords.utils.errors import UsageError


def test_the_modalities_of_recipes_are_those_of_the_reader():
    assert [*names.MODALITIES] == [*recipes.MODALITIES]


@pytest.fixture(scope="module")
def pairs():
    """Clips of noise with noise for flow, 6 frames of 24 x 24 pixels."""
    rng = np.random.default_rng(0)

    def noise(channels):
        return rng.integers(0, 255, (6, 24, 24, channels), np.uint8)

    return [
        ClipPair(
            f"{number}",
            noise(3),
            noise(3),
            ("ab"[number % 2],),
            6.0,
            flow=noise(2),
            conjugate_flow=noise(2),
        )
        for number in range(4)
    ]


@pytest.fixture(scope="module")
def flow_data(pairs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("flow") / "data"
    write_dataset(directory, {"train": pairs, "test": pairs}, ["a", "b"], num_shards=1)
    return directory


def opened(recipe, modality, data, workdir):
    """A run with a model whose weights are far from their start: all that it sees counts."""
    run = Run.open(dataclasses.replace(recipe, modality=modality), data, workdir)
    model = run.build(run.recipe.stages[-1])
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.2, variable.shape).astype("float32"))
    return run, model


def chances(model, inputs):
    scores = model(inputs)["action_scores"].numpy()
    return np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)


def test_each_stream_goes_on_with_its_own_weights(tiny_recipe, flow_data, tmp_path):
    """Their layers have the same names."""
    run, model = opened(tiny_recipe, "two_stream", flow_data, tmp_path)
    begun = restoring.begin_backbone(run, model.backbone)
    for before, after in zip(model.backbone.get_weights(), begun.get_weights()):
        np.testing.assert_array_equal(after, before)


@pytest.mark.slow
def test_flow_alone_is_judged_and_shown(tiny_recipe, flow_data, pairs, tmp_path):
    run, model = opened(tiny_recipe, "flow", flow_data, tmp_path)
    inputs, *_ = next(iter(run.batches("train", run.recipe.stages[-1], training=True)))
    assert inputs["clip"].shape == inputs["conjugate"].shape == (4, 6, 24, 24, 2)
    content = evaluate(run, model, "aacf", tmp_path)
    assert content["splits"]["test"]["clips"] == 4
    outputs = predictions.predict_split(run, model, "test", predictions.compile_forward(run, model))
    flows = np.stack([pair.flow for pair in pairs])
    np.testing.assert_allclose(
        outputs.scores["action"], chances(model, flows), rtol=1e-4, atol=1e-5
    )
    assert outputs.difference is None  # it sees no frame
    _, drawn = clips.draw(clips.load(run, "test", {"2"})["2"], model, run.recipe.data)
    shown = pictures.enlarge(flow.picture(pairs[2].flow)[0], 128)
    np.testing.assert_array_equal(drawn[:128, :128], shown)
    assert len(drawn) == 3 * 128 + 2 * 3


def test_two_streams_are_judged_and_served(tiny_recipe, flow_data, pairs, tmp_path):
    run, model = opened(tiny_recipe, "two_stream", flow_data, tmp_path)
    assert model.backbone.output_shape[-1] == 24  # 12 of each, side by side
    outputs = predictions.predict_split(run, model, "test", predictions.compile_forward(run, model))
    frames, flows = np.stack([p.clip for p in pairs]), np.stack([p.flow for p in pairs])
    expected = chances(model, {"clip": frames, "flow": flows})
    np.testing.assert_allclose(outputs.scores["action"], expected, rtol=1e-4, atol=1e-5)
    without = chances(model, {"clip": frames, "flow": np.full_like(flows, 128)})
    assert abs(expected - without).max() > 0.01

    version = export(model, run.recipe, ["a", "b"], tmp_path / "aacf")
    assert json.loads((version / "assets/model.json").read_text())["modality"] == "two_stream"
    signatures = tf.saved_model.load(str(version)).signatures

    def encoded(clips):
        return np.array([[tf.io.encode_png(image).numpy() for image in clip] for clip in clips])

    records = [
        record.numpy()
        for record in tf.data.TFRecordDataset(str(flow_data / "test-00000-of-00001.tfrecord"))
    ]
    answers = {
        "serve_tensor": {"frames": tf.constant(frames), "flow": tf.constant(flows)},
        "serving_default": {"frames": encoded(frames), "flow": encoded(flows)},
        "serve_examples": {"examples": tf.constant(records)},
    }
    for name, inputs in answers.items():
        inputs = {key: tf.constant(value) for key, value in inputs.items()}
        served = signatures[name](**inputs)["action_probabilities"]
        np.testing.assert_allclose(served, expected, rtol=1e-3, atol=1e-4)
    found = signatures["features"](frames=tf.constant(frames), flow=tf.constant(flows))
    np.testing.assert_allclose(
        found["features"], model.backbone({"rgb": frames, "flow": flows}), rtol=1e-3, atol=1e-3
    )
    with pytest.raises(UsageError, match=r"a model of RGB frames .* received one of two_stream"):
        load(tmp_path / "aacf")


def test_what_a_modality_needs_is_said(tiny_recipe, squares_data, tmp_path):
    run = Run.open(dataclasses.replace(tiny_recipe, modality="flow"), squares_data, tmp_path)
    with pytest.raises(UsageError, match="build it with --flow"):
        run.batches("train", run.recipe.stages[-1], training=True)
    densenet = recipes.override(tiny_recipe, "backbone", "densenet161")
    with pytest.raises(UsageError, match="expected rgb for the backbone densenet161"):
        recipes.check(dataclasses.replace(densenet, modality="flow"))


SERVED = [*itertools.product(["rgb", "two_stream"], ["stretch", "short_side", "whole"])]


@pytest.mark.parametrize(
    ("image_format", "modality", "resize"),
    [
        # JPEG and PNG in turn; each in its other half among the slow tests.
        pytest.param(picture, *case, marks=[pytest.mark.slow] * ((n + other) % 2))
        for n, case in enumerate(SERVED)
        for other, picture in enumerate(["JPEG", "PNG"])
    ],
)
def test_a_served_model_sees_the_pixels_of_the_reader(
    pairs, tmp_path, image_format, modality, resize
):
    """Bit for bit, of records at half their frame rate and brought to another size."""
    recipe = recipes.load_recipe("default")
    size = {"frames": 3, "height": 16, "width": 20, "fps": 3.0, "resize": resize}
    recipe = dataclasses.replace(
        recipe, modality=modality, data=dataclasses.replace(recipe.data, **size)
    )
    records = [codec.encode(pair, {"a": 0, "b": 1}, image_format=image_format) for pair in pairs]
    info = write_dataset(tmp_path / "data", {"test": pairs}, ["a", "b"], num_shards=1)
    (path,) = shard_paths(tmp_path / "data", info, "test")
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)

    def head(pixels, training):
        return {"combined_scores": tf.zeros([1, 3]), "action_attention": pixels}

    def backbone(pixels, training):
        return tf.concat([*pixels.values()], -1) if isinstance(pixels, dict) else pixels

    head.terms = ()
    serve = make_signatures(backbone, head, recipe, 2, False)["serve_examples"]
    batches = read_dataset(
        *(tmp_path / "data", "test", 3, (16, 20), 1, False),
        fps=3.0,
        resize=resize,
        modality=modality,
    )
    for record, (inputs, _, _) in zip(records, batches):
        wanted = [inputs[name] for name in ("clip", "flow") if name in inputs]
        served = serve({"examples": tf.constant([record])})["action_attention"]
        np.testing.assert_array_equal(served, tf.concat(wanted, -1))
