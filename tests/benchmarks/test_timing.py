"""The clock of the benchmarks: what it times, and in which order."""

from __future__ import annotations

import time

from benchmarks.timing import measure


def test_rounds_are_interleaved_after_one_warm_up():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = measure(candidates, 3)
    assert calls == ["a", "b"] * 4
    assert {name: [*map(len, seconds)] for name, seconds in times.items()} == {
        "a": [3, 3],
        "b": [3, 3],
    }


def test_who_waits_takes_time_but_not_that_of_the_processor():
    (wall, processor) = measure({"sleep": lambda: time.sleep(0.05)}, 2)["sleep"]
    assert min(wall) >= 0.05 and max(processor) < 0.02


def test_who_works_takes_both():
    def work() -> None:
        begin = time.process_time()
        while time.process_time() < begin + 0.03:
            pass

    (wall, processor) = measure({"work": work}, 2)["work"]
    assert all(0.03 <= own <= 1.05 * whole for own, whole in zip(processor, wall))
