"""A function against its baseline, in this process: what the pytest fixture does."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from robot_sf_otel.analysis.baseline import host_class
from robot_sf_otel.perf import baselines
from robot_sf_otel.perf.advice import sentence
from robot_sf_otel.perf.in_process import measure
from robot_sf_otel.perf.recording import result_of
from robot_sf_otel.perf.results import Measured
from robot_sf_otel.system_metrics.environment import host_facts, runtime_facts

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PerformanceTestResult

_METRIC = "wall"


def gate(
    function: Callable[[], object],
    *,
    test_id: str,
    units: float,
    unit: str,
    tolerance: float,
    max_seconds: float,
    path: Path | None,
    reason: str | None,
) -> tuple[PerformanceTestResult, str]:
    """Measure a function; return the result and a sentence about it.

    Args:
        function: What is measured.
        test_id: What its baseline is called by.
        units: What a call gets done.
        unit: What that is called.
        tolerance: Part below the baseline at which it fails.
        max_seconds: Seconds after which no further repetition is begun.
        path: The baseline file; nothing is compared where None.
        reason: Why what is measured becomes the baseline; None where it is compared.

    Raises:
        BaselineError: The file cannot be used, or is missing where it is to be written.
    """
    host = host_class(host_facts(), runtime_facts())
    if reason is not None and path is None:
        raise baselines.BaselineError("there is no baseline file to write: --throughput-baseline")
    baseline = None
    if path is not None and reason is None:
        known = baselines.read(path)
        baseline = baselines.choose(known, test_id=test_id, host=host, metric=_METRIC)
    began = time.monotonic()
    samples, judgement = measure(
        function,
        units=units,
        baseline=baseline,
        host_class=host,
        tolerance=tolerance,
        max_seconds=max_seconds,
    )
    if path is not None and reason is not None:
        taken = baselines.make(
            test_id=test_id,
            host=host,
            metric=_METRIC,
            unit=f"{unit}/s",
            samples=samples,
            date=datetime.now(UTC).date().isoformat(),
            reason=reason,
        )
        baselines.update(path, [taken])
    result = result_of(
        judgement,
        samples,
        test_id=test_id,
        matrix={},
        metric=_METRIC,
        unit=f"{unit}/s",
        tolerance=tolerance,
        seconds=time.monotonic() - began,
    )
    tested = Measured(
        result=result, samples=samples, judgement=judgement, baseline=baseline, host_class=host
    )
    return result, "; ".join([sentence(result), *tested.remarks()])
