"""Dropout that a checkpoint can continue."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_layers import StatelessDropout


def test_contract(check_layer, rng):
    inputs = rng.normal(size=(2, 3, 5)).astype(np.float32)
    check_layer(StatelessDropout, {"rate": 0.5, "seed": 3}, inputs, "bfloat16")


def test_share_scale_and_inference():
    ones = np.ones((100, 100), np.float32)
    layer = StatelessDropout(0.4)
    dropped = layer(ones, training=True).numpy()
    assert set(np.round(np.unique(dropped), 4)) == {0.0, np.float32(1.6667)}
    assert abs((dropped == 0).mean() - 0.4) < 0.02
    np.testing.assert_array_equal(layer(ones), ones)
    assert layer.calls.numpy() == 1


def test_a_restored_layer_goes_on_where_the_first_stood(tmp_path):
    ones = np.ones((4, 50), np.float32)
    first, second = StatelessDropout(0.5, seed=7), StatelessDropout(0.5, seed=7)
    once = first(ones, training=True).numpy()
    path = tf.train.Checkpoint(layer=first).save(str(tmp_path / "ckpt"))
    twice = first(ones, training=True).numpy()
    assert (once != twice).any()
    second.build(ones.shape)
    tf.train.Checkpoint(layer=second).restore(path).assert_consumed()
    np.testing.assert_array_equal(second(ones, training=True), twice)
    other = StatelessDropout(0.5, seed=8)
    assert (other(ones, training=True).numpy() != once).any()


def test_wrong_rate():
    with pytest.raises(ValueError, match=r"Expected a rate in \[0, 1\). Received rate=1"):
        StatelessDropout(1.0)
