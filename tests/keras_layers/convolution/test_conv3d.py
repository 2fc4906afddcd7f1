"""The convolution of training against TensorFlow's own, and the faults of oneDNN it goes round."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from keras_layers import Conv3D, winograd_conv3d
from keras_layers.convolution.winograd_line import line_winograd_conv3d


def _gradients(convolve, inputs, kernel, upstream):
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = convolve(inputs, kernel)
    return outputs, *tape.gradient(outputs, [inputs, kernel], upstream)


def _direct(inputs, kernel):
    return tf.nn.conv3d(inputs, kernel, [1] * 5, "SAME")


@pytest.mark.parametrize(
    ("size", "taps", "channels", "filters"),
    [((3, 8, 8), 3, 5, 7), ((4, 9, 6), 3, 7, 5), ((1, 5, 7), 1, 4, 6), ((2, 3, 11), 1, 6, 4)],
)
def test_winograd_gives_the_convolution_and_its_gradients(size, taps, channels, filters):
    draw = np.random.default_rng(0)
    inputs = tf.constant(draw.standard_normal((2, *size, channels)), tf.float32)
    kernel = tf.constant(draw.standard_normal((taps, 3, 3, channels, filters)), tf.float32)
    upstream = tf.constant(draw.standard_normal((2, *size, filters)), tf.float32)
    expected = _gradients(_direct, inputs, kernel, upstream)
    unknown = tf.TensorSpec([None, *size, channels])  # as `fit` traces it
    traced = tf.function(
        lambda *arguments: _gradients(winograd_conv3d, *arguments),
        input_signature=[
            unknown,
            tf.TensorSpec(kernel.shape),
            tf.TensorSpec([None, *size, filters]),
        ],
    )
    for value, right in zip(traced(inputs, kernel, upstream), expected):
        scale = np.abs(right).max()
        np.testing.assert_allclose(value / scale, right / scale, atol=5e-5)


@pytest.mark.parametrize(
    ("size", "kernel_size", "tile"),
    [((6, 3, 4), (3, 1, 1), 6), ((12, 3, 2), (3, 1, 1), 6), ((2, 8, 5), (1, 3, 3), 4)],
)
@pytest.mark.parametrize("batch", [2, 0])
def test_winograd_along_a_line_gives_the_convolution_and_its_gradients(
    batch, size, kernel_size, tile
):
    draw = np.random.default_rng(0)
    inputs = tf.constant(draw.standard_normal((batch, *size, 7)), tf.float32)
    kernel = tf.constant(draw.standard_normal((*kernel_size, 7, 5)), tf.float32)
    upstream = tf.constant(draw.standard_normal((batch, *size, 5)), tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *size, 7]),  # as `fit` traces it
            tf.TensorSpec(kernel.shape),
            tf.TensorSpec([None, *size, 5]),
        ]
    )
    def traced(*arguments):
        return _gradients(lambda x, w: line_winograd_conv3d(x, w, tile), *arguments)

    found = traced(inputs, kernel, upstream)
    if batch == 0:
        assert [value.shape for value in found] == [upstream.shape, inputs.shape, kernel.shape]
        assert not found[2].numpy().any()
        return
    for value, right in zip(found, _gradients(_direct, inputs, kernel, upstream)):
        scale = np.abs(right).max()
        np.testing.assert_allclose(value / scale, right / scale, atol=1e-5)


def test_training_takes_winograd_along_a_line_where_it_pays(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "keras_layers.convolution.conv3d.line_winograd_conv3d",
        lambda x, k, tile: calls.append(tile) or _direct(x, k),
    )
    options = {"padding": "same", "use_bias": False}
    maps = tf.zeros([1, 6, 8, 3, 64])
    Conv3D(64, (3, 1, 1), **options)(maps, training=True)
    Conv3D(64, (1, 3, 3), **options)(maps, training=True)
    assert calls == [6, 4]
    Conv3D(64, (3, 1, 1), **options)(maps)  # inference
    Conv3D(8, (3, 1, 1), **options)(maps, training=True)  # narrow
    Conv3D(64, (3, 1, 1), **options)(maps[:, :5], training=True)  # other numbers of frames
    Conv3D(64, (1, 3, 3), **options)(maps[:, :, :7], training=True)  # and of rows
    Conv3D(64, (3, 1, 1), (2, 1, 1), **options)(maps, training=True)  # strided
    Conv3D(64, 3, **options)(maps, training=True)
    assert len(calls) == 2


def test_training_takes_winograd_where_it_pays(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "keras_layers.convolution.conv3d.winograd_conv3d",
        lambda x, k: calls.append(1) or _direct(x, k),
    )
    options = {"padding": "same", "use_bias": False}
    wide = tf.zeros([1, 2, 14, 14, 96])
    Conv3D(128, 3, **options)(wide, training=True)
    assert len(calls) == 1
    Conv3D(128, 3, **options)(wide)  # inference
    Conv3D(8, 3, **options)(wide, training=True)  # narrow
    Conv3D(128, 3, **options)(wide[:, :, :7, :7], training=True)  # small
    Conv3D(128, 3, 2, **options)(wide, training=True)  # strided
    Conv3D(128, 3, padding="same")(wide, training=True)  # with a bias
    Conv3D(128, 3, dtype="mixed_bfloat16", **options)(wide, training=True)
    assert len(calls) == 1


@pytest.mark.parametrize("frames", [5, 7])
def test_the_gradient_of_i3ds_first_layer_on_few_frames(frames):
    """On AVX-512 oneDNN corrupts memory or gives wrong numbers here."""
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((1, frames, 20, 20, 3)).astype(np.float32)
    layer = Conv3D(64, 7, 2, padding="same", use_bias=False)
    layer.build(inputs.shape)
    upstream = draw.standard_normal((1, -(-frames // 2), 10, 10, 64)).astype(np.float32)
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
    gradient = tape.gradient(outputs, layer.kernel, upstream)
    padded = np.pad(inputs, [(0, 0), (3, 3), (2, 3), (2, 3), (0, 0)]).astype(np.float64)
    expected = np.zeros((7, 7, 7, 3, 64))
    for t, y, x in np.ndindex(7, 7, 7):
        seen = padded[:, t : t + frames : 2, y : y + 19 : 2, x : x + 19 : 2]
        expected[t, y, x] = np.tensordot(seen, upstream, [[0, 1, 2, 3]] * 2)
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
    plain = keras.layers.Conv3D(64, 7, 2, padding="same", use_bias=False)
    plain.build(inputs.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(outputs, plain(inputs), atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "strides", "padding", "sides"),
    [(3, 1, "same", (4, 8, 9)), (3, 2, "same", (2, 4, 5)), (3, 2, "valid", (1, 3, 4))],
)
def test_an_empty_batch_keeps_its_shape(kernel, strides, padding, sides):
    layer = Conv3D(5, kernel, strides, padding=padding, use_bias=False)
    assert layer(tf.zeros([0, 4, 8, 9, 3])).shape == (0, *sides, 5)
    traced = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, None, 3])])
    assert traced(tf.zeros([0, 4, 8, 9, 3])).shape == (0, *sides, 5)
    assert traced(tf.zeros([2, 4, 8, 9, 3])).shape == (2, *sides, 5)


_TWO_FRAMES = """
import numpy as np, tensorflow as tf
from keras_layers import Conv3D
draw = np.random.default_rng(0)
inputs, upstream = (tf.cast(draw.standard_normal([2, 2, 8, 8, c]), tf.bfloat16) for c in (16, 32))
layer = Conv3D(32, 3, padding="same", use_bias=False, dtype="mixed_bfloat16")
layer.build(inputs.shape)
@tf.function
def gradient(inputs, upstream):
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
    return tape.gradient(outputs, layer.kernel, upstream)
found = gradient(inputs, upstream).numpy()
padded = np.pad(inputs.numpy().astype(float), [(0, 0), *[(1, 1)] * 3, (0, 0)])
expected = np.zeros(found.shape)
for t, y, x in np.ndindex(3, 3, 3):
    seen = padded[:, t : t + 2, y : y + 8, x : x + 8]
    expected[t, y, x] = np.tensordot(seen, upstream.numpy().astype(float), [[0, 1, 2, 3]] * 2)
assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
"""


def test_the_gradient_on_two_frames_in_bfloat16():
    """Runs as on a processor with AVX-512 but without instructions for bfloat16."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    subprocess.run([sys.executable, "-c", _TWO_FRAMES], env=environment, check=True)
