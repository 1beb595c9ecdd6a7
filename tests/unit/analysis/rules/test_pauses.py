"""Standing still, and taking longer than ever; telemetry's own cost."""

from __future__ import annotations

from typing import Any

import pytest

from robot_sf_otel.analysis.past import Past
from robot_sf_otel.manifest.schema import (
    PipelineRunRecord,
    Progress,
    StepExecutionEntry,
)
from tests.unit.analysis.streams import Told, alarms

NOW = PipelineRunRecord(run_id="now", pipeline="imitation", created_at="2026-02-01")


def idle(_: float) -> dict[str, Any]:
    return {"cpu_cores_process": 0.01, "cpu_percent_process": 0.1, "disk_read_mb_s": 0.0}


def test_a_step_that_stands_still_and_idle_is_told() -> None:
    told = Told().starts(total=1000.0).goes_on(60, rate=2.0)

    told.goes_on(80, idle)

    (found,) = [one for one in told.live if one.trigger == "stalled"]
    assert (found.id, found.severity) == ("stalled:train", "warning")
    assert 60 <= found.evidence["value"] <= 70


@pytest.mark.parametrize("seconds", [40, 55])
def test_a_pause_that_is_not_long_enough_is_no_stall(seconds: float) -> None:
    told = Told().starts(total=1000.0).goes_on(60, rate=2.0)

    assert alarms(told.goes_on(seconds, idle).goes_on(20, rate=2.0).found()) == {}


def test_an_evaluation_computes_and_is_no_stall() -> None:
    told = Told().starts(total=1000.0).goes_on(60, rate=2.0)

    assert alarms(told.goes_on(400).goes_on(60, rate=2.0).found()) == {}


def test_what_turns_without_progress_for_very_long_is_told() -> None:
    told = Told().starts(total=1000.0).goes_on(60, rate=2.0)

    told.goes_on(920)

    assert [one.id for one in told.live if one.trigger == "stalled"] == ["stalled:train"]


def test_a_step_without_a_total_may_wait() -> None:
    told = Told().starts().goes_on(60, rate=2.0)

    assert alarms(told.goes_on(600, idle).found()) == {}


def test_a_step_that_has_done_everything_is_not_stalled() -> None:
    told = Told().starts(total=120.0).goes_on(60, rate=2.0)

    assert alarms(told.goes_on(600, idle).found()) == {}


def test_a_step_with_long_units_has_long_pauses() -> None:
    told = Told().starts(total=1000.0)
    for _ in range(6):
        told.goes_on(29, idle).goes_on(1, rate=1.0)

    assert alarms(told.goes_on(200, idle).found()) == {}


def test_without_the_cpu_it_is_not_known_whether_a_step_is_idle() -> None:
    told = Told().starts(total=1000.0).goes_on(60, rate=2.0)

    found = told.goes_on(200, lambda _: {**idle(_), "cpu_cores_process": None}).found()

    assert alarms(found) == {}


def test_a_long_stall_becomes_critical() -> None:
    told = Told().starts(total=1000.0).goes_on(60, rate=2.0).goes_on(1850, idle)

    severities = [one.severity for one in told.live if one.trigger == "stalled"]
    assert severities == ["warning", "critical"]


def took(*durations: float) -> Past:
    runs = [
        PipelineRunRecord(
            run_id=f"r{index}",
            pipeline="imitation",
            status="completed",
            created_at=f"2026-01-{index + 1:02}",
            steps=[
                StepExecutionEntry(
                    step_id="train",
                    display_name="train",
                    order=1,
                    status="completed",
                    duration_seconds=seconds,
                    progress=Progress(),
                )
            ],
        )
        for index, seconds in enumerate(durations)
    ]
    return Past(runs, NOW)


def test_a_step_longer_than_ever_is_told_as_soon_as_it_is() -> None:
    told = Told(past=took(100, 102, 98, 101)).starts()

    told.goes_on(200)

    (found,) = [one for one in told.live if one.trigger == "step_slower_than_history"]
    assert found.severity == "warning"
    assert found.evidence["value"] == pytest.approx(151, abs=6)


@pytest.mark.parametrize("past", [took(100, 101), took(100, 300, 60, 500), took(130, 140, 150)])
def test_too_few_or_scattered_runs_are_no_measure(past: Past) -> None:
    told = Told(past=past).starts()

    assert told.goes_on(195).ends().found() == {}


def test_a_drop_of_the_rate_says_it_already() -> None:
    told = Told(past=took(100, 102, 98, 101)).starts(baseline_rate=10.0)

    found = told.goes_on(300, rate=2.0).ends().found()

    assert "throughput_drop:train" in found
    assert "step_slower_than_history:train" not in found


@pytest.mark.parametrize(("share", "severity"), [(0.029, None), (0.05, "info"), (0.2, "warning")])
def test_the_cost_of_telemetry_is_told(share: float, severity: str | None) -> None:
    found = Told().costs(share).goes_on(120).found()

    told = found.get("telemetry_overhead:run")
    assert (told and told.severity) == severity


def test_the_cost_of_a_short_run_is_not_told() -> None:
    assert Told().costs(0.5).goes_on(30).found() == {}
