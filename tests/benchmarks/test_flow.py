"""The cost of optical flow is measured for every method, on the same frames."""

from __future__ import annotations

import numpy as np

from benchmarks import flow as benchmark
from tfrecords.media import flow


def test_every_method_is_timed_on_every_pair():
    ramp = np.arange(32, dtype=np.uint8) * 8
    frames = np.stack([np.broadcast_to(np.roll(ramp, n)[:, None], (24, 32, 3)) for n in range(3)])
    frames = np.ascontiguousarray(frames)
    sheet, codes = benchmark.measure(frames)
    assert tuple(codes) == tuple(sheet.rows) == flow.METHODS
    for method, found in codes.items():
        assert len(sheet.rows[method].milliseconds) == 2
        for index in range(2):
            expected = flow.compute(frames[index : index + 2], method)[0]
            np.testing.assert_array_equal(found[index], expected)
    assert sheet.notes[0].startswith("- tvl1: ") and sheet.notes[0].endswith(" 0.00 from tvl1")
    assert len(sheet.notes) == len(flow.METHODS)


def test_facts_by_hand():
    still, moving = np.full((1, 4, 4, 2), 128, np.uint8), np.full((1, 4, 4, 2), 128, np.uint8)
    moving[..., 0] += 10
    step = np.abs(flow.dequantize(moving) - flow.dequantize(still)).max()
    first, second = benchmark.facts({"a": still, "b": moving})
    assert first.endswith("0.00 from a")
    assert second.endswith(f"{step:.2f} from a")
