"""Time of a piece of work, less what its thread waited for a CPU that others had."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

_NANOSECONDS: Final = 1e9
_ALL: Final = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
THIS_THREAD: Final = "thread-self"


class Elapsed(NamedTuple):
    """What a piece of work took.

    Attributes:
        seconds: By the wall clock, without `waited`.
        waited: Seconds that its thread was ready to run and had no CPU; 0 where the kernel does not
            tell.
        cpu: CPU seconds of the process and of its children that have ended and were waited for.
    """

    seconds: float
    waited: float
    cpu: float


def waited_seconds(process: int | str = THIS_THREAD) -> float:
    """Return how long a thread has waited for a CPU so far; 0 where the kernel does not tell.

    On a busy machine this is most of the noise of a wall-clock time: with five processes a CPU the
    times of one loop scattered by 40 %, and by 4 % without it.

    Args:
        process: A process id, whose main thread is meant, or this thread. A process that has ended
            still tells until it is waited for.
    """
    try:
        # Documentation/scheduler/sched-stats.rst: time on the CPU, time waiting for it, both ns.
        text = Path(f"/proc/{process}/schedstat").read_text(encoding="ascii")
        return int(text.split()[1]) / _NANOSECONDS
    except (OSError, ValueError, IndexError):
        return 0.0


def cpu_seconds(*whose: int) -> float:
    """Return the CPU seconds of this process and of its children that were waited for.

    Args:
        whose: `RUSAGE_SELF` or `RUSAGE_CHILDREN` alone.
    """
    used = [resource.getrusage(who) for who in whose or _ALL]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(function: Callable[[], object]) -> Elapsed:
    """Call a function and return what it took."""
    waited = waited_seconds()
    cpu = cpu_seconds()
    began = time.perf_counter()
    function()
    wall = time.perf_counter() - began
    cpu = cpu_seconds() - cpu
    waited = waited_seconds() - waited
    return elapsed(wall, waited, cpu)


def elapsed(wall: float, waited: float, cpu: float) -> Elapsed:
    """Return times as they belong together: whoever waited did not wait longer than it took."""
    waited = min(max(0.0, waited), wall * 0.99)
    return Elapsed(seconds=wall - waited, waited=waited, cpu=cpu)
