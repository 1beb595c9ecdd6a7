"""How fast this machine is right now: a fixed piece of work, timed."""

from __future__ import annotations

import time
from typing import Final

from robot_sf_otel.perf.stopwatch import waited_seconds

_TURNS: Final = 2_000
"""Turns of the loop between two looks at the clock: under a millisecond."""
_PART: Final = 0.5
"""Part of a repetition's time that the calibration beside it takes."""
SHORTEST: Final = 0.05
_LONGEST: Final = 0.5


def calibration_seconds(repetition_seconds: float) -> float:
    """Return how long the machine's speed is measured between two repetitions."""
    return min(_LONGEST, max(SHORTEST, _PART * repetition_seconds))


def machine_speed(seconds: float = SHORTEST, *, cpu: bool = False) -> float:
    """Return turns of a fixed loop a second: arithmetic, a table, calls of small functions.

    The processor's clock, a neighbour on the same core and a host that gives its guests less slow
    it down as they do a repetition that runs just before or after. Waiting for a CPU is left out,
    as in a repetition.

    Args:
        seconds: How much work is timed, at least.
        cpu: Whether CPU time of this process counts instead of the wall clock.
    """
    clock = time.process_time if cpu else time.perf_counter
    waited = waited_seconds()
    began = clock()
    turns = 0
    elapsed = 0.0
    while elapsed < seconds:
        _work(_TURNS)
        turns += _TURNS
        elapsed = clock() - began
    if not cpu:
        elapsed -= min(waited_seconds() - waited, 0.99 * elapsed)
    return turns / elapsed


def _work(turns: int) -> float:
    table: dict[int, float] = {}
    total = 0.0
    for turn in range(turns):
        key = turn * 7919 % 257
        table[key] = table.get(key, 0.0) + turn * 0.5
        total = _mix(total, table[key])
    return total


def _mix(total: float, value: float) -> float:
    return (total * 0.75 + value) % 1_000_003.0
