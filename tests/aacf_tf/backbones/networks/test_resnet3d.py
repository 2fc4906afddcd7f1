"""3D-ResNet-34: values of plain TF ops padded as PyTorch does, names and counts of the authors'."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.backbones.networks.resnet3d import END_POINTS, ShortcutA, resnet3d34

BLOCKS = {1: 3, 2: 4, 3: 6, 4: 3}
# 0..1, as in the authors' mean.py of 2020; of 2017/18: 0..255, without a deviation.
KINETICS = ([0.4345, 0.4051, 0.3775], [0.2768, 0.2713, 0.2737])
ACTIVITYNET = [114.7748, 107.7354, 99.4750]
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def whole(weight_tools):
    """The whole network with random weights, built once; no test changes it."""
    model = resnet3d34(include_top=True, all_end_points=True)
    return weight_tools.randomize(model, np.random.default_rng(0))


def plain_resnet3d34(weights, x, t_stride=1, max_pool=True, shortcut="B"):
    """The network written down once more with tf.nn alone: end points of the scaled pixels.

    Weights are taken out of `weights` as they are used; where there are no more, it ends.
    """

    def pad(x, before, value=0.0):
        edges = [[0, 0], *([n, n] for n in before), [0, 0]]
        return tf.pad(x, edges, constant_values=value)

    def conv(x, name, strides):
        kernel = weights.pop(f"{name}/kernel")
        x = pad(x, [side // 2 for side in kernel.shape[:3]])
        return tf.nn.conv3d(x, kernel, [1, *strides, 1], "VALID")

    def norm(x, name):
        gamma, beta, mean, variance = (
            weights.pop(f"{name}/{part}")
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / tf.sqrt(variance + 1e-5) * gamma + beta

    def block(x, name, stride):
        y = tf.nn.relu(norm(conv(x, f"{name}.conv1", [stride] * 3), f"{name}.bn1"))
        y = norm(conv(y, f"{name}.conv2", [1] * 3), f"{name}.bn2")
        if stride == 1:
            return tf.nn.relu(y + x)
        if shortcut == "B":
            x = conv(x, f"{name}.downsample.0", [stride] * 3)
            return tf.nn.relu(y + norm(x, f"{name}.downsample.1"))
        x = tf.nn.avg_pool3d(x, 1, stride, "VALID")
        return tf.nn.relu(y + tf.concat([x, tf.zeros_like(x)], -1))

    ends = {}
    ends["conv1"] = x = tf.nn.relu(norm(conv(x, "conv1", [t_stride, 2, 2]), "bn1"))
    if max_pool:
        padded = pad(x, [1] * 3, -np.inf)
        ends["maxpool"] = x = tf.nn.max_pool3d(padded, 3, 2, "VALID")
    for stage, blocks in BLOCKS.items():
        if not weights:
            return ends
        for index in range(blocks):
            x = block(x, f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1)
        ends[f"layer{stage}"] = x
    mean = tf.reduce_mean(x, [1, 2, 3])
    ends["fc"] = mean @ weights.pop("fc/kernel") + weights.pop("fc/bias")
    return ends


def parameters(shortcut="B", t_size=7):
    """Counted by hand, with 400 classes."""
    kernels = 49 * t_size * 3 * 64 + 27 * (6 * 64**2 + 64 * 128 + 7 * 128**2)
    kernels += 27 * (128 * 256 + 11 * 256**2 + 256 * 512 + 5 * 512**2)
    norms = 2 * (7 * 64 + 8 * 128 + 12 * 256 + 6 * 512)
    # Kernel and batch norm of the three 1x1x1 convolutions.
    shortcuts = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    return kernels + norms + (shortcuts if shortcut == "B" else 0) + 512 * 400 + 400


def test_parameters_as_the_document_has_them(whole):
    assert (parameters("A"), parameters("B")) == (63_544_912, 63_718_736)
    assert sum(np.prod(v.shape) for v in whole.trainable_weights) == 63_718_736


def assert_equal(outputs, expected):
    assert list(outputs) == list(expected)
    for name, value in expected.items():
        assert outputs[name].shape == value.shape, name
        error = np.abs(outputs[name] - value).max() / np.abs(value).max()
        assert error < 1e-4, name


@pytest.mark.parametrize(
    ("size", "last"),
    [((9, 33, 41), (1, 2, 2)), ((18, 32, 34), (2, 1, 2))],
    ids=["odd", "even"],
)
def test_every_end_point_equals_a_plain_implementation(weight_tools, rng, whole, size, last):
    """The default scaling fits the files of 2020."""
    pixels = rng.integers(0, 256, size=(2, *size, 3), dtype=np.uint8)
    x = (tf.cast(pixels, tf.float32) / 255 - KINETICS[0]) / KINETICS[1]
    weights = weight_tools.by_name(whole)
    expected = plain_resnet3d34(weights, x)
    assert weights == {}, "weights that the plain network has no use for"
    outputs = whole(pixels)
    assert list(outputs) == list(END_POINTS)
    assert_equal(outputs, expected)
    assert outputs["layer4"].shape == (2, *last, 512)
    assert whole.compute_output_shape(pixels.shape)["layer4"] == (2, *last, 512)


@pytest.mark.parametrize(
    ("options", "plain", "size"),
    [
        ({"shortcut": "A", "scaling": "activitynet"}, {"shortcut": "A"}, (9, 33, 41)),
        ({"scaling": "imagenet", "conv1_t_stride": 2}, {"t_stride": 2}, (18, 32, 50)),
        ({"no_max_pool": True, "conv1_t_size": 3}, {"max_pool": False}, (5, 17, 20)),
    ],
    ids=["2018", "t_stride", "no_max_pool"],
)
def test_its_variants(weight_tools, rng, options, plain, size):
    """To the second stage, whose first block has the shortcut that all others repeat."""
    model = resnet3d34("layer2", all_end_points=True, **options)
    weight_tools.randomize(model, rng)
    pixels = rng.integers(0, 256, size=(2, *size, 3), dtype=np.uint8)
    x = tf.cast(pixels, tf.float32)
    if options.get("scaling") == "activitynet":
        x = x - ACTIVITYNET
    else:
        mean, deviation = IMAGENET if "scaling" in options else KINETICS
        x = (x / 255 - mean) / deviation
    weights = weight_tools.by_name(model)
    expected = plain_resnet3d34(weights, x, **plain)
    assert weights == {}, "weights that the plain network has no use for"
    assert_equal(model(pixels), expected)


def test_layers_with_weights_bear_the_names_of_the_pytorch_modules(whole):
    expected = {"conv1", "bn1", "fc"}
    for stage, blocks in BLOCKS.items():
        for block in range(blocks):
            for part in ("conv1", "bn1", "conv2", "bn2"):
                expected.add(f"layer{stage}.{block}.{part}")
        if stage > 1:
            expected |= {f"layer{stage}.0.downsample.{part}" for part in (0, 1)}
    assert {layer.name for layer in whole.layers if layer.weights} == expected


def test_shapes_of_the_authors_input(whole):
    shapes = whole.compute_output_shape((2, 16, 112, 112, 3))
    assert shapes == {
        "conv1": (2, 16, 56, 56, 64),
        "maxpool": (2, 8, 28, 28, 64),
        "layer1": (2, 8, 28, 28, 64),
        "layer2": (2, 4, 14, 14, 128),
        "layer3": (2, 2, 7, 7, 256),
        "layer4": (2, 1, 4, 4, 512),
        "fc": (2, 400),
    }


def test_flow_has_two_channels(rng):
    model = resnet3d34("maxpool", channels=2)
    pixels = np.array([110.7975, 103.3005 + 69.1815]) * np.ones((1, 4, 16, 16, 2))
    assert model(pixels).shape == (1, 2, 4, 4, 64)
    np.testing.assert_allclose(model.get_layer("scale")(pixels)[0, 0, 0, 0], [0, 1], atol=1e-6)


def test_the_shortcut_is_a_layer_as_every_other(check_layer, rng):
    features = rng.normal(size=(2, 3, 5, 4, 2)).astype("float32")
    check_layer(ShortcutA, {"filters": 5, "stride": 2}, features, "bfloat16")
    shortcut = ShortcutA(5, 2)(features)
    np.testing.assert_array_equal(shortcut[..., :2], features[:, ::2, ::2, ::2])
    assert not np.any(shortcut[..., 2:])
    assert ShortcutA(5, 2).compute_output_shape((2, None, 5, 4, 2)) == (2, None, 3, 2, 5)
