"""A step's rate beside its baseline, and that nothing else is taken for a drop."""

from __future__ import annotations

import pytest

from robot_sf_otel.analysis.past import Past
from robot_sf_otel.manifest.schema import (
    PerformanceRecommendation,
    PipelineRunRecord,
    Progress,
    StepExecutionEntry,
)
from tests.unit.analysis.streams import Told, alarms, settings

NOW = PipelineRunRecord(
    run_id="now", pipeline="imitation", created_at="2026-02-01", params={"workers": 2}
)


def earlier(rate: float, number: int = 1, **params: object) -> PipelineRunRecord:
    entry = StepExecutionEntry(
        step_id="train",
        display_name="train",
        order=1,
        status="completed",
        duration_seconds=100.0,
        progress=Progress(done=100, rate=rate),
    )
    return PipelineRunRecord(
        run_id=f"earlier-{number}",
        pipeline="imitation",
        status="completed",
        created_at=f"2026-01-{number:02}",
        params=params,
        steps=[entry],
    )


@pytest.mark.parametrize(
    ("rate", "severity"), [(7.6, None), (7.4, "warning"), (5.1, "warning"), (4.9, "critical")]
)
def test_a_rate_is_measured_by_the_declared_baseline(rate: float, severity: str | None) -> None:
    told = Told().starts(baseline_rate=10.0)

    found = told.goes_on(300, rate=rate).ends().found()

    assert alarms(found) == ({"throughput_drop:train": severity} if severity else {})


def test_a_drop_is_told_while_the_step_runs() -> None:
    told = Told().starts(baseline_rate=10.0).goes_on(120, rate=10.0)

    told.goes_on(240, rate=6.0)

    (found,) = [one for one in told.live if one.trigger == "throughput_drop"]
    assert found.evidence["value"] == pytest.approx(6.0, rel=0.05)
    assert found.evidence["basis"] == "declared"


def test_what_drops_further_is_told_again_as_critical() -> None:
    told = Told().starts(baseline_rate=10.0).goes_on(300, rate=7.0).goes_on(300, rate=3.0)

    severities = [one.severity for one in told.live if one.trigger == "throughput_drop"]
    assert severities == ["warning", "critical"]


def test_without_a_declared_one_the_median_of_earlier_runs_is_the_baseline() -> None:
    past = Past([earlier(10.0, 1), earlier(30.0, 2), earlier(12.0, 3)], NOW)
    told = Told(past=past).starts()

    found = told.goes_on(60, rate=8.0).ends().found()["throughput_drop:train"]

    assert (found.evidence["baseline"], found.evidence["basis"]) == (12.0, "history")


def test_a_faster_run_is_named_with_the_parameters_that_differ() -> None:
    past = Past([earlier(30.0, 1, workers=8)], NOW)
    told = Told(past=past).starts()

    found = told.goes_on(60, rate=10.0).ends().found()["throughput_drop:train"]

    assert isinstance(found, PerformanceRecommendation)
    assert "workers=8 instead of 2" in found.suggested_actions[0]
    assert found.evidence["faster_run"] == "earlier-1"


def test_runs_of_another_pipeline_or_host_are_no_baseline() -> None:
    other = earlier(30.0)
    other.pipeline = "another"
    elsewhere = earlier(30.0, 2)
    elsewhere.host = {"hostname": "b"}
    now = PipelineRunRecord(
        run_id="now", pipeline="imitation", created_at="2026-02-01", host={"hostname": "a"}
    )
    told = Told(past=Past([other, elsewhere], now)).starts()

    assert [*told.goes_on(60, rate=10.0).ends().found()] == ["baseline_missing:train"]


def test_without_any_baseline_that_is_said_and_nothing_guessed() -> None:
    told = Told().starts()

    found = told.goes_on(60, rate=10.0).ends().found()

    assert found["baseline_missing:train"].severity == "info"
    assert found["baseline_missing:train"].evidence["threshold"] is None


def test_the_warm_up_and_a_slow_first_unit_do_not_count() -> None:
    told = Told().starts(baseline_rate=10.0)

    assert told.goes_on(25).goes_on(60, rate=10.0).ends().found() == {}


def test_an_evaluation_between_units_is_no_drop() -> None:
    told = Told().starts(baseline_rate=10.0)
    for _ in range(4):
        told.goes_on(60, rate=10.0).goes_on(50)

    assert told.ends().found() == {}


def test_a_step_that_is_too_short_is_not_judged() -> None:
    told = Told().starts(baseline_rate=100.0)

    assert told.goes_on(8, rate=10.0).ends().found() == {}


def test_progress_that_is_reported_in_large_pieces_has_its_rate() -> None:
    told = Told().starts(baseline_rate=10.0)
    for _ in range(30):
        told.goes_on(11).goes_on(1, rate=120.0)

    assert alarms(told.ends().found()) == {}


def test_progress_that_begins_anew_is_no_drop() -> None:
    told = Told().starts(baseline_rate=10.0).goes_on(100, rate=10.0)
    told.done["train"] = 0.0

    assert alarms(told.goes_on(100, rate=10.0).ends().found()) == {}


def test_a_late_report_of_less_does_not_begin_anew() -> None:
    told = Told().starts(baseline_rate=10.0).goes_on(60, rate=5.0)
    told.done["train"] -= 20
    told.goes_on(1)
    told.done["train"] += 20

    assert "throughput_drop:train" in told.ends().found()


def test_the_thresholds_are_those_of_the_file() -> None:
    rules = settings("[throughput_drop]\nwarning_percent = 60\ncritical_percent = 80")
    told = Told(rules).starts(baseline_rate=10.0)

    assert told.goes_on(60, rate=5.0).ends().found() == {}
