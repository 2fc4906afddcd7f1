"""Several views of a video in evaluation, and frames that differ in size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.evaluation import classification, localization, map_scores, predictions
from aacf_tf.evaluation.evaluate import evaluate
from aacf_tf.recipes import DataOptions
from aacf_tf.runs.run import Run
from tfrecords import ClipPair, write_dataset


class Brightness(tf.Module):
    """In the place of a model: two classes, by the mean of the pixels seen."""

    def __call__(self, inputs):
        mean = tf.reduce_mean(tf.cast(inputs["clip"], tf.float32), axis=[1, 2, 3, 4]) / 100
        return {"combined_scores": tf.stack([mean, tf.zeros_like(mean)], axis=-1)}


def test_scores_are_means_over_the_views(tiny_recipe, squares_data, tmp_path):
    # Two stretches of the six frames, four frames long: from frame 0 and from frame 2.
    data = dataclasses.replace(tiny_recipe.data, frames=4, test_clips=2)
    run = Run.open(dataclasses.replace(tiny_recipe, data=data), squares_data, tmp_path)
    model = run.build(run.recipe.stages[-1])
    bright = Brightness()

    def forward(inputs):
        outputs = {**model(inputs["clip"]), **bright(inputs)}
        return {name: value.numpy() for name, value in outputs.items()}

    outputs = predictions.predict_split(run, model, "test", forward)
    whole = dataclasses.replace(data, frames=6, test_clips=1)
    reader = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, data=whole))
    batches = reader.batches("test", run.recipe.stages[-1], training=False)
    clips = np.concatenate([inputs["clip"].numpy() for inputs, *_ in batches])
    assert clips.shape[1] == 6
    chances = [
        classification.to_probabilities(bright({"clip": part})["combined_scores"].numpy(), 2, False)
        for part in (clips[:, 0:4], clips[:, 2:6])
    ]
    np.testing.assert_allclose(outputs.scores["combined"], np.mean(chances, axis=0), rtol=1e-6)
    # The maps are those of the middle.
    middle = localization.normalize_map(model(clips[:, 1:5])["action_attention"])
    np.testing.assert_allclose(outputs.evidence, middle, rtol=1e-4)


def test_where_views_lie():
    def views(clips, crops):
        return predictions._views(DataOptions(test_clips=clips, test_crops=crops))

    assert views(1, 1) == []
    assert views(2, 1) == [(0.25, None, None), (0.75, None, None)]
    assert views(1, 3) == [(0.5, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, 1.0, 1.0)]
    assert len(set(views(4, 5))) == 20


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Images of two sizes, 24 x 24 and 24 x 36, with masks of their left third."""
    rng = np.random.default_rng(0)
    pairs = []
    for number, width in enumerate((24, 36, 24, 36, 36)):
        image = rng.integers(0, 255, (1, 24, width, 3), np.uint8)
        mask = np.zeros((1, 24, width), bool)
        mask[..., : width // 3] = True
        pairs.append(ClipPair(f"{number}", image, None, ("a",), 1.0, mask))
    directory = tmp_path_factory.mktemp("photographs") / "data"
    write_dataset(directory, {"train": pairs, "test": pairs}, ["a", "b"], num_shards=1)
    return directory


def test_whole_frames_of_several_sizes_are_judged(tiny_recipe, photographs, tmp_path):
    data = dataclasses.replace(tiny_recipe.data, frames=1, height=24, width=24, resize="whole")
    run = Run.open(dataclasses.replace(tiny_recipe, data=data), photographs, tmp_path)
    model = run.build(run.recipe.stages[-1])
    content = evaluate(run, model, "aacf", tmp_path)
    outputs = predictions.predict_split(run, model, "test", predictions.compile_forward(run, model))
    assert [clip.shape for clip in outputs.evidence] == [
        (1, 4, 4 if clip in (0, 2) else 6) for clip in range(5)
    ]
    place = content["splits"]["test"]["localization"]
    assert place["clips_with_mask"] == 5
    # Each clip's own, by hand: a third of 4 cells is 2 that are touched, of 6 it is 2.
    masses = [clip[..., :2].sum() for clip in outputs.evidence]
    assert place["action_mass"] == pytest.approx(np.mean(masses), rel=1e-5)
    assert place["mask_area"] == pytest.approx(np.mean([2 / 4, 2 / 6, 2 / 4, 2 / 6, 2 / 6]))
    # A photograph has no time.
    assert not any("time_share" in name or "frame_difference" in name for name in place)
    # The mean mask is the left third, 10 and 2 / 3 of 32 columns, and on each grid it is so again.
    prior = map_scores.mean_training_mask(run, (1, 4, 4), model.strides())
    assert prior.shape == (1, 32, 32)
    np.testing.assert_allclose(32 * prior[0, 5, :12] * 32 / 3, [*[1] * 10, 2 / 3, 0], rtol=1e-5)
    fitted = map_scores._fit_prior(prior, (1, 4, 4))
    np.testing.assert_allclose(4 * fitted[0, 2], [3 / 4, 1 / 4, 0, 0], rtol=1e-5)
    # Of 6 columns the third begins inside of the 11th of 32, and has a third of that.
    masses = [1, 1 - (1 / 3) * (2 / 3) / (32 / 3)]
    assert place["mean_mask_mass"] == pytest.approx((2 * masses[0] + 3 * masses[1]) / 5)
    assert place["mean_mask_pointing"] == 1
