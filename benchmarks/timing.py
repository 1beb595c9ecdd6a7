"""Measures things in turn, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.results import Stat, stat


@dataclass(slots=True)
class Times:
    """Seconds of each measurement: by the wall clock, and of the calling thread's CPU."""

    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])

    @property
    def wall_stat(self) -> Stat:
        """The wall-clock times in three numbers."""
        return stat(self.wall)

    @property
    def cpu_stat(self) -> Stat:
        """The CPU times in three numbers."""
        return stat(self.cpu)


def in_turn(
    candidates: Mapping[str, Callable[[], object]], rounds: int, *, items: int = 1
) -> dict[str, Times]:
    """Call each candidate once a round, each round beginning with another one.

    Args:
        candidates: What is compared, by name.
        rounds: How often each is called.
        items: By how many the time of a call is divided.
    """
    times = {name: Times() for name in candidates}
    order = list(candidates.items())
    for _ in range(rounds):
        for name, call in order:
            # The clocks are nested, so that the wall clock does not include reading the other,
            # which is a system call.
            cpu = time.thread_time_ns()
            wall = time.perf_counter_ns()
            call()
            wall = time.perf_counter_ns() - wall
            cpu = time.thread_time_ns() - cpu
            times[name].wall.append(wall / 1e9 / items)
            times[name].cpu.append(cpu / 1e9 / items)
        order.append(order.pop(0))
    return times
