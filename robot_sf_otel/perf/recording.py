"""Results of performance tests in the run that they belong to, with what to do about them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robot_sf_otel.instrument.artifacts import describe
from robot_sf_otel.manifest.events import ArtifactLogged
from robot_sf_otel.manifest.schema import PerformanceTestResult
from robot_sf_otel.perf.advice import advice, trigger_of
from robot_sf_otel.runs import append_recommendations, record_perf_test
from robot_sf_otel.store import producer

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.analysis.baseline import Judgement, Sample


def result_of(
    judgement: Judgement,
    samples: Sequence[Sample],
    *,
    test_id: str,
    matrix: Mapping[str, Any],
    metric: str,
    unit: str,
    tolerance: float,
    seconds: float,
) -> PerformanceTestResult:
    """Return a judgement as it is recorded."""
    trigger = trigger_of(judgement.status)
    return PerformanceTestResult(
        test_id=test_id,
        matrix=dict(matrix),
        metric=metric,
        unit=unit,
        throughput_baseline=judgement.expected,
        throughput_measured=judgement.measured,
        samples=[sample.value for sample in samples],
        ratio=judgement.ratio,
        interval=judgement.interval,
        tolerance=tolerance,
        duration_seconds=seconds,
        status=judgement.status,
        recommendations_ref=[] if judgement.status == "passed" else [f"{trigger}:{test_id}"],
    )


def record_result(
    run_dir: Path, result: PerformanceTestResult, *, step_id: str, started_ms: int
) -> None:
    """Record a result, and what to do about it where it did not pass.

    Args:
        run_dir: A run that has not ended.
        result: What came out.
        step_id: The step that was measured.
        started_ms: When measuring began, Unix milliseconds.

    Raises:
        OSError: There is no place for a journal.
    """
    now_ms = time.time_ns() // 1_000_000
    todo = advice(result, step_id=step_id, started_ms=started_ms, now_ms=now_ms)
    if todo is not None:
        append_recommendations(run_dir, [todo])
    record_perf_test(run_dir, result)


def keep_artifacts(run_dir: Path, files: Iterable[Path]) -> None:
    """Record files that belong to a run.

    Raises:
        OSError: There is no place for a journal.
    """
    now_ns = time.time_ns()
    for file in files:
        artifact = describe(file, "performance", file.name, run_dir, now_ns)
        producer.append(run_dir, ArtifactLogged(time_unix_nano=now_ns, artifact=artifact))
