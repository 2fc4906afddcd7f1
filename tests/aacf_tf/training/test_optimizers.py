"""Learning rates by hand, and the updates of the optimizers against those of Keras."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf import build_model, recipes
from aacf_tf.training import optimizers
from aacf_tf.training.optimizers import (
    Adam,
    WarmupCosine,
    WarmupMilestones,
    make_optimizer,
)


@pytest.mark.parametrize("rates", [{}, {"a:0": 0.25}])
def test_adam_is_that_of_keras(rates):
    draw = np.random.default_rng(0)
    start = draw.standard_normal([4, 3]).astype(np.float32)
    ours, theirs = tf.Variable(start, name="a"), tf.Variable(start, name="a")
    rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    adam, reference = Adam(rate), keras.optimizers.Adam(rate)
    adam.rates = rates
    adam.build([ours])
    reference.build([theirs])
    for _ in range(5):
        gradient = draw.standard_normal([4, 3]).astype(np.float32)
        before = ours.numpy(), theirs.numpy()
        adam.apply_gradients([(tf.constant(gradient), ours)])
        reference.apply_gradients([(tf.constant(gradient), theirs)])
        # The slots do not see the variable, so a rate scales each step.
        expected = before[0] + rates.get("a:0", 1.0) * (theirs.numpy() - before[1])
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_warmup_and_cosine_by_hand():
    rate = WarmupCosine(peak=2.0, steps=110, warmup=10)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [0.0, 1.0, 2.0], atol=1e-6)
    np.testing.assert_allclose([rate(60), rate(110)], [1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_the_backbone_has_its_own_rate(tiny_recipe, kind):
    stage = dataclasses.replace(
        tiny_recipe.stages[0], optimizer=kind, backbone_rate=0.25, warmup=0, weight_decay=0.0
    )
    steps = []
    for factor in (1.0, 0.25):
        keras.utils.set_random_seed(0)
        model = build_model(tiny_recipe, 2)
        changed = dataclasses.replace(stage, backbone_rate=factor)
        optimizer = make_optimizer(recipes.plan_stage(tiny_recipe, changed, 10), model)
        before = [v.numpy() for v in model.trainable_variables]
        gradients = [tf.ones_like(v) for v in model.trainable_variables]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        steps.append([v.numpy() - b for v, b in zip(model.trainable_variables, before)])
    inside = {v.name for v in model.backbone.trainable_variables}
    assert inside and len(inside) < len(model.trainable_variables)
    for variable, full, scaled in zip(model.trainable_variables, *steps):
        factor = 0.25 if variable.name in inside else 1.0
        np.testing.assert_allclose(scaled, factor * full, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_one_operation_a_variable_is_the_same_update(kind, rng):
    """Beside Keras's own, with its checkpoint; variables of one name go Keras's way."""
    values = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 2), (2,), (4,))]
    ends, keys = [], []
    for module, names in ((keras.optimizers, "abc"), (optimizers, "abc"), (optimizers, "aab")):
        variables = [tf.Variable(value, name=name) for value, name in zip(values, names)]
        optimizer = getattr(module, kind)(0.1)
        optimizer.build(variables)
        draw = np.random.default_rng(1)
        for _ in range(3):
            gradients = [draw.normal(size=v.shape).astype(np.float32) for v in variables]
            tf.function(optimizer.apply_gradients)(
                [(tf.constant(g), v) for g, v in zip(gradients, variables)]
            )
        ends.append([variable.numpy() for variable in variables])
        keys.append(len(optimizer.variables))
    for others in ends[1:]:
        for value, expected in zip(others, ends[0]):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert len(set(keys)) == 1


@pytest.mark.parametrize("kind", ["adamw", "sgdw"])
def test_decoupled_decay_spares_biases_and_norms(tiny_recipe, kind):
    stage = dataclasses.replace(
        tiny_recipe.stages[0], optimizer=kind, weight_decay=0.1, warmup=0, learning_rate=0.1
    )
    model = build_model(tiny_recipe, 2, stage=stage)
    assert model.weight_decay == 0  # none of it in the loss
    optimizer = make_optimizer(recipes.plan_stage(tiny_recipe, stage, 10), model)
    before = [v.numpy() for v in model.trainable_variables]
    gradients = [tf.zeros_like(v) for v in model.trainable_variables]
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    for variable, old in zip(model.trainable_variables, before):
        factor = 0.99 if "kernel" in variable.name else 1.0
        np.testing.assert_allclose(variable.numpy(), factor * old, rtol=1e-5, err_msg=variable.name)


def test_milestones():
    assert float(WarmupMilestones(2.0, [], warmup=0)(0)) == 2
    rate = WarmupMilestones(2.0, [(10, 0.5), (20, 0.1)], warmup=4)
    steps = {0: 0, 2: 1, 4: 2, 9: 2, 10: 1, 19: 1, 20: 0.2, 99: 0.2}
    for step, expected in steps.items():
        assert float(rate(step)) == pytest.approx(expected), step


def test_milestones_of_a_stage_are_shares_of_its_steps(tiny_recipe):
    shares = ((1 / 3, 0.1), (2 / 3, 0.01))
    stage = dataclasses.replace(tiny_recipe.stages[0], milestones=shares, warmup=0)
    # The step nearest to it: a third of 60 epochs of 7 steps is 139.99999999999997.
    plan = recipes.plan_stage(tiny_recipe, stage, 420)
    optimizer = make_optimizer(plan, build_model(tiny_recipe, 2))
    config = optimizer.get_config()["learning_rate"]["config"]
    assert config == {"peak": 4e-3, "milestones": [(140, 0.1), (280, 0.01)], "warmup": 0}


def test_the_backbone_starts_late(tiny_recipe):
    stage = dataclasses.replace(tiny_recipe.stages[0], backbone_start=0.5, warmup=0)
    model = build_model(tiny_recipe, 2, stage=stage)
    optimizer = make_optimizer(recipes.plan_stage(tiny_recipe, stage, 4), model)
    backbone, head = (part.trainable_variables[0] for part in (model.backbone, model.head))
    moved = []
    for _ in range(4):
        before = backbone.numpy(), head.numpy()
        gradients = [tf.ones_like(variable) for variable in model.trainable_variables]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        moved.append(
            tuple(bool(np.any(old != new.numpy())) for old, new in zip(before, (backbone, head)))
        )
    assert moved == [(False, True), (False, True), (True, True), (True, True)]
