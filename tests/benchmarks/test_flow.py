"""The cost of optical flow is measured for every method, on the same frames."""

from __future__ import annotations

import numpy as np

from benchmarks import flow as benchmark
from tfrecords import flow


def test_every_method_is_timed_on_every_pair():
    ramp = np.arange(32, dtype=np.uint8) * 8
    frames = np.stack([np.broadcast_to(np.roll(ramp, n)[:, None], (24, 32, 3)) for n in range(3)])
    costs = benchmark.measure(np.ascontiguousarray(frames))
    assert tuple(costs) == flow.METHODS
    for method, cost in costs.items():
        assert len(cost.milliseconds) == 2 and min(cost.milliseconds) > 0
        np.testing.assert_array_equal(cost.codes[1], flow.compute(frames[1:], method)[0])
    lines = benchmark.table(costs).splitlines()
    assert lines[2].startswith("| tvl1 |") and lines[2].endswith("| 0.00 |")
    assert len(lines) == 2 + len(flow.METHODS)
