"""The benchmark of speed: what it counts, one run of it on a tiny size, its table."""

from __future__ import annotations

import functools
import json
import time

import pytest
from tensorflow import keras

from aacf_tf.backbones.folding import fold_batch_norm
from aacf_tf.backbones.i3d import i3d
from benchmarks import backbones, timing
from tfrecords.errors import UsageError

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
    "size, gflop", [((16, 112, 112), 13.97), ((64, 224, 224), 222.30), ((128, 256, 352), 798.47)]
)
def test_flop_of_i3d_are_those_of_its_documentation(size, gflop):
    counts = backbones.count_flop(built(), (1, *size, 3))
    assert len(counts) == 3 + 9 * 6
    assert sum(counts.values()) / 1e9 == pytest.approx(gflop, abs=0.005)


def test_folding_saves_no_multiplication_of_a_convolution():
    shape = (1, 16, 112, 112, 3)
    folded = backbones.count_flop(fold_batch_norm(built()), shape)
    assert sorted(folded.values()) == sorted(backbones.count_flop(built(), shape).values())


def test_a_run_on_a_tiny_size(monkeypatch):
    monkeypatch.setattr(backbones, "PEAK_SIZE", 256)
    monkeypatch.setattr(
        backbones, "_torch_forward", lambda *_: {"PyTorch": lambda: time.sleep(0.002)}
    )
    result = backbones.run("small", (4, 12, 12), "float32", rounds=3, threads=1)
    rows = result["rows"]
    assert list(rows) == [backbones.PEAK, "small as it is", "small folded", "PyTorch"]
    for name, row in rows.items():
        flop = 4 * 2 * 256**3 if name == backbones.PEAK else 1e9 * result["gflop"]
        times = sorted(row["milliseconds"])
        # Milliseconds are written with three digits behind the point.
        error = 0.001 / times[1]
        assert len(times) == 3
        assert row["gflops"] == pytest.approx(flop / times[1] / 1e6, rel=error)
    text = backbones.table("small", json.loads(json.dumps(result)))
    assert text.count("\n") == 7 and "3 interleaved rounds" in text
    assert keras.mixed_precision.global_policy().name == "float32"


def test_shares_are_those_of_the_same_round(monkeypatch):
    """A machine that is half as fast in one round does not change what a backbone makes of it."""
    monkeypatch.setattr(backbones, "PEAK_SIZE", 1000)  # 4 times 2 GFLOP
    monkeypatch.setattr(backbones, "count_flop", lambda *_: {"conv": 3_000_000_000})
    monkeypatch.setattr(backbones, "_torch_forward", lambda *_: {})
    times = {"small as it is": [6.0, 12.0, 6.0], "small folded": [4.0, 8.0, 4.4]}
    times = {backbones.PEAK: [8.0, 16.0, 8.0], **times}
    seconds = {name: timing.Times(wall, wall) for name, wall in times.items()}
    monkeypatch.setattr(timing, "measure", lambda candidates, rounds: seconds)
    rows = backbones.run("small", (4, 12, 12), "float32", rounds=3, threads=1)["rows"]
    assert rows[backbones.PEAK] == {"milliseconds": [8000, 16000, 8000], "gflops": 1.0}
    assert rows["small as it is"]["share"] == pytest.approx(0.5)
    assert rows["small folded"]["share"] == pytest.approx(0.75)
    assert rows["small folded"]["gflops"] == pytest.approx(3 / 4.4)


def test_sizes():
    assert backbones.parse_size("64x224x352") == (64, 224, 352)
    for text in ("64", "64x224", "0x2x2", "64x224x224x3", "axbxc"):
        with pytest.raises(UsageError, match=f"--size: expected .*received '{text}'"):
            backbones.parse_size(text)
