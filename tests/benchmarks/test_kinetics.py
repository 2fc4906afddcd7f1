"""The cost of a large data set: the arithmetic by hand, the measurement on tiny videos."""

from __future__ import annotations

import pytest

from benchmarks import kinetics
from benchmarks.kinetics import Inputs


def test_the_arithmetic():
    inputs = Inputs(1e6, 0.36, 1000.0, {"16x112x112": 10.0, "64x224x224": 100.0})
    lines = kinetics.costs(inputs, clips=1_000_000, seconds=10.0, epochs=10, utilization=0.5)
    found = {line.name: line for line in lines}
    assert found["records"].value == "1.00 TB"
    assert found["build"].value == "100 core hours"
    assert found["cached features"].value == "0.80 TB"
    # 10^8 GFLOP by 156,000 GFLOP/s; the same ten times over, six times as dear.
    assert found["features of 64x224x224, A100"].value == "0.18 GPU hours (estimate)"
    assert found["training at 64x224x224, A100"].value == "11 GPU hours (estimate)"
    # 156,000 / 60 pairs/s, 32 frames each.
    assert "83,200 frames/s: 83 cores" in found["training at 16x112x112, A100"].arithmetic
    assert kinetics.table(lines).count("\n") == len(lines) + 1


@pytest.mark.slow
def test_what_is_measured():
    inputs = kinetics.measure(videos=2, seconds=1.0)
    assert inputs.gflop == {
        "16x112x112": pytest.approx(13.97, abs=0.005),
        "64x224x224": pytest.approx(222.3, abs=0.05),
    }
    assert 10 * 2000 < inputs.clip_bytes < 10 * 40_000
    assert inputs.build_seconds > 0 and inputs.read_frames > 0
