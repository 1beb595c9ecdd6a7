"""Measures a function in this process, for tests: repetitions until the noise allows a verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from robot_sf_otel.analysis.baseline import Baseline, Judgement, Sample, is_narrow, judge
from robot_sf_otel.perf.calibration import calibration_seconds, machine_speed
from robot_sf_otel.perf.stopwatch import timed

if TYPE_CHECKING:
    from robot_sf_otel.perf.stopwatch import Elapsed

REPETITION_SECONDS: Final = 0.05
"""Calls are put together until they take as long: a shorter time is mostly noise."""
REPETITIONS: Final = 5
PRECISION: Final = 0.02


def measure(
    function: Callable[[], object],
    *,
    units: float,
    baseline: Baseline | None,
    host_class: str,
    tolerance: float,
    max_seconds: float,
) -> tuple[list[Sample], Judgement]:
    """Call a function again and again; return the throughput of each repetition, and the verdict.

    Args:
        function: What is measured; the first call does not count.
        units: What a call gets done.
        baseline: What it is compared with.
        host_class: Class of this machine.
        tolerance: Part below the baseline at which it fails.
        max_seconds: Seconds after which no further repetition is begun.
    """
    began = time.monotonic()
    first = timed(function)
    calls = max(1, math.ceil(REPETITION_SECONDS / max(first.seconds, 1e-9)))
    if calls > 1:  # the first call imports and fills caches: its time says little
        again = timed(function)
        calls = max(1, math.ceil(REPETITION_SECONDS / max(again.seconds, 1e-9)))
    samples: list[Sample] = []
    before = machine_speed()
    while True:
        took = _repeat(function, calls)
        after = machine_speed(calibration_seconds(took.seconds))
        samples.append(Sample(units * calls / took.seconds, (before + after) / 2))
        before = after
        judgement = judge(samples, baseline, host_class=host_class, tolerance=tolerance)
        narrow = judgement.decided or is_narrow(judgement, PRECISION)
        if len(samples) >= REPETITIONS and narrow:
            return samples, judgement
        if time.monotonic() - began >= max_seconds:
            return samples, judgement


def _repeat(function: Callable[[], object], calls: int) -> Elapsed:
    def repeated() -> None:
        for _ in range(calls):
            function()

    return timed(repeated)
