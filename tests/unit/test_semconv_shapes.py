"""Spans and events have what OpenTelemetry's conventions for CI/CD ask of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.semconv._incubating.attributes import cicd_attributes as cicd
from opentelemetry.semconv.attributes import error_attributes, exception_attributes

from robot_sf_otel.semconv import logs, spans

if TYPE_CHECKING:
    from robot_sf_otel.semconv import Result

RESULTS: tuple[tuple[Result, str | None, str | None], ...] = (
    ("success", None, None),
    ("failure", "ValueError", "ValueError"),
    ("failure", None, error_attributes.ErrorTypeValues.OTHER.value),
    ("error", None, error_attributes.ErrorTypeValues.OTHER.value),
    ("timeout", None, "timeout"),
    ("cancellation", None, None),
    ("skip", None, None),
)


def test_run_is_named_by_action_and_pipeline() -> None:
    actions = {value.value for value in cicd.CicdPipelineActionNameValues}
    assert spans.ACTION in actions
    assert spans.run_name("imitation") == f"{spans.ACTION} imitation"


@pytest.mark.parametrize(("result", "error", "expected"), RESULTS)
def test_span_of_a_run_has_the_required_attributes(
    result: Result, error: str | None, expected: str | None
) -> None:
    attributes = spans.run_started("p", "r-1", "file:///r-1") | spans.run_ended(result, error)
    assert attributes[cicd.CICD_PIPELINE_RESULT] == result
    assert attributes.get(error_attributes.ERROR_TYPE) == expected
    assert {
        cicd.CICD_PIPELINE_NAME,
        cicd.CICD_PIPELINE_ACTION_NAME,
        cicd.CICD_PIPELINE_RUN_ID,
        cicd.CICD_PIPELINE_RUN_URL_FULL,
    } <= set(attributes)


@pytest.mark.parametrize(("result", "error", "expected"), RESULTS)
def test_span_of_a_step_has_the_required_attributes(
    result: Result, error: str | None, expected: str | None
) -> None:
    began = spans.step_started("train", "p", "r-1", "file:///r-1")
    attributes = began | spans.step_ended(result, error)
    assert attributes[cicd.CICD_PIPELINE_TASK_RUN_RESULT] == result
    assert attributes.get(error_attributes.ERROR_TYPE) == expected
    assert {cicd.CICD_PIPELINE_TASK_NAME, cicd.CICD_PIPELINE_TASK_RUN_URL_FULL} <= set(attributes)


def test_what_is_unknown_or_as_usual_is_left_out() -> None:
    assert spans.step_started("s") == {"cicd.pipeline.task.name": "s"}
    assert spans.step_ended("success") == {"cicd.pipeline.task.run.result": "success"}
    assert set(spans.step_started("s", title="S", total=0, unit="episodes")) == {
        "cicd.pipeline.task.name",
        "robot_sf.step.title",
        "robot_sf.step.progress.total",
        "robot_sf.step.progress.unit",
    }


def test_exception_is_the_conventions() -> None:
    assert spans.exception("ValueError", "no", "Traceback") == {
        exception_attributes.EXCEPTION_TYPE: "ValueError",
        exception_attributes.EXCEPTION_MESSAGE: "no",
        exception_attributes.EXCEPTION_STACKTRACE: "Traceback",
    }
    assert "exception.stacktrace" not in spans.exception("ValueError", "no", None)


@pytest.mark.parametrize(
    ("severity", "number", "text"),
    [("info", 9, "INFO"), ("warning", 13, "WARN"), ("critical", 17, "ERROR")],
)
def test_severity_of_a_finding_is_the_log_records(severity: str, number: int, text: str) -> None:
    event = logs.finding(
        anomaly=False,
        identity="memory_growth:train",
        severity=severity,
        message="it grows",
        pipeline="p",
        run_id="r-1",
        step_id="train",
        actions=["free it"],
    )
    assert (event.severity, event.severity_text) == (number, text)
    assert (event.name, event.body) == ("robot_sf.recommendation", "it grows")
    assert event.attributes["robot_sf.finding.suggested_actions"] == ("free it",)
    assert event.attributes["cicd.pipeline.task.name"] == "train"


def test_anomaly_of_a_run_names_no_step_and_no_action() -> None:
    event = logs.finding(
        anomaly=True,
        identity="stalled:run",
        severity="warning",
        message="it stalls",
        pipeline="p",
        run_id="r-1",
        step_id=None,
    )
    assert event.name == "robot_sf.anomaly"
    assert set(event.attributes) == {
        *("cicd.pipeline.name", "cicd.pipeline.run.id"),
        *("robot_sf.finding.id", "robot_sf.finding.severity", "robot_sf.finding.message"),
    }


def test_beginnings_say_what_began() -> None:
    run = logs.run_started("p", "r-1", "file:///r-1", "city")
    step = logs.step_started("p", "r-1", "train", "00f067aa0ba902b7")
    assert (run.severity_text, step.severity_text) == ("INFO", "INFO")
    assert run.attributes["cicd.pipeline.run.url.full"] == "file:///r-1"
    assert step.attributes["cicd.pipeline.task.run.id"] == "00f067aa0ba902b7"
