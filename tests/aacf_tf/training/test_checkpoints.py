"""Reasons to stop, and what is none."""

from __future__ import annotations

import math
import os
import signal
import time
from types import SimpleNamespace

import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.recipes import plan_stage
from aacf_tf.runs.termination import Stopped, Termination
from aacf_tf.training.finite import FiniteCheck
from aacf_tf.training.optimizers import SGD
from tfrecords.utils.errors import UserError

BEGINNING = SimpleNamespace(epochs_done=0, steps_done=0)


def test_sigterm_ends_at_once_what_loses_nothing():
    with Termination().active() as termination:
        with pytest.raises(Stopped), termination.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
            pytest.fail("it went on")
        with pytest.raises(Stopped), termination.at_once():  # it came before
            pytest.fail("it began")
        os.kill(os.getpid(), signal.SIGTERM)  # elsewhere a step is finished first
        assert termination.received


def test_a_broken_validation_does_not_blame_a_batch_of_training(tiny_recipe, tmp_path):
    run = SimpleNamespace(recipe=tiny_recipe, log_folder=lambda stage: tmp_path)
    check = FiniteCheck(run, plan_stage(tiny_recipe, tiny_recipe.stages[0]), BEGINNING)
    with pytest.raises(UserError, match=r"finite val_loss after epoch 1 .*, received nan, though"):
        check.on_epoch_end(0, {"loss": 1.0, "val_loss": math.nan})
    assert not any(tmp_path.iterdir())


def test_an_overflow_ends_a_run_where_the_loss_s_scale_cannot_fall(
    tiny_recipe, tmp_path, monkeypatch
):
    """Under mixed_float16, which Keras trains so; by hand, as no CPU has it."""
    run = SimpleNamespace(recipe=tiny_recipe, log_folder=lambda stage: tmp_path)
    check = FiniteCheck(run, plan_stage(tiny_recipe, tiny_recipe.stages[0]), BEGINNING)
    optimizer = keras.mixed_precision.LossScaleOptimizer(SGD(0.1), initial_scale=4.0)
    check.set_model(SimpleNamespace(optimizer=optimizer))
    seen = []
    monkeypatch.setattr(check, "_check", lambda values, step: seen.append(values))
    weight = tf.Variable(1.0)
    for gradient in (1.0, math.inf, math.inf):  # the scale: 4, 2, 1
        optimizer.apply_gradients([(tf.constant(gradient), weight)])
        check.on_train_batch_end(0, {"loss": 1.0})
    assert seen == [{"loss": 1.0}, {"loss": 1.0}, {"loss": 1.0, "gradient_norm": math.inf}]
    assert float(weight) == pytest.approx(0.9)
