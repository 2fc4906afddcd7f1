"""The benchmark of speed: what it counts, one run of it on a tiny size, its table."""

from __future__ import annotations

import functools
import time

import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones import build_backbone
from aacf_tf.backbones.batch_norm import fold_batch_norm
from aacf_tf.backbones.networks.i3d import i3d
from benchmarks import backbones, machine, sheet
from tfrecords.utils.errors import UsageError

built = functools.cache(i3d)


def test_flop_of_a_tiny_network_by_hand():
    pixels = keras.Input((None, None, None, 3))
    x = keras.layers.Conv3D(8, (3, 1, 5), (1, 2, 2), padding="same", name="a.conv")(pixels)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv3D(6, 2, use_bias=False, name="b")(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    model = keras.Model(pixels, keras.layers.Dense(10, name="top")(x))
    counts = backbones.count_flop(model, (2, 4, 7, 8, 3))
    assert list(counts.values()) == [
        2 * (2 * 4 * 4 * 4 * 8) * (3 * 1 * 5 * 3),
        2 * (2 * 3 * 3 * 3 * 6) * (2 * 2 * 2 * 8),
        2 * (2 * 10) * 6,
    ]
    for name, layer in zip(counts, ("a.conv", "b", "top")):
        assert layer in name


def test_flop_of_two_dimensions_by_hand():
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, 2, padding="valid")(images)
    (count,) = backbones.count_flop(keras.Model(images, x), (5, 9, 11, 3)).values()
    assert count == 2 * (5 * 4 * 5 * 4) * (3 * 3 * 3)


@pytest.mark.parametrize(
    "size, gflop",
    [
        ((16, 112, 112), 13.97),
        ((64, 224, 224), 222.30),
        pytest.param((128, 256, 352), 798.47, marks=pytest.mark.slow),
    ],
)
def test_flop_of_i3d_are_those_of_its_documentation(size, gflop):
    counts = backbones.count_flop(built(), (1, *size, 3))
    assert len(counts) == 3 + 9 * 6
    assert sum(counts.values()) / 1e9 == pytest.approx(gflop, abs=0.005)


def test_folding_saves_no_multiplication_of_a_convolution():
    shape = (1, 16, 112, 112, 3)
    folded = backbones.count_flop(fold_batch_norm(built()), shape)
    assert sorted(folded.values()) == sorted(backbones.count_flop(built(), shape).values())


@pytest.fixture
def tiny_peak(monkeypatch):
    monkeypatch.setattr(machine, "PEAK_SIZE", 256)


def test_a_run_on_a_tiny_size(monkeypatch, tiny_peak):
    row = "PyTorch compiled, frozen"
    monkeypatch.setattr(
        backbones, "torch_rows", lambda *_: {row: lambda: lambda: time.sleep(0.002)}
    )
    monkeypatch.setitem(backbones.TORCH_NETWORKS, "small", "none")
    result = backbones.run("small", (4, 12, 12), "float32", rounds=3, threads=1)
    assert [*result.rows] == [sheet.PEAK, "as it is", "folded", "Winograd", row]
    assert all(len(figures.milliseconds) == 3 for figures in result.rows.values())
    flop = sum(backbones.count_flop(build_backbone("small"), (1, 4, 12, 12, 3)).values())
    assert result.rows["folded"].gflop == flop / 1e9
    pairs = {(ratio.name, ratio.other): ratio.wanted for ratio in result.ratios}
    assert pairs == {("Winograd", "folded"): 1.2, ("folded", row): 1.35, ("Winograd", row): 1.0}
    assert "in float32: as it is 0.0e+00, folded " in result.notes[0]
    assert keras.mixed_precision.global_policy().name == "float32"


def test_the_fastest_of_pytorch_counts(monkeypatch, tiny_peak):
    waits = {"PyTorch eager": 0.03, "PyTorch compiled": 0.01}
    rows = {row: functools.partial(lambda s: lambda: time.sleep(s), s) for row, s in waits.items()}
    monkeypatch.setattr(backbones, "torch_rows", lambda *_: rows)
    monkeypatch.setitem(backbones.TORCH_NETWORKS, "small", "none")
    monkeypatch.setattr(backbones, "forward", lambda *_: lambda: tf.ones([1]))
    result = backbones.run("small", (4, 12, 12), "mixed_bfloat16", rounds=3, threads=1)
    assert [*result.rows][1:4] == ["as it is", "folded", "folded, float32"]
    (ratio,) = (ratio for ratio in result.ratios if "PyTorch" in ratio.other)
    assert (ratio.name, ratio.other) == ("folded", "PyTorch compiled")


def test_forms_give_the_same_and_bfloat16_nearly():
    makers = {
        form: functools.partial(backbones.forward, "small", (4, 16, 16), precision, form)
        for form, precision in (("folded", "float32"), ("as it is", "mixed_bfloat16"))
    }
    text = backbones._errors(makers, "small", (4, 16, 16))
    folded, as_it_is = (float(part.rstrip(".").split()[-1]) for part in text.split(",")[-2:])
    assert folded < 1e-5 and 1e-4 < as_it_is < 0.1


def test_sizes():
    assert backbones.parse_size("64x224x352") == (64, 224, 352)
    for text in ("64", "64x224", "0x2x2", "64x224x224x3", "axbxc"):
        with pytest.raises(UsageError, match=f"--size: expected .*received '{text}'"):
            backbones.parse_size(text)
