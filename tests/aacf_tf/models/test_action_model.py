"""The model: loss weights, global means, decay, heads, the small backbone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf import build_model, recipes
from aacf_tf.backbones.networks.small import PixelsToPatches, small
from aacf_tf.models.losses import SWAP_TERMS, factorization_terms
from aacf_tf.recipes import FACTOR_TERMS
from tfrecords.utils.errors import UsageError


def randomize(model, rng):
    """Peaked maps and scores apart, so that no term is zero by chance."""
    for variable in model.head.trainable_variables:
        variable.assign(rng.normal(0, 3.0, variable.shape))
    return model


@pytest.fixture
def batch(rng):
    clips = rng.integers(0, 255, (2, 4, 6, 24, 24, 3)).astype(np.uint8)
    inputs = {
        "clip": tf.constant(clips[0]),
        "conjugate": tf.constant(clips[1]),
        "has_conjugate": tf.constant([True, True, False, True]),
    }
    return inputs, tf.constant([0, 1, 1, 0]), tf.constant([1.0, 1.0, 0.5, 1.0])


def test_loss_is_the_weighted_mean_of_the_terms(tiny_recipe, batch, rng):
    model = randomize(build_model(tiny_recipe, 2, steps=0), rng)
    model.weight_decay = 0.0
    inputs, y, weights = batch
    outputs = model(inputs, training=False)
    loss = float(model.compute_loss(inputs, y, outputs, weights))
    terms = factorization_terms(
        outputs,
        outputs["conjugate"],
        y,
        has_conjugate=inputs["has_conjugate"],
        has_action=tf.constant([True] * 4),
    )
    assert set(terms) == {*FACTOR_TERMS, *SWAP_TERMS}
    expected = sum(
        tiny_recipe.loss.weights()[name] * float(tf.reduce_sum(weights * terms[name])) / 3.5
        for name in FACTOR_TERMS
    )
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", FACTOR_TERMS)
def test_a_weight_of_zero_leaves_its_term_out(tiny_recipe, batch, name, rng):
    recipe = recipes.override(tiny_recipe, f"loss.{name}", 0)
    inputs, y, weights = batch
    full, without = randomize(build_model(tiny_recipe, 2), rng), build_model(recipe, 2)
    outputs = full(inputs, training=False)
    term = factorization_terms(
        outputs,
        outputs["conjugate"],
        y,
        has_conjugate=inputs["has_conjugate"],
        has_action=tf.constant([True] * 4),
    )[name]
    share = tiny_recipe.loss.weights()[name] * float(tf.reduce_sum(weights * term)) / 3.5
    assert share > 1e-3
    full.weight_decay = without.weight_decay = 0.0
    losses = [float(m.compute_loss(inputs, y, outputs, weights)) for m in (full, without)]
    assert losses[0] - losses[1] == pytest.approx(share, rel=1e-3)
    assert name not in without.trackers


def test_only_pair_losses_act_at_first(tiny_recipe, batch):
    model = build_model(tiny_recipe, 2, steps=10)
    assert model.pairs_first_steps == 5
    model.compile(optimizer=keras.optimizers.Adam())
    assert float(model._current_weights()["combined"]) == 0
    assert float(model._current_weights()["difference"]) == 1
    model.optimizer.iterations.assign(5)
    assert float(model._current_weights()["combined"]) == 1


def test_decay_is_half_the_square_of_the_kernels(tiny_recipe, batch):
    model = build_model(tiny_recipe, 2)
    inputs, y, weights = batch
    outputs = model(inputs, training=False)
    model.weight_decay = 0.0
    plain = float(model.compute_loss(inputs, y, outputs, weights))
    model.weight_decay = 0.5
    kernels = [v.numpy() for v in model.trainable_variables if "kernel" in v.name]
    others = [v for v in model.trainable_variables if "kernel" not in v.name]
    assert kernels and others
    expected = 0.25 * sum(np.sum(kernel**2) for kernel in kernels)
    decayed = float(model.compute_loss(inputs, y, outputs, weights))
    assert decayed - plain == pytest.approx(expected, rel=1e-4)


def test_clip_and_conjugate_share_one_batch(tiny_recipe, batch):
    """Batch norm must see both: the clips' outputs then depend on the conjugates."""
    model = build_model(tiny_recipe, 2)
    inputs, _, _ = batch
    dark = {**inputs, "conjugate": tf.zeros_like(inputs["conjugate"])}
    together = model(inputs, training=True)["action_scores"]
    apart = model(dark, training=True)["action_scores"]
    assert np.abs(together - apart).max() > 1e-6
    np.testing.assert_allclose(
        model(inputs, training=False)["action_scores"],
        model(dark, training=False)["action_scores"],
        atol=1e-6,
    )


def test_training_starts_as_average_pooling(tiny_recipe, batch):
    model = build_model(tiny_recipe, 2)
    outputs = model(batch[0]["clip"], training=False)
    positions = np.prod(outputs["action_attention"].shape[1:])
    np.testing.assert_allclose(outputs["action_attention"], 1 / positions, rtol=0.2)


def test_a_frozen_backbone_is_in_inference_mode(tiny_recipe, batch):
    recipe = recipes.override(tiny_recipe, "stages.0.backbone_rate", 0)
    model = build_model(recipe, 2)
    before = [v.numpy() for v in model.backbone.variables]
    model.compile(optimizer=keras.optimizers.Adam(0.1))
    inputs, y, weights = batch
    model.fit(tf.data.Dataset.from_tensors((inputs, y, weights)), verbose=0)
    for old, new in zip(before, model.backbone.variables):
        np.testing.assert_array_equal(old, new.numpy())
    assert model.head.trainable_variables


