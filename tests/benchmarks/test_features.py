"""The benchmark of cached features: both ways train alike, and both are timed."""

from __future__ import annotations

import pytest

from benchmarks import features


@pytest.mark.slow
def test_both_ways_train_alike(tmp_path):
    result, metrics = features.run(tmp_path, "small", (4, 16, 16), 4, 2, 1, 1, "float32")
    cached, direct = (metrics[way] for way in (features.CACHED, features.DIRECT))
    assert cached.keys() == direct.keys() > {"loss", "accuracy"}
    assert abs(direct["combined"] - 0.693) > 0.01  # something is learned, or there is no noise
    for name, value in direct.items():
        assert cached[name] == pytest.approx(value, abs=5e-3), name
    assert len(list((tmp_path / "data-features").glob("*/train-*.tfrecord"))) == 1
    assert [*result.rows] == [features.CACHED, features.DIRECT]
    (ratio,) = result.ratios
    (cached,), (direct,) = (row.milliseconds for row in result.rows.values())
    assert ratio.value == pytest.approx(direct / cached, rel=0.01)
    assert result.notes[1] == (
        f"Trained on cached features: loss {metrics[features.CACHED]['loss']:.4f}, "
        f"accuracy {metrics[features.CACHED]['accuracy']:.4f}."
    )
