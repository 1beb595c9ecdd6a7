from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from robot_sf_otel import semconv
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest import from_spans
from robot_sf_otel.redaction import Redactor
from robot_sf_otel_manifest.readable import recorded
from tests.unit.exporters.spans import T0, exception, recorded_root, recorded_span

if TYPE_CHECKING:
    from robot_sf_otel.manifest.spans import RecordedSpan

REDACT = Redactor()
TOKEN = "ghp_" + "a1B2" * 10


def finished(span: RecordedSpan) -> e.StepFinished:
    last = from_spans.step_events(span, REDACT, "here:1")[-1]
    assert isinstance(last, e.StepFinished)
    return last


def test_a_span_is_a_step_with_its_own_times() -> None:
    started, ended = from_spans.step_events(
        recorded_span("load", 2, start=1, end=3.5), REDACT, "here:1"
    )

    assert isinstance(started, e.StepStarted)
    assert (started.step_id, started.display_name) == ("load", "load")
    assert (started.span_id, started.parent_span_id) == ("0" * 15 + "2", "0" * 15 + "1")
    assert started.time_unix_nano == T0 + 1_000_000_000
    assert started.process == "here:1"
    assert isinstance(ended, e.StepFinished)
    assert (ended.status, ended.result, ended.duration_seconds) == ("completed", "success", 2.5)


def test_our_own_attributes_name_the_step_and_its_progress() -> None:
    attributes = {
        semconv.TASK_NAME: "finetune",
        semconv.STEP_TITLE: "PPO fine-tuning",
        semconv.STEP_UNIT: "timesteps",
        semconv.STEP_TOTAL: 1000,
        semconv.STEP_DONE: 500.0,
    }
    started, ended = from_spans.step_events(
        recorded_span("x", 2, start=0, end=5, attributes=attributes), REDACT, None
    )

    assert isinstance(started, e.StepStarted)
    assert (started.step_id, started.display_name) == ("finetune", "PPO fine-tuning")
    assert (started.total, started.unit) == (1000, "timesteps")
    assert isinstance(ended, e.StepFinished)
    assert ended.progress is not None
    assert (ended.progress.done, ended.progress.rate) == (500, 100)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ("success", "completed"),
        ("failure", "failed"),
        ("error", "failed"),
        ("timeout", "failed"),
        ("cancellation", "cancelled"),
        ("skip", "skipped"),
    ],
)
def test_the_task_result_decides_the_status(result: str, status: str) -> None:
    ended = finished(recorded_span("x", 2, attributes={semconv.TASK_RUN_RESULT: result}))

    assert (ended.status, ended.result) == (status, result)


def test_an_unknown_result_leaves_the_decision_to_the_span_status() -> None:
    attributes = {semconv.TASK_RUN_RESULT: "sideways"}

    assert finished(recorded_span("x", 2, attributes=attributes)).result == "success"


def test_a_skipped_step_says_why() -> None:
    attributes = {semconv.TASK_RUN_RESULT: "skip", semconv.STEP_SKIP_REASON: "cache hit"}

    assert finished(recorded_span("x", 2, attributes=attributes)).skip_reason == "cache hit"


def test_an_exception_of_a_failed_span_is_its_error() -> None:
    events = [exception("ValueError", "first"), exception("KeyError", "'gone'", "Traceback …")]
    ended = finished(recorded_span("x", 2, status=StatusCode.ERROR, events=events))

    assert (ended.status, ended.result) == ("failed", "failure")
    assert ended.error is not None
    assert (ended.error.type, ended.error.message) == ("KeyError", "'gone'")
    assert ended.error.stacktrace == "Traceback …"


def test_an_exception_that_was_handled_leaves_the_step_completed() -> None:
    ended = finished(recorded_span("x", 2, events=[exception("ValueError")]))

    assert (ended.status, ended.error) == ("completed", None)


def test_a_failed_span_without_exception_tells_its_description() -> None:
    span = recorded_span(
        "x",
        2,
        status=StatusCode.ERROR,
        description="no display",
        attributes={"error.type": "DisplayError"},
    )
    error = finished(span).error

    assert error is not None
    assert (error.type, error.message) == ("DisplayError", "no display")


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "asyncio.exceptions.CancelledError"])
def test_an_interruption_is_a_cancellation(kind: str) -> None:
    ended = finished(recorded_span("x", 2, status=StatusCode.ERROR, events=[exception(kind)]))

    assert (ended.status, ended.result, ended.error) == ("cancelled", "cancellation", None)


