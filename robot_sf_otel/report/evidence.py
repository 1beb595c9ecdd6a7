"""The evidence of one finding for a terminal: a chart of its samples, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from robot_sf_otel.analysis.recommendations import PAGE
from robot_sf_otel.manifest.facts import evidence_sentence
from robot_sf_otel.manifest.fields import TELEMETRY
from robot_sf_otel.manifest.formats import duration, number
from robot_sf_otel.report.page import Page, plain, status_text

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation, TelemetrySnapshot

_ROWS: Final = 10
_WIDEST: Final = 100
_AXIS: Final = 12
"""Columns of the scale on the left."""
_SERIES: Final[dict[str, str]] = {
    "cpu_percent": "cpu_percent_system",
    "cpu_percent_others": "cpu_percent_system",
    "memory_available_percent": "memory_available_mb",
    "seconds_without_progress": "progress_done",
}
"""The field that is drawn for a metric that is worked out from several."""


def series_of(
    finding: PerformanceRecommendation | Anomaly, samples: Iterable[TelemetrySnapshot]
) -> dict[str, Any]:
    """Return the samples of a finding's time, with as much again before and after it, up to 60 s.

    Returns:
        `field`, `unit`, and `points`: pairs of Unix seconds and value, None where unknown. No
        points where no field of a sample shows the metric.
    """
    field = field_of(finding)
    window = window_of(finding)
    if field not in TELEMETRY or window is None:
        return {"field": field, "unit": "", "points": []}
    around = min(60.0, window[1] - window[0])
    low, high = window[0] - around, window[1] + around
    points: list[tuple[float, float | None]] = []
    for sample in samples:
        now = sample.timestamp_ms / 1000
        if now > high:
            break
        if now >= low:
            points.append((now, _value(sample, field, finding.step_id)))
    return {"field": field, "unit": TELEMETRY[field].unit, "points": points}


def field_of(finding: PerformanceRecommendation | Anomaly) -> str:
    """Return the telemetry field that shows a finding's metric; empty where it names none."""
    metric = str(finding.evidence.get("metric") or "")
    return _SERIES.get(metric, metric)


def _value(sample: TelemetrySnapshot, field: str, step_id: str | None) -> float | None:
    if field in {"steps_per_sec", "progress_done"} and sample.steps:
        one = next((one for one in sample.steps if one.step_id == step_id), None)
        if one is not None:
            return one.rate if field == "steps_per_sec" else one.done
    value = getattr(sample, field)
    return float(value) if isinstance(value, int | float) else None


def window_of(finding: PerformanceRecommendation | Anomaly) -> tuple[float, float] | None:
    """Return the time of a finding's evidence in Unix seconds, None where it has none."""
    try:
        start, end = (
            datetime.fromisoformat(str(finding.evidence[name])).timestamp()
            for name in ("window_start", "window_end")
        )
    except (KeyError, ValueError, OverflowError):
        return None
    return start, end


def add_evidence(
    page: Page, finding: PerformanceRecommendation | Anomaly, series: dict[str, Any]
) -> None:
    """Add what was found, the chart of its samples, and what to do.

    Args:
        page: Where.
        finding: What was found.
        series: What `series_of` returned.
    """
    page.line(
        Text.assemble(
            status_text(finding.severity), f" {plain(finding.id)}: {plain(finding.message)}"
        )
    )
    if finding.evidence:
        page.bullet(Text(f"evidence: {plain(evidence_sentence(finding.evidence))}", "dim"))
    _add_chart(page, finding, series)
    actions: list[str] = getattr(finding, "suggested_actions", [])
    if actions:
        page.heading("What to do")
        for action in actions:
            page.bullet(f"- {plain(action)}")
    page.line()
    page.line(f"About the rule: {PAGE}#{plain(finding.trigger)}", "dim")


def _add_chart(
    page: Page, finding: PerformanceRecommendation | Anomaly, series: dict[str, Any]
) -> None:
    points: list[tuple[float, float | None]] = series["points"]
    field, unit = str(series["field"]), str(series["unit"])
    window = window_of(finding)
    if not field:
        return
    page.line()
    if window is None or not any(value is not None for _, value in points):
        page.line(f"No samples of {field} are recorded for that time.", "dim")
        return
    threshold = finding.evidence.get("threshold")
    drawn = field == finding.evidence.get("metric")
    line = float(threshold) if drawn and isinstance(threshold, int | float) else None
    width = max(10, min(_WIDEST, page.width - _AXIS - 2))
    page.line(f"{field} ({unit})" if unit else field, "bold")
    for text in chart(points, window, line, width):
        page.line(text)
    seconds = points[-1][0] - points[0][0]
    said = f"{' ' * _AXIS}{len(points)} samples of {duration(seconds)}"
    page.line(
        f"{said}; ━ the time of the finding" + ("; ─ the threshold" if line is not None else ""),
        "dim",
    )


def chart(
    points: list[tuple[float, float | None]],
    window: tuple[float, float],
    threshold: float | None,
    width: int,
) -> list[str]:
    """Return the lines of a chart: a column is the mean of its time, `•`; below it the window.

    Args:
        points: Unix seconds and value; at least one value is known.
        window: The time that is marked, Unix seconds.
        threshold: Where a line goes across; None for none.
        width: Columns without the scale.
    """
    start, end = points[0][0], points[-1][0]
    width = min(width, len(points))
    step = (end - start) / width or 1.0
    cells: list[list[float]] = [[] for _ in range(width)]
    for now, value in points:
        if value is not None:
            cells[min(width - 1, int((now - start) / step))].append(value)
    columns = [fmean(cell) if cell else None for cell in cells]
    known = [value for value in columns if value is not None]
    levels: list[float] = [*known] if threshold is None else [*known, threshold]
    low, high = min(levels), max(levels)
    if low >= 0 and low < high / 2:
        low = 0.0
    if high <= low:
        high = low + (abs(low) or 1.0)
    lines: list[str] = []

    def row_of(value: float) -> int:
        return round((value - low) / (high - low) * (_ROWS - 1))

    for row in reversed(range(_ROWS)):
        crossing = threshold is not None and row_of(threshold) == row
        cells_of_row = "".join(
            "•" if value is not None and row_of(value) == row else "─" if crossing else " "
            for value in columns
        )
        labelled = row in {0, _ROWS - 1} or crossing
        at = low + (high - low) * row / (_ROWS - 1)
        label = number(threshold if crossing else at) if labelled else ""
        lines.append(f"{label[: _AXIS - 2]:>{_AXIS - 2}} {'┤' if labelled else '│'}{cells_of_row}")
    marked = "".join(
        "━" if window[0] <= start + (index + 0.5) * step <= window[1] else " "
        for index in range(width)
    )
    return [*lines, f"{'':{_AXIS}}{marked}"]
