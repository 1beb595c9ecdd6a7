"""The cost of one telemetry sample of a process tree."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

from benchmarks import limits
from benchmarks.results import Counts, Row, over
from benchmarks.timing import in_turn

CHILDREN = 9
"""With their parent a tree of ten."""
SAMPLE = "one sample"
_IDLE = "import sys; sys.stdin.read()"


def measure(counts: Counts) -> list[Row]:
    """Return the cost of reading all sensors, and of what psutil needs for the same tree."""
    import psutil

    from robot_sf_otel.system_metrics.sensors import SystemSensors

    own = psutil.Process()

    def with_psutil() -> None:
        for process in [own, *own.children(recursive=True)]:
            with process.oneshot():
                process.cpu_times()
                process.memory_info()
                process.num_threads()

    with ExitStack() as started:
        for _ in range(CHILDREN):
            child = subprocess.Popen([sys.executable, "-c", _IDLE], stdin=subprocess.PIPE)
            started.enter_context(child)
        sensors = SystemSensors()
        sensors.read()
        theirs = "psutil: children, oneshot"
        times = in_turn({SAMPLE: sensors.read, theirs: with_psutil}, counts.samples)
        host = _processes_on_host()
    return [
        Row(
            group=f"telemetry, tree of {CHILDREN + 1} processes",
            name=name,
            wall=measured.wall_stat,
            cpu=measured.cpu_stat,
            ratio=over(measured.wall_stat, times[SAMPLE].wall_stat),
            ratio_to=SAMPLE,
            limit_cpu=limits.SAMPLE_CPU if name == SAMPLE else None,
            note=f"{host} processes on the host" if host else None,
        )
        for name, measured in times.items()
    ]


def _processes_on_host() -> int | None:
    try:
        return sum(name.isdecimal() for name in os.listdir("/proc"))  # noqa: PTH208 - names alone
    except OSError:
        return None
