"""What to do about a performance test that did not pass, with the evidence for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from robot_sf_otel.analysis.baseline import limits
from robot_sf_otel.manifest.events import rfc3339
from robot_sf_otel.manifest.formats import number
from robot_sf_otel.manifest.schema import PerformanceRecommendation, PerformanceTestResult, Severity

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PerfStatus

_NOISY: Final = [
    "Repeat it while nothing else runs on the machine",
    "Allow more time with `max_seconds`, or make a repetition longer",
]
_SLOWER: Final = [
    "Compare the step's bill with a good run: `robot-sf-otel compare GOOD_RUN RUN`",
    "Look for the commit: run the same scenario on the last good one with the same baseline file",
    "If it is meant to be slower: --update-baseline --reason 'why'",
]
_NEW: Final = ["Take a baseline: --baseline FILE --update-baseline, and commit the file"]
_ADVICE: Final[dict[PerfStatus, tuple[Severity, list[str]]]] = {
    "failed": ("critical", _SLOWER),
    "soft-breach": ("warning", _SLOWER),
    "inconclusive": ("info", _NOISY),
    "no-baseline": ("info", _NEW),
}


def advice(
    result: PerformanceTestResult, *, step_id: str | None, started_ms: int, now_ms: int
) -> PerformanceRecommendation | None:
    """Return what to do about a result; None where it passed.

    Args:
        result: What came out.
        step_id: The step that was measured.
        started_ms: When measuring began, Unix milliseconds.
        now_ms: When it ended.
    """
    if result.status == "passed":
        return None
    severity, actions = _ADVICE[result.status]
    trigger = trigger_of(result.status)
    return PerformanceRecommendation(
        id=f"{trigger}:{result.test_id}",
        trigger=trigger,
        severity=severity,
        step_id=step_id,
        message=sentence(result),
        suggested_actions=list(actions),
        timestamp_ms=now_ms,
        evidence={
            "metric": result.metric,
            "value": result.throughput_measured,
            "threshold": _threshold(result),
            "unit": result.unit,
            "window_start": _time(started_ms),
            "window_end": _time(now_ms),
            "samples": len(result.samples),
            "baseline": result.throughput_baseline,
            "interval": None if result.interval is None else list(result.interval),
        },
    )


def _threshold(result: PerformanceTestResult) -> float | None:
    """Return the throughput that decided: an inconclusive interval reaches across it."""
    if result.throughput_baseline is None:
        return None
    failed, soft_breach = limits(result.tolerance)
    return result.throughput_baseline * (failed if result.status == "failed" else soft_breach)


def _time(unix_ms: int) -> str:
    return rfc3339(unix_ms * 1_000_000)


def trigger_of(status: PerfStatus) -> str:
    """Return the rule that a result which did not pass belongs to."""
    return "baseline_missing" if status == "no-baseline" else "throughput_drop"


def sentence(result: PerformanceTestResult) -> str:
    """Return what came out in a sentence."""
    measured = f"{number(result.throughput_measured)} {result.unit}"
    if result.ratio is None:
        return f"{result.test_id}: {measured}, and no baseline to compare with"
    change = f"{measured}, {abs(1 - result.ratio):.1%} {'below' if result.ratio < 1 else 'above'}"
    against = f"{change} the baseline of {number(result.throughput_baseline)}"
    if result.status != "inconclusive":
        return f"{result.test_id}: {against}"
    if result.interval is None:
        return f"{result.test_id}: {against}; one sample each does not say how noisy that is"
    low, high = result.interval
    return (
        f"{result.test_id}: {against}, but too noisy to tell: "
        f"anything from {number(low)} to {number(high)}"
    )
