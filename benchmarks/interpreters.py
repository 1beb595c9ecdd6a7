"""Starts interpreters and says what each took: wall-clock time and CPU time, children included."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.timing import Times

if TYPE_CHECKING:
    from pathlib import Path

_OWN = ("OTEL_", "ROBOT_SF_", "TRACEPARENT", "TRACESTATE", "COVERAGE_", "COV_CORE_")
"""Beginnings of names that would change what is measured."""


def undisturbed() -> dict[str, str]:
    """Return this process's environment without what would change the measurement."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}


def environment(cache: Path) -> dict[str, str]:
    """Return an environment in which imports find byte code, as they do once installed.

    Args:
        cache: Where the byte code is kept, so that nothing is written into the checkout.
    """
    kept = undisturbed()
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPYCACHEPREFIX": str(cache)}


def start_in_turn(
    programs: Mapping[str, Sequence[str]],
    rounds: int,
    env: Mapping[str, str],
    *,
    seen: Callable[[str, str], None] = lambda _name, _printed: None,
) -> dict[str, Times]:
    """Run each program once a round, after one round that only fills the caches.

    Args:
        programs: Arguments of the interpreter, by name.
        rounds: How often each is measured.
        env: Their environment.
        seen: Told the name and what it printed, for each that is measured.

    Raises:
        subprocess.CalledProcessError: A program failed.
    """
    times = {name: Times() for name in programs}
    order = list(programs.items())
    for round_ in range(rounds + 1):
        for name, arguments in order:
            wall, cpu, printed = _start([sys.executable, *arguments], env)
            if round_:
                times[name].wall.append(wall)
                times[name].cpu.append(cpu)
                seen(name, printed)
        order.append(order.pop(0))
    return times


def _start(command: Sequence[str], env: Mapping[str, str]) -> tuple[float, float, str]:
    # Not os.times(): it counts in ticks of 10 ms.
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return wall, cpu, done.stdout