def test_secrets_in_messages_tracebacks_and_descriptions_are_masked() -> None:
    span = recorded_root(
        status=StatusCode.ERROR,
        description=f"token={TOKEN}",
        events=[exception("E", f"token={TOKEN}", f"x = '{TOKEN}'")],
    )
    ended = from_spans.run_finished(span, REDACT)

    assert TOKEN not in repr(ended)
    assert "[redacted]" in (ended.reason or "")


def test_numbers_among_the_attributes_are_the_metrics_of_the_step() -> None:
    attributes = {
        "reward": 12.5,
        "episodes": 20,
        "done": True,
        "label": "a",
        "thread.id": 7,
        "api_key": 123456,
        "loss": float("nan"),
        semconv.STEP_DONE: 3,
    }
    logged = from_spans.step_events(recorded_span("x", 2, attributes=attributes), REDACT, None)[1]

    assert isinstance(logged, e.MetricLogged)
    assert logged.metrics == {"reward": 12.5, "episodes": 20, "loss": "NaN"}


def test_a_span_that_has_not_ended_is_no_step() -> None:
    assert recorded(ReadableSpan("x")) is None


def test_a_root_span_names_the_run_and_gives_its_parameters() -> None:
    attributes = {
        semconv.PIPELINE_NAME: "imitation",
        semconv.RUN_SCENARIO: "maze.toml",
        semconv.RUN_TAGS: ("nightly", "gpu"),
        "learning_rate": 3e-4,
        "sizes": (1, 2),
        "password": "hunter2",
    }
    changed, params = from_spans.root_events(recorded_root("RUN x", attributes=attributes), REDACT)

    assert isinstance(changed, e.PlanChanged)
    assert (changed.pipeline, changed.scenario_config_path) == ("imitation", "maze.toml")
    assert isinstance(params, e.ParamsLogged)
    assert params.tags == ["nightly", "gpu"]
    assert params.params == {
        "learning_rate": 3e-4,
        "sizes": [1, 2],
        "password": "[redacted]",
    }


def test_a_run_is_never_skipped() -> None:
    ended = from_spans.run_finished(
        recorded_root(attributes={semconv.PIPELINE_RESULT: "skip"}), REDACT
    )

    assert (ended.status, ended.result) == ("completed", "skip")


@pytest.mark.parametrize(("told", "kind"), [("_OTHER", None), ("OSError", "OSError")])
def test_a_failed_run_has_no_error_of_a_kind_that_nobody_knows(told: str, kind: str | None) -> None:
    root = recorded_root(status=StatusCode.ERROR, attributes={semconv.ERROR_TYPE: told})
    error = from_spans.run_finished(root, REDACT).error

    assert (error.type if error is not None else None) == kind


def test_a_failed_run_gives_type_and_message_as_its_reason() -> None:
    events = [exception("ValueError", "bad")]
    ended = from_spans.run_finished(recorded_root(status=StatusCode.ERROR, events=events), REDACT)

    assert (ended.status, ended.reason) == ("failed", "ValueError: bad")
    assert ended.duration_seconds == 10


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        pytest.param(recorded_root(), True, id="no parent"),
        pytest.param(recorded_root(parent=9, remote=True), True, id="remote parent"),
        pytest.param(recorded_span("x", 2), False, id="local parent"),
    ],
)
def test_a_span_without_a_parent_in_its_process_is_a_local_root(
    span: RecordedSpan, *, expected: bool
) -> None:
    assert span.is_local_root is expected


def test_the_resource_tells_of_host_versions_and_process() -> None:
    resource: dict[str, Any] = {
        "service.name": "shop",
        "host.name": "box",
        "host.arch": "arm64",
        "process.pid": 12,
        "process.command_args": ("train", "--token", "x"),
        "vcs.ref.head.revision": "abc",
        "db_password": "hunter2",
    }
    span = recorded_span("x", 2, resource=resource)
    facts = from_spans.resource_facts(span, REDACT, "elsewhere")
    started = from_spans.step_events(span, REDACT, "here:1")[0]

    assert facts.host == {"hostname": "box", "architecture": "arm64"}
    assert facts.vcs == {"vcs.ref.head.revision": "abc"}
    assert facts.runtime == {
        "service.name": "shop",
        "process.pid": 12,
        "db_password": "[redacted]",
    }
    assert isinstance(started, e.StepStarted)
    assert started.process == "box:12"
