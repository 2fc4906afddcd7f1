"""The Inception-3D blocks against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from keras_layers import ConvUnit3D, InceptionModule3D

KERAS_3 = hasattr(keras, "ops")


def last_name(weight):
    return weight.name.rsplit("/", 1)[-1].partition(":")[0]


def windows(x, size, stride, fill):
    """Yields, for each offset inside the window, the values there; TensorFlow's SAME padding."""
    out = [-(-n // stride) for n in x.shape[1:4]]
    pads = [max((o - 1) * stride + size - n, 0) for o, n in zip(out, x.shape[1:4])]
    pads = [(p // 2, p - p // 2) for p in pads]
    x = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
    for offset in np.ndindex(size, size, size):
        slices = [slice(o, o + (n - 1) * stride + 1, stride) for o, n in zip(offset, out)]
        yield offset, x[(slice(None), *slices)]


def unit_oracle(unit, x, stride=1):
    """Convolution, normalization by the moving statistics, ReLU."""
    kernel = unit.conv_3d.kernel.numpy()
    y = sum(v @ kernel[offset] for offset, v in windows(x, len(kernel), stride, 0.0))
    norm = unit.batch_norm
    y = (y - norm.moving_mean) / np.sqrt(norm.moving_variance + np.float32(1e-3)) + norm.beta
    return np.maximum(y, 0)


def randomize(layer, rng):
    for weight in layer.weights:
        low = 0.5 if "variance" in weight.name else -0.5
        weight.assign(rng.uniform(low, 1.0, weight.shape))


@pytest.mark.parametrize(
    ("size", "stride", "shape"),
    [(1, 1, (3, 4, 5)), (3, 1, (1, 4, 5)), (3, 2, (4, 5, 6)), (7, 2, (5, 8, 7))],
)
def test_conv_unit_matches_numpy(rng, size, stride, shape):
    x = rng.normal(size=(2, *shape, 3)).astype("float32")
    unit = ConvUnit3D(4, size, stride)
    unit.build(x.shape)
    randomize(unit, rng)
    expected = unit_oracle(unit, x, stride)
    assert unit.compute_output_shape(x.shape) == expected.shape
    np.testing.assert_allclose(unit(x), expected, rtol=1e-4, atol=1e-4)


def test_conv_unit_normalizes_by_the_batch_in_training_unless_frozen(rng):
    x = rng.normal(3, 2, size=(4, 3, 5, 5, 2)).astype("float32")
    unit = ConvUnit3D(6, 1, activation=None, momentum=0.5)
    y = unit(x, training=True).numpy()
    np.testing.assert_allclose(y.mean((0, 1, 2, 3)), 0, atol=1e-4)
    mean = np.mean(x @ unit.conv_3d.kernel[0, 0, 0].numpy(), axis=(0, 1, 2, 3))
    np.testing.assert_allclose(unit.batch_norm.moving_mean, 0.5 * mean, rtol=1e-3, atol=1e-5)
    unit.trainable = False
    np.testing.assert_array_equal(unit(x, training=True), unit(x, training=False))


def test_conv_unit_as_a_plain_biased_convolution(rng):
    x = rng.normal(size=(2, 2, 3, 3, 5)).astype("float32")
    unit = ConvUnit3D(4, use_bias=True, batch_norm=False, activation=None)
    unit.build(x.shape)
    randomize(unit, rng)
    expected = x @ unit.conv_3d.kernel[0, 0, 0].numpy() + unit.conv_3d.bias.numpy()
    np.testing.assert_allclose(unit(x), expected, rtol=1e-5, atol=1e-5)
    assert (expected < 0).any()
    assert [last_name(w) for w in unit.weights] == ["kernel", "bias"]
    assert KERAS_3 or unit.weights[0].name == "conv_3d/kernel:0"


def test_inception_module_matches_numpy(rng):
    x = rng.normal(size=(2, 3, 5, 4, 6)).astype("float32")
    module = InceptionModule3D((2, 3, 4, 5, 6, 7))
    module.build(x.shape)
    randomize(module, rng)
    u = module.units
    pooled = np.maximum.reduce([v for _, v in windows(x, 3, 1, -np.inf)])
    branch_1 = unit_oracle(u["Branch_1/Conv3d_0a_1x1"], x)
    branch_2 = unit_oracle(u["Branch_2/Conv3d_0a_1x1"], x)
    expected = np.concatenate(
        [
            unit_oracle(u["Branch_0/Conv3d_0a_1x1"], x),
            unit_oracle(u["Branch_1/Conv3d_0b_3x3"], branch_1),
            unit_oracle(u["Branch_2/Conv3d_0b_3x3"], branch_2),
            unit_oracle(u["Branch_3/Conv3d_0b_1x1"], pooled),
        ],
        axis=-1,
    )
    assert module.compute_output_shape(x.shape) == expected.shape == (2, 3, 5, 4, 19)
    np.testing.assert_allclose(module(x), expected, rtol=1e-4, atol=1e-4)


def test_inception_module_names_its_variables_as_the_official_checkpoints_do():
    module = InceptionModule3D((1, 2, 3, 4, 5, 6), "Conv3d_0a_3x3", name="Mixed_5b")
    module(keras.Input([None, None, None, 8]))
    names = {w.path if KERAS_3 else w.name.partition(":")[0] for w in module.weights}
    assert len(names) == 24
    assert {
        "Mixed_5b/Branch_0/Conv3d_0a_1x1/conv_3d/kernel",
        "Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/moving_mean",
        "Mixed_5b/Branch_3/Conv3d_0b_1x1/batch_norm/beta",
    } <= names
    assert not any("gamma" in name for name in names)


def test_inception_module_without_normalization_has_biases(rng):
    x = rng.normal(size=(1, 2, 3, 3, 4)).astype("float32")
    module = InceptionModule3D((1, 2, 3, 4, 5, 6), batch_norm=False)
    module.build(x.shape)
    assert [last_name(w) for w in module.weights] == ["kernel", "bias"] * 6
    randomize(module, rng)
    unit = module.units["Branch_0/Conv3d_0a_1x1"].conv_3d
    expected = np.maximum(x @ unit.kernel.numpy()[0, 0, 0] + unit.bias.numpy(), 0)
    np.testing.assert_allclose(module(x)[..., :1], expected, rtol=1e-5, atol=1e-5)
    same = InceptionModule3D.from_config(module.get_config())
    same.build(x.shape)
    assert len(same.weights) == 12


def test_inception_module_refuses_a_wrong_number_of_filters():
    with pytest.raises(ValueError, match=r"Expected filters to hold six numbers.*\[1, 2\]"):
        InceptionModule3D([1, 2])


def test_blocks_satisfy_what_every_layer_must(check_layer, rng):
    x = rng.normal(size=(2, 3, 5, 4, 6)).astype("float32")
    unit = {"filters": 4, "kernel_size": (3, 3, 3), "strides": (1, 2, 2), "momentum": 0.9}
    check_layer(ConvUnit3D, unit, x, "bfloat16")
    module = {"filters": (1, 2, 3, 4, 5, 6), "branch_2_conv": "Conv3d_0a_3x3", "momentum": 0.9}
    check_layer(InceptionModule3D, module, x, "bfloat16")


def test_a_layer_keeps_its_own_policy_for_its_parts():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        module = InceptionModule3D((1, 1, 1, 1, 1, 1), dtype="float32")
        assert module(tf.zeros([1, 1, 3, 3, 2])).dtype == tf.float32
    finally:
        keras.mixed_precision.set_global_policy("float32")
