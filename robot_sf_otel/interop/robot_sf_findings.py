"""The original tracker's recommendations and performance tests in our types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from robot_sf_otel.manifest.codec import jsonable
from robot_sf_otel.manifest.schema import (
    PerformanceRecommendation,
    PerformanceTestResult,
    PerfStatus,
    Severity,
)
from robot_sf_otel.store.legacy import OLD_FORMAT, number

_SEVERITY: Final[dict[str, Severity]] = {
    "info": "info",
    "warning": "warning",
    "critical": "critical",
}
_PERF_STATUS: Final[dict[str, PerfStatus]] = {
    "passed": "passed",
    "soft-breach": "soft-breach",
    "failed": "failed",
}


def recommendations(
    recorded: Sequence[Mapping[str, Any]], time_ms: int
) -> Iterator[PerformanceRecommendation]:
    """Yield recommendations as they were made; their evidence says by whom.

    Args:
        recorded: What stands in the journal.
        time_ms: Unix milliseconds, for those that have no time.
    """
    for place, raw in enumerate(recorded, start=1):
        made = number(raw.get("timestamp_ms"), 1e15)
        yield PerformanceRecommendation(
            id=f"{OLD_FORMAT}-{place}",
            trigger=str(raw.get("trigger") or "unknown"),
            severity=_SEVERITY.get(str(raw.get("severity")), "info"),
            message=str(raw.get("message") or "no message was recorded"),
            suggested_actions=[str(one) for one in _list(raw.get("suggested_actions"))]
            or ["none was recorded"],
            timestamp_ms=time_ms if made is None else int(made),
            evidence={
                **jsonable(_dict(raw.get("evidence"))),
                "recorded_by": OLD_FORMAT,
            },
        )


def perf_tests(recorded: Sequence[Mapping[str, Any]]) -> Iterator[PerformanceTestResult]:
    """Yield the performance tests that have a result."""
    for place, raw in enumerate(recorded, start=1):
        measured = number(raw.get("throughput_measured"))
        if measured is None:
            continue
        baseline = number(raw.get("throughput_baseline"))
        places = [at for at in _list(raw.get("recommendations_ref")) if isinstance(at, int)]
        yield PerformanceTestResult(
            test_id=str(raw.get("test_id") or f"{OLD_FORMAT}-{place}"),
            metric="throughput",
            unit="steps/s",
            throughput_measured=measured,
            throughput_baseline=baseline,
            ratio=measured / baseline if baseline else None,
            duration_seconds=number(raw.get("duration_seconds")) or 0.0,
            status=_PERF_STATUS.get(str(raw.get("status")), "inconclusive"),
            matrix={"matrix": jsonable(raw.get("matrix"))},
            recommendations_ref=[f"{OLD_FORMAT}-{at + 1}" for at in places],
        )


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _dict(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
