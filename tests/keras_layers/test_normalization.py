"""Batch normalization by the fused kernel equals Keras's own in five dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow import keras

from keras_layers import BatchNormalization3D


def test_contract(check_layer, rng):
    inputs = rng.normal(size=(2, 3, 4, 4, 5)).astype(np.float32)
    check_layer(BatchNormalization3D, {"momentum": 0.8}, inputs, "bfloat16")


@pytest.mark.parametrize("training", [True, False])
def test_equals_keras(rng, training):
    x = rng.normal(3.0, 2.0, size=(2, 3, 5, 4, 6)).astype(np.float32)
    ours, theirs = BatchNormalization3D(momentum=0.7), keras.layers.BatchNormalization(momentum=0.7)
    for layer in (ours, theirs):
        layer.build((None, None, None, None, 6))
    weights = [rng.uniform(0.5, 2.0, size=6).astype(np.float32) for _ in range(4)]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    np.testing.assert_allclose(ours(x, training=training), theirs(x, training=training), atol=1e-4)
    np.testing.assert_allclose(ours.get_weights()[2], theirs.get_weights()[2], rtol=1e-4)
    # The fused kernel takes the unbiased variance for its moving average.
    np.testing.assert_allclose(ours.get_weights()[3], theirs.get_weights()[3], rtol=2e-2)


def test_other_ranks_are_refused():
    layer = BatchNormalization3D()
    layer.build((None, None, None, None, 6))
    with pytest.raises(ValueError, match="expected ndim=5"):
        layer(np.zeros((2, 4, 4, 6), np.float32))
