"""A run takes weights over from an earlier one; sample weights by class."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.models.factory import build_model, make_backbone
from aacf_tf.models.heads import make_head
from aacf_tf.runs.checkpoints import parts
from aacf_tf.runs.run import Run
from aacf_tf.weights import load_stream_weights
from aacf_tf.weights.own_runs import load_attention
from tfrecords import ClipPair, write_dataset
from tfrecords.utils.errors import UsageError


def test_the_attention_of_a_run_without_its_classifiers(tiny_recipe, tmp_path):
    old, new = build_model(tiny_recipe, 2), build_model(tiny_recipe, 5)
    rng = np.random.default_rng(0)
    for variable in old.head.variables:
        variable.assign(rng.normal(size=variable.shape).astype("float32"))
    path = tf.train.Checkpoint(**parts(old)).write(str(tmp_path / "run"))
    classifiers = [v.numpy() for v in new.head.action_classifier.variables]
    told = load_attention(new.head, path)
    assert told == f"head     factorization from {path}; the classifiers are new, for 5 classes"
    for ours, theirs in zip(new.head.factorization.variables, old.head.factorization.variables):
        np.testing.assert_array_equal(ours, theirs)
    for before, after in zip(classifiers, new.head.action_classifier.variables):
        np.testing.assert_array_equal(before, after)

    wider = build_model(dataclasses.replace(tiny_recipe, hidden=9), 2)
    before = wider.head.get_weights()
    assert "new: " in load_attention(wider.head, path)
    for one, other in zip(before, wider.head.get_weights()):
        np.testing.assert_array_equal(one, other)
    average = build_model(dataclasses.replace(tiny_recipe, head="average"), 2)
    assert load_attention(average.head, path) == load_attention(new.head, "") == ""


def test_each_stream_begins_with_a_file_of_its_own(tiny_recipe, tmp_path):
    streams = {}
    for name in ("rgb", "flow"):
        streams[name] = make_backbone(dataclasses.replace(tiny_recipe, modality=name))
        streams[name].save_weights(tmp_path / f"{name}.weights.h5")
    joint = make_backbone(dataclasses.replace(tiny_recipe, modality="two_stream"))
    paths = ",".join(str(tmp_path / f"{name}.weights.h5") for name in ("rgb", "flow"))
    assert "rgb: " in load_stream_weights(joint, paths)
    for name, stream in streams.items():
        taken = joint.get_layer(f"{name}_small").get_weights()
        for one, other in zip(stream.get_weights(), taken):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(UsageError, match="expected a file of RGB and one of flow"):
        load_stream_weights(joint, paths + ",more")


def test_balanced_classes_weigh_the_same(tiny_recipe, tmp_path):
    clip = np.zeros((6, 24, 24, 3), np.uint8)
    labels = [("a",), ("a",), ("a",), ("b",), ()]
    pairs = [ClipPair(f"{n}", clip, None, label, 6.0) for n, label in enumerate(labels)]
    write_dataset(tmp_path / "data", {"train": pairs, "test": pairs}, ["a", "b"], num_shards=2)
    data = dataclasses.replace(tiny_recipe.data, class_weights="balanced")
    stage = dataclasses.replace(tiny_recipe.stages[0], batch_size=5)
    recipe = dataclasses.replace(tiny_recipe, data=data, stages=(stage,))
    run = Run.open(recipe, tmp_path / "data", tmp_path)
    assert run.class_weights == [4 / 6, 4 / 2]  # three clips weigh 2 in all, and so does one
    for training in (True, False):
        _, targets, weights = next(iter(run.batches("train", stage, training=training)))
        expected = {0: 4 / 6, 1: 2.0, 2: 0.01} if training else {0: 1.0, 1: 1.0, 2: 0.01}
        np.testing.assert_allclose(weights, [expected[int(t)] for t in targets], rtol=1e-6)
    plain = dataclasses.replace(run, recipe=tiny_recipe)
    assert plain.class_weights is None


def test_packaged_weights_hold_no_attention():
    assert load_attention(make_head("aacf", 2, hidden=8), "imagenet") == ""
