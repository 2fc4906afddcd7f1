"""Times candidates in interleaved rounds, by the wall clock."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Mapping, NamedTuple


class Times(NamedTuple):
    """Seconds, one a round.

    `wall`: from the call to its return; `processor`: of all threads of this process and of the
    processes that it has started and waited for. On one core, with nothing else to do, the two are
    the same: what they differ by went to others.
    """

    wall: list[float]
    processor: list[float]


def measure(candidates: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Times]:
    """Times each candidate once a round, one after the other, and once before all, not counted.

    Interleaved, they see the same state of the machine: compare those of the same round. What a
    candidate returns is let go of after its time is taken.
    """
    for candidate in candidates.values():
        candidate()
    times = {name: Times([], []) for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            wall, processor = time.perf_counter(), _processor_time()
            kept = candidate()  # let go after the clock is read
            times[name].wall.append(time.perf_counter() - wall)
            times[name].processor.append(_processor_time() - processor)
            del kept
    return times


def _processor_time() -> float:
    children = os.times()
    return time.process_time() + children.children_user + children.children_system
