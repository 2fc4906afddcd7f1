"""The benchmark of the factorization op: all rows compute the same; what its tables say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import factorization, machine, sheet
from benchmarks.factorization import LIMIT, MULTIPLY, OURS, Size
from tfrecords.utils.errors import UsageError

SIZE = Size(batch=3, positions=10, channels=4, maps=2)


def expected():
    """Pooled features and gradients by numpy in float64."""
    logits, features, direction = (x.astype("float64") for x in factorization._operands(SIZE))
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    by_weights = direction @ features.transpose(0, 2, 1)
    by_logits = weights * (by_weights - (weights * by_weights).sum(-1, keepdims=True))
    return weights @ features, by_logits, weights.transpose(0, 2, 1) @ direction


@pytest.mark.parametrize("name", factorization.rows())
def test_every_row_computes_the_same(name):
    reference = expected()
    pooled = factorization.make(name, SIZE, gradients=False)()
    np.testing.assert_allclose(np.asarray(pooled), reference[0], rtol=1e-4, atol=1e-6)
    values = factorization.make(name, SIZE, gradients=True)()
    assert len(values) == 3
    for value, wanted in zip(values, reference):
        np.testing.assert_allclose(np.asarray(value), wanted, rtol=1e-4, atol=1e-6)


def test_the_limit_with_gradients_writes_as_much_as_the_features():
    assert factorization.make_limit(SIZE, gradients=False)().shape == []
    assert factorization.make_limit(SIZE, gradients=True)().shape == SIZE[:3]


@pytest.mark.parametrize("gradients", [False, True])
def test_a_run_on_a_tiny_size(monkeypatch, gradients):
    names = [OURS, MULTIPLY]
    monkeypatch.setattr(factorization, "rows", lambda: names)
    monkeypatch.setattr(machine, "peak_bytes", lambda make, threads: 504)
    found = factorization.run(SIZE, gradients, rounds=2, threads=1, memory=True)
    assert [*found.rows] == [*names, LIMIT]
    assert [(r.name, r.other, r.wanted) for r in found.ratios] == [
        (OURS, MULTIPLY, 4.5),
        (OURS, LIMIT, 0.4),
    ]
    flop = 2 * 3 * 10 * 4 * 2 * (3 if gradients else 1)
    assert found.rows[OURS].gflop == pytest.approx(flop / 1e9)
    # 3 * 10 * 4 floats are 480 bytes.
    assert ("1.05 times the memory" in sheet.markdown(found)) == gradients


def test_sizes():
    assert factorization.parse_size("64x1408x1024", 2) == (64, 1408, 1024, 2)
    assert factorization.parse_size("64x1408x1024", 2).feature_bytes == 4 * 64 * 1408 * 1024
    for text in ("64", "64x1408", "0x2x2", "axbxc"):
        with pytest.raises(UsageError, match=f"--shape: expected .*received '{text}'"):
            factorization.parse_size(text, 2)
