"""The choice between direct and Winograd convolution: the same outputs, any layer, any size."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones import build_backbone, winograd
from aacf_tf.backbones.batch_norm import fold_batch_norm
from keras_layers import WinogradConv3D


@pytest.fixture
def always(monkeypatch):
    """Every candidate is chosen, however fast it is."""
    monkeypatch.setattr(winograd, "_gain", lambda *_: 2.0)


def layers_of(model, kind):
    return [part for part in model.submodules if isinstance(part, kind)]


def assert_equal_outputs(found, expected, clip):
    found, expected = (model(clip, training=False).numpy() for model in (found, expected))
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    "name, options, count",
    [
        ("i3d", {"end_point": "Mixed_3c"}, 1 + 2 * 2),
        pytest.param(
            # All but the one of stride 2.
            *("resnet3d34", {"end_point": "layer2"}, 3 * 2 + 4 * 2 - 1),
            marks=pytest.mark.slow,
        ),
        ("small", {"width": 24, "residual": True}, 0),  # (2+1)-D
    ],
)
def test_outputs_and_names_stay(always, weight_tools, rng, name, options, count):
    folded = fold_batch_norm(weight_tools.randomize(build_backbone(name, **options), rng))
    copy, gains = winograd.use_winograd(folded, (8, 64, 64))
    assert len(layers_of(copy, WinogradConv3D)) == len(gains) == count
    assert not layers_of(folded, WinogradConv3D)
    assert [v.name for v in copy.variables] == [v.name for v in folded.variables]
    assert {f"{name}/kernel:0" for name in gains} <= {v.name for v in copy.variables}
    clip = rng.integers(0, 256, (2, 5, 50, 41, 3), dtype=np.uint8)  # another size than decided for
    assert_equal_outputs(copy, folded, clip)


def test_models_within_a_model(always, rng):
    inputs = {name: keras.Input((None, None, None, 3), name=name) for name in ("a", "b")}
    stream = keras.Sequential([keras.layers.Conv3D(4, 3, padding="same", name="inner")])
    stream.build((None, None, None, None, 3))
    stream = keras.Model(stream.inputs, stream.outputs)
    outer = keras.layers.Conv3D(2, 3, padding="same", use_bias=False, name="outer")
    x = keras.layers.Concatenate()([stream(inputs["a"]), inputs["b"]])
    model = keras.Model(inputs, outer(x))
    copy, gains = winograd.use_winograd(model, (3, 8, 9))
    assert [*gains] == ["outer", "inner"] or [*gains] == ["inner", "outer"]
    assert len(layers_of(copy, WinogradConv3D)) == 2
    assert_equal_outputs(copy, model, {name: rng.normal(size=(1, 3, 8, 9, 3)) for name in inputs})


def test_what_it_cannot_do_is_left_alone(always):
    conv, inputs = keras.layers.Conv3D, keras.Input((4, 8, 8, 2))
    twice = conv(2, 3, padding="same")  # it sees maps of two sizes
    others = [
        conv(2, (1, 3, 3), padding="same"),
        conv(2, 3, 2, padding="same"),
        conv(2, 3),
        conv(2, 3, padding="same", dilation_rate=2),
        conv(2, 3, padding="same", activation="relu"),
        conv(2, 3, padding="same", groups=2),
        conv(2, 3, padding="same", dtype="mixed_bfloat16"),
    ]
    halves = keras.layers.AveragePooling3D(2)(inputs)
    ends = [*(layer(inputs) for layer in others), twice(inputs), twice(halves)]
    copy, gains = winograd.use_winograd(keras.Model(inputs, ends), (4, 8, 8))
    assert gains == {} and not layers_of(copy, WinogradConv3D)


@pytest.mark.slow
def test_only_what_gains_is_chosen(monkeypatch, weight_tools, rng):
    """By its times: half the layers are told to be slower."""
    folded = fold_batch_norm(weight_tools.randomize(build_backbone("i3d"), rng))
    seen = []

    def gain(convolution, layer, shape):
        assert layer.filters == convolution.filters
        seen.append(tuple(shape))
        return 1.5 if shape[2] == 7 else 0.9

    monkeypatch.setattr(winograd, "_gain", gain)
    _, gains = winograd.use_winograd(folded, (16, 112, 112))
    assert sorted({shape[1:4] for shape in seen}) == [
        (2, 4, 4),
        (4, 7, 7),
        (8, 14, 14),
        (8, 28, 28),
    ]
    assert {name.split("/")[0] for name in gains} == {f"Mixed_4{letter}" for letter in "bcdef"}
    assert set(gains.values()) == {1.5} and len(gains) == 10


def test_the_gain_is_the_ratio_of_the_times(monkeypatch):
    """A convolution that takes three times as long, by a clock of our own."""
    now = [0.0]
    monkeypatch.setattr(winograd.time, "perf_counter", lambda: now[0])

    def taking(seconds):
        def call(inputs):
            now[0] += seconds

        return call

    calls = iter((taking(3.0), taking(1.0)))
    monkeypatch.setattr(winograd, "_compiled", lambda layer, inputs: next(calls))
    assert winograd._gain(None, None, tf.TensorShape([1, 2])) == 3.0
