"""The measurements of a recipe, and the form of their figures."""

from __future__ import annotations

import pytest

from aacf_tf.recipes import load_recipe
from benchmarks import memory
from benchmarks.memory import GIGA, Work


def test_what_a_recipe_does_in_order():
    assert [*memory.plan(load_recipe("actionthread"))] == [
        Work("actionthread", 0, True, 1),  # 128 x 256 x 352 pixels a clip: one at a time
        Work("actionthread", 0, False, 32),
    ]
    hacs = [*memory.plan(load_recipe("hacs30"))]  # frozen stages, but nothing is cached
    assert hacs == [Work("hacs30", place, False, 64) for place in range(3)]


def test_a_batch_too_large_is_extrapolated_along_a_line(monkeypatch):
    monkeypatch.setattr(
        memory, "_measure", lambda work, _: {"gpu": False, "bytes": (1 + work.batch) * GIGA}
    )
    found = memory.row(Work("hacs30", 1, False, 64), "float32")
    assert found["gigabytes"] == pytest.approx(65) and found["extrapolated"]
    assert memory.table([found]).endswith("| `hacs30` | network | 64 | ~65.0 |")
    direct = memory.row(Work("demo", 0, False, 16), "float32")
    assert direct["gigabytes"] == pytest.approx(17) and not direct["extrapolated"]


@pytest.mark.slow
def test_the_peak_of_a_step_holds_at_least_its_tensors():
    found = memory._measure(Work("demo", 0, False, 16), "float32")
    # The clips in float32 and the first map, 16 channels of it, of both halves of the pairs.
    pixels = 2 * 16 * 12 * 40 * 40
    assert 4 * pixels * 3 < found["bytes"] < 100 * 4 * pixels * 3
