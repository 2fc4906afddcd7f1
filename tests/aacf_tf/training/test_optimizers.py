"""The one-operation update of Adam against that of Keras."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.training.optimizers import Adam


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
