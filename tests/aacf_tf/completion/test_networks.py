"""The networks have the layers of the paper's tables; what fills the holes before they look."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.completion import networks
from aacf_tf.completion.networks import REACH, STRIDE, Completer, build_discriminators

# Of the paper's table of the completion network: kernel, dilation, stride, outputs. A stride of
# 0.5 is that of a transposed convolution.
COMPLETION = [
    (5, 1, 1, 64),
    (3, 1, 2, 128),
    (3, 1, 1, 128),
    (3, 1, 2, 256),
    (3, 1, 1, 256),
    (3, 1, 1, 256),
    (3, 2, 1, 256),
    (3, 4, 1, 256),
    (3, 8, 1, 256),
    (3, 16, 1, 256),
    (3, 1, 1, 256),
    (3, 1, 1, 256),
    (4, 1, 0.5, 128),
    (3, 1, 1, 128),
    (4, 1, 0.5, 64),
    (3, 1, 1, 32),
    (3, 1, 1, 3),
]


def convolutions(model):
    for layer in model.layers:
        layer = getattr(layer, "layer", layer)  # that a spectral normalisation wraps
        if isinstance(layer, keras.layers.Conv2DTranspose):
            yield layer.kernel_size[0], 1, 1 / layer.strides[0], layer.filters
        elif isinstance(layer, keras.layers.Conv2D):
            yield layer.kernel_size[0], layer.dilation_rate[0], layer.strides[0], layer.filters


@pytest.fixture(scope="module")
def narrow():
    return Completer(2, "diffused", 64, (0.5, 0.5, 0.5))


def test_completion_network_is_that_of_the_paper():
    completer = Completer(64, "mean", 256, (0.2, 0.4, 0.6))
    assert list(convolutions(completer.network)) == COMPLETION
    kinds = [type(layer).__name__ for layer in completer.network.layers]
    assert kinds.count("BatchNormalization") == kinds.count("ReLU") == 16
    image = tf.ones([1, 8, 12, 3])
    mask = tf.pad(tf.ones([1, 2, 2, 1]), [[0, 0], [2, 4], [4, 6], [0, 0]])
    seen = completer.fill(image, mask)
    np.testing.assert_allclose(seen[0, 2:4, 4:6], np.tile([0.2, 0.4, 0.6], (2, 2, 1)), rtol=1e-6)
    assert seen.numpy().sum() == pytest.approx(3 * 8 * 12 - 4 * (3 - 1.2), rel=1e-6)
    painted = completer(image, mask).numpy()
    assert painted.shape == (1, 8, 12, 3)
    assert painted.min() > 0 and painted.max() < 1


@pytest.mark.parametrize("spectral", [False, True])
def test_discriminators_are_those_of_the_paper(spectral):
    model = build_discriminators(64, 256, spectral)
    both = sorted(outputs for kernel, _, stride, outputs in convolutions(model))
    assert both == sorted([64, 128, 256, 512, 512, 512, 64, 128, 256, 512, 512])
    assert {values[:3] for values in convolutions(model)} == {(5, 1, 2)}
    dense = [getattr(layer, "layer", layer) for layer in model.layers]
    dense = [layer for layer in dense if isinstance(layer, keras.layers.Dense)]
    shapes = [tuple(layer.kernel.shape) for layer in dense]
    assert shapes == [(4 * 4 * 512, 1024), (4 * 4 * 512, 1024), (2048, 1)]
    normalised = any("BatchNormalization" in type(layer).__name__ for layer in model.layers)
    assert normalised != spectral


def test_spectral_norms_come_to_1(rng):
    model = build_discriminators(4, 16, spectral=True)
    inputs = [rng.uniform(size=(2, side, side, 3)).astype(np.float32) for side in (16, 8)]
    before = [layer.get_weights()[0] for layer in model.layers if layer.weights]
    for _ in range(30):
        model(inputs, training=True)
    for layer in model.layers:
        if layer.weights:
            kernel = layer.layer.kernel.numpy()
            largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]))[1][0]
            assert largest == pytest.approx(1, abs=0.05), layer.name
    norms = [np.linalg.svd(k.reshape(-1, k.shape[-1]))[1][0] for k in before]
    assert max(norms) > 1.2  # it was not so from the start


def test_nothing_beyond_the_reach_changes_a_pixel(narrow, rng):
    """Without what fills the hole first: that looks as far as the hole is wide."""
    side = 2 * REACH + 24
    for layer in narrow.network.layers:  # the last one begins with adding nothing
        for weight in layer.weights[:1]:
            weight.assign(rng.uniform(0.1, 0.2, weight.shape))
    inputs = tf.Variable(rng.uniform(size=(1, side, side, 4)).astype(np.float32))
    middle = side // 2
    reached = []
    for offset in range(STRIDE):  # the network looks about in cells: not all pixels are alike
        with tf.GradientTape() as tape:
            pixel = tf.reduce_sum(narrow.network(inputs)[0, middle + offset, middle + offset])
        rows = np.nonzero(np.abs(tape.gradient(pixel, inputs)[0]).sum((1, 2)))[0]
        reached += [rows[0] - (middle + offset), rows[-1] - (middle + offset)]
    assert REACH - STRIDE < max(np.abs(reached)) <= REACH


def test_an_untrained_one_adds_nothing_to_the_diffusion(rng):
    completer = Completer(2, "diffused", 16, (0.5, 0.5, 0.5))
    image = tf.constant(rng.uniform(size=(1, 16, 16, 3)).astype(np.float32))
    mask = np.zeros((1, 16, 16, 1), np.float32)
    mask[:, 3:9, 4:12] = 1
    np.testing.assert_array_equal(completer(image, mask), completer.fill(image, mask))


def test_halve_by_hand():
    image = tf.reshape(tf.constant([[1.0, 3.0, 5.0], [9.0, 7.0, 2.0]]), [1, 2, 3, 1])
    known = tf.reshape(tf.constant([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), [1, 2, 3, 1])
    half, there = networks.halve(image, known)
    assert half.numpy().tolist() == [[[[pytest.approx(11 / 3)], [0.0]]]]
    assert there.numpy().tolist() == [[[[1.0], [0.0]]]]


def test_diffusion(rng):
    colour = (0.1, 0.2, 0.3)
    known = np.ones((1, 37, 50, 1), np.float32)
    known[:, 5:20, 30:50] = known[:, 30:, :9] = 0  # both at a border
    flat = np.full((1, 37, 50, 3), 0.7, np.float32) * known
    np.testing.assert_allclose(networks.diffuse(flat, known, 5, colour), 0.7, atol=1e-5)
    noise = rng.uniform(size=flat.shape).astype(np.float32)
    filled = networks.diffuse(noise, known, 5, colour).numpy()
    kept = np.broadcast_to(known > 0, filled.shape)
    np.testing.assert_array_equal(filled[kept], noise[kept])
    # Between a dark and a bright side it rises evenly, as the harmonic solution does.
    across = np.tile(np.linspace(0, 1, 48, dtype=np.float32)[:, None], (1, 48, 1, 3))
    strip = np.ones((1, 48, 48, 1), np.float32)
    strip[:, :, 16:32] = 0
    assert np.abs(networks.diffuse(across, strip, 6, colour) - across).max() < 0.03
    nothing = networks.diffuse(noise, np.zeros_like(known), 5, colour)
    np.testing.assert_allclose(nothing, np.broadcast_to(colour, noise.shape), rtol=1e-5)