def test_strides(tiny_recipe):
    assert build_model(tiny_recipe, 2).strides() == (2, 6, 6)
    jhmdb = recipes.override(recipes.load_recipe("jhmdb"), "backbone_options.width", 24)
    assert build_model(jhmdb, 2).strides() == (2, 8, 8)


@pytest.mark.parametrize("residual, grid", [(False, (6, 8, 8)), (True, (6, 6, 6))])
def test_small_backbone_shapes_and_size(residual, grid):
    backbone = small(width=192 if residual else 64, residual=residual)
    assert backbone.compute_output_shape((1, 12, 48, 48, 3))[1:4] == grid
    assert backbone(tf.zeros([1, 5, 31, 50, 3])).shape[-1] == (192 if residual else 64)
    weights = backbone.count_params()
    assert 0.9e6 < weights < 1.5e6 if residual else weights < 1e5


def test_patches_by_hand(rng):
    pixels = rng.integers(0, 255, (1, 2, 4, 5, 3)).astype(np.uint8)
    patches = PixelsToPatches(4, differences=True)(pixels)
    assert patches.shape == (1, 2, 1, 2, 16 * 6)
    scaled = (pixels.astype(np.float32) - 115.4) / 58.1
    cell = np.asarray(patches)[0, 1, 0, 0].reshape(4, 4, 6)
    np.testing.assert_allclose(cell[..., :3], scaled[0, 1, :4, :4], rtol=1e-5)
    motion = 2 * (scaled[0, 1] - scaled[0, 0])[:4, :4]
    np.testing.assert_allclose(cell[..., 3:], motion, rtol=1e-4, atol=1e-5)


def test_fit_with_the_reader_in_plain_keras(squares_data, tiny_recipe):
    from tfrecords import read_dataset

    model = build_model(tiny_recipe, 2)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    batches = read_dataset(squares_data, "train", frames=6, size=(24, 24), batch_size=4)
    history = model.fit(batches, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    assert set(FACTOR_TERMS) <= set(history)
    assert not {"swap_action", "background"} & set(history)


def test_clips_with_no_action_are_one_more_class(tiny_recipe, batch):
    model = build_model(tiny_recipe, 2, negatives=True)
    inputs, _, weights = batch
    outputs = model(inputs, training=False)
    assert outputs["action_scores"].shape == (4, 3)
    terms = model.loss_terms(inputs, tf.constant([0, 1, 1, 2]), outputs)
    assert terms["combined"][3] > 0 and terms["difference"][3] == 0 and terms["difference"][0] > 0
    assert np.isfinite(model.compute_loss(inputs, tf.constant([0, 1, 1, 2]), outputs, weights))


def test_multi_label_trains(tiny_recipe, batch):
    model = build_model(tiny_recipe, 2, multi_label=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    inputs, _, weights = batch
    y = tf.constant([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    terms = model.loss_terms(inputs, y, model(inputs, training=False))
    assert terms["context"][2] == 0 and terms["context"][0] > 0
    data = tf.data.Dataset.from_tensors((inputs, y, weights)).repeat(4)
    history = model.fit(data, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]


def test_without_pairs_the_combined_score_is_the_action_alone(tiny_recipe, batch, rng):
    model = randomize(build_model(tiny_recipe, 2, context_learns=False), rng)
    inputs, y, _ = batch
    outputs = model(inputs["clip"], training=False)
    np.testing.assert_array_equal(outputs["combined_scores"], outputs["action_scores"])
    terms = model.loss_terms({}, y, outputs)
    expected = tf.nn.sparse_softmax_cross_entropy_with_logits(y, outputs["action_scores"])
    np.testing.assert_allclose(terms["combined"], expected, rtol=1e-5)


def test_weights_of_zero_alone_are_no_nan(tiny_recipe, batch):
    model = build_model(tiny_recipe, 2)
    model.weight_decay = 0.0
    inputs, y, _ = batch
    assert float(model.compute_loss(inputs, y, model(inputs), tf.zeros([4]))) == 0.0


def test_options_of_a_backbone_are_named(tiny_recipe):
    recipe = recipes.override(tiny_recipe, "backbone_options.widht", 48)
    with pytest.raises(UsageError, match=r"expected one of width, residual.*received 'widht'"):
        build_model(recipe, 2)
    recipe = recipes.override(tiny_recipe, "backbone", "i3d")
    recipe = dataclasses.replace(recipe, backbone_options={"end_point": "Mixed_9z"})
    with pytest.raises(UsageError, match=r"^backbone_options: .*'Mixed_9z'. \(backbone 'i3d'\)$"):
        build_model(recipe, 2)


@pytest.mark.parametrize(
    "options, received",
    [({"channels": 2}, "of 2 channels"), ({"all_end_points": True}, "time3")],
)
def test_a_backbone_that_no_head_can_stand_on_is_refused(tiny_recipe, options, received):
    recipe = dataclasses.replace(tiny_recipe, backbone_options={"width": 12, **options})
    with pytest.raises(UsageError, match=f"backbone_options: expected .*received.*{received}"):
        build_model(recipe, 2)


@pytest.mark.parametrize("width, hidden", [(12, 32), (120, 40), (1200, 256)])
def test_the_attention_is_as_wide_as_the_features_ask_for(tiny_recipe, width, hidden):
    recipe = recipes.override(tiny_recipe, "backbone_options.width", width)
    model = build_model(dataclasses.replace(recipe, hidden=None), 2)
    assert model.head.hidden == hidden


def test_the_recipe_says_how_many_action_maps_there_are(tiny_recipe):
    model = build_model(dataclasses.replace(tiny_recipe, action_maps=3), 2)
    assert model.head.maps == model.head.factorization.attention.maps == 3
