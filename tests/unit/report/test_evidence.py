"""The chart of a finding's samples: it fits, it says what is known, and nothing else."""

from __future__ import annotations

import io

import pytest

from robot_sf_otel.manifest.events import rfc3339
from robot_sf_otel.manifest.schema import PerformanceRecommendation, StepSample, TelemetrySnapshot
from robot_sf_otel.report.evidence import add_evidence, chart, series_of, window_of
from robot_sf_otel.report.page import Page

START = 1_700_000_000


def finding(metric: str = "cpu_throttled_percent", **evidence: object) -> PerformanceRecommendation:
    return PerformanceRecommendation(
        id="cpu_throttled:train",
        trigger="cpu_throttled",
        severity="warning",
        message="The container was stopped",
        suggested_actions=["Raise the quota"],
        timestamp_ms=(START + 120) * 1000,
        step_id="train",
        evidence={
            "metric": metric,
            "value": 40.0,
            "threshold": 25.0,
            "unit": "%",
            "window_start": rfc3339((START + 60) * 10**9),
            "window_end": rfc3339((START + 120) * 10**9),
            "samples": 60,
            **evidence,
        },
    )


def samples(count: int = 300) -> list[TelemetrySnapshot]:
    return [
        TelemetrySnapshot(
            timestamp_ms=(START + second) * 1000,
            cpu_throttled_percent=40.0 if 60 <= second <= 120 else 5.0,
        )
        for second in range(count)
    ]


def text_of(found: PerformanceRecommendation, told: list[TelemetrySnapshot], columns: int) -> str:
    page = Page(io.StringIO(), {"COLUMNS": str(columns)})
    add_evidence(page, found, series_of(found, told))
    return page.text()


def test_the_series_reaches_a_window_beyond_the_evidence() -> None:
    series = series_of(finding(), samples())

    assert (series["field"], series["unit"]) == ("cpu_throttled_percent", "%")
    assert [point[0] - START for point in series["points"]] == list(range(181))


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_chart_has_the_threshold_and_the_window_and_fits(columns: int) -> None:
    text = text_of(finding(), samples(), columns)

    rows = [line for line in text.split("\n") if "•" in line]
    assert rows
    assert any("─" in line and "25" in line for line in text.split("\n"))
    assert max(map(len, text.split("\n"))) <= columns
    assert "- Raise the quota" in text
    assert "docs/reference/recommendations.md#cpu_throttled" in text.replace("\n", "")


def test_the_marked_window_lies_below_the_high_samples() -> None:
    points = [(float(second), 40.0 if 60 <= second < 120 else 5.0) for second in range(180)]

    lines = chart([*points], (60.0, 120.0), 25.0, 60)

    high = [index for index, sign in enumerate(lines[0]) if sign == "•"]
    marked = [index for index, sign in enumerate(lines[-1]) if sign == "━"]
    assert (high[0], high[-1]) == (marked[0], marked[-1])


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0])
def test_a_flat_line_is_drawn(value: float) -> None:
    lines = chart([(0.0, value), (1.0, value)], (0.0, 1.0), None, 60)

    assert sum(line.count("•") for line in lines) == 2


def test_a_single_sample_is_drawn() -> None:
    assert sum(line.count("•") for line in chart([(0.0, 1.0)], (0.0, 0.0), 2.0, 60)) == 1


def test_without_samples_that_is_said() -> None:
    assert "No samples of cpu_throttled_percent" in text_of(finding(), [], 80)


def test_a_metric_that_no_sample_has_is_not_drawn() -> None:
    series = series_of(finding("duration_seconds"), samples())

    assert series["points"] == []
    assert "No samples of duration_seconds" in text_of(finding("duration_seconds"), samples(), 80)


@pytest.mark.parametrize("window", [None, "yesterday", 7])
def test_evidence_of_others_without_a_time_is_shown_without_a_chart(window: object) -> None:
    found = finding(window_start=window)

    assert window_of(found) is None
    assert "No samples" in text_of(found, samples(), 80)


def test_the_rate_of_one_of_several_steps_is_its_own() -> None:
    several = [
        TelemetrySnapshot(
            timestamp_ms=(START + second) * 1000,
            steps_per_sec=1.0,
            steps=[StepSample(step_id="other", rate=1.0), StepSample(step_id="train", rate=9.0)],
        )
        for second in range(180)
    ]

    points = series_of(finding("steps_per_sec"), several)["points"]

    assert {value for _, value in points} == {9.0}


def test_a_finding_of_others_without_evidence_is_shown_with_what_to_do() -> None:
    found = finding()
    found.evidence = {}

    text = text_of(found, samples(), 80)

    assert series_of(found, samples())["field"] == ""
    assert "evidence" not in text
    assert "No samples" not in text
    assert "What to do" in text
