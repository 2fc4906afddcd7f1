"""Winograd's convolution equals the direct one, at every size and in double precision's terms."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from keras_layers import WinogradConv3D, winograd_kernel


def layer_of(kernel, bias):
    layer = WinogradConv3D(len(bias))
    layer.build((None, None, None, None, kernel.shape[3]))
    layer.set_weights([winograd_kernel(kernel), bias])
    return layer


def random_case(rng, shape, filters):
    kernel = rng.normal(size=(3, 3, 3, shape[-1], filters)).astype(np.float32)
    bias = rng.normal(size=filters).astype(np.float32)
    return rng.normal(size=shape).astype(np.float32), kernel, bias


def in_double(x, kernel, bias):
    """The convolution's sum, written out."""
    padded = np.pad(x.astype(np.float64), [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3), axis=(1, 2, 3))
    return np.einsum("bthwcijk,ijkcf->bthwf", windows, kernel.astype(np.float64)) + bias


def test_contract(check_layer, rng):
    inputs = rng.normal(size=(2, 3, 5, 6, 4)).astype(np.float32)
    check_layer(WinogradConv3D, {"filters": 5}, inputs, "float32")


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1, 1),
        (2, 3, 4, 4, 3),
        (1, 2, 7, 5, 4),
        (3, 5, 14, 9, 2),
        (2, 30, 33, 21, 2),  # 3240 rows: three steps, the last one not full
        (1, 2000, 5, 3, 1),  # more frames than rows in a step
    ],
)
def test_equals_the_direct_convolution(rng, shape):
    case = random_case(rng, shape, 6)
    expected = in_double(*case)
    found = layer_of(*case[1:])(case[0])
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


def test_one_layer_serves_all_sizes_in_a_graph(rng):
    _, kernel, bias = random_case(rng, (1, 1, 1, 1, 3), 4)
    layer = layer_of(kernel, bias)
    forward = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, None, 3])])
    for shape in ((1, 4, 6, 7, 3), (2, 1, 9, 4, 3), (0, 2, 8, 8, 3)):
        x = rng.normal(size=shape).astype(np.float32)
        found = forward(x)
        assert found.shape == (*shape[:-1], 4)
        np.testing.assert_allclose(found, in_double(x, kernel, bias), atol=1e-4)


def test_a_shape_that_is_known_stays_known():
    outputs = WinogradConv3D(4)(keras.Input((3, 6, 7, 2)))
    assert outputs.shape == (None, 3, 6, 7, 4)


def test_kernel_of_one_tap_by_hand():
    """The transform of a kernel that is 1 at its centre is the outer product of G's middle."""
    kernel = np.zeros((3, 3, 3, 1, 1))
    kernel[0, 1, 1] = 1
    middle = np.array([0, -1 / 6, 1 / 6, 1 / 12, -1 / 12, 0])
    found = winograd_kernel(kernel)
    assert found.shape == (36, 3, 1) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0, 0].reshape(6, 6), np.outer(middle, middle), rtol=1e-6)
    assert not found[:, 1:].any()


def test_other_ranks_are_refused():
    with pytest.raises(ValueError, match="expected ndim=5"):
        WinogradConv3D(2)(np.zeros((2, 4, 4, 6), np.float32))
