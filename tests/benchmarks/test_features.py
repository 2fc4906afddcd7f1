"""The benchmark of cached features: both ways train alike, and what it prints is what it timed."""

from __future__ import annotations

import pytest

from benchmarks import features


def test_both_ways_train_alike(tmp_path):
    result = features.run(tmp_path, "small", (4, 16, 16), 4, 2, 1, "float32")
    cached, direct = (result["ways"][way]["metrics"] for way in (features.CACHED, features.DIRECT))
    assert cached.keys() == direct.keys() > {"loss", "accuracy"}
    assert abs(direct["combined"] - 0.693) > 0.01  # something is learned, or there is no noise
    for name, value in direct.items():
        assert cached[name] == pytest.approx(value, abs=5e-3), name
    assert len(list((tmp_path / "data-features").glob("*/train-*.tfrecord"))) == 1


def test_the_table():
    way = {"wall": [2.0, 4.0, 3.0], "processor": [6.0], "metrics": {"loss": 1.5, "accuracy": 0.25}}
    ways = {features.CACHED: way, features.DIRECT: way}
    result = {"making": 7.0, "ways": ways, "times_faster": {"wall": 150.4, "processor": 99.6}}
    lines = features.table(result).splitlines()
    assert lines[2] == "| on cached features | 3.000 | 6.000 | 1.5000 | 0.2500 |"
    assert lines[-2:] == ["| times faster | 150 | 100 | | |", "the cache, made once: 7.0 s"]
