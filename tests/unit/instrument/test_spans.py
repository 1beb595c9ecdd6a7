from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from robot_sf_otel import current_step, pipeline, step
from robot_sf_otel.instrument.spans import format_traceparent, parse_traceparent
from robot_sf_otel.testing import CapturedRuns, capture_run
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


def spans(captured: CapturedRuns) -> dict[str, ReadableSpan]:
    return {span.name: span for span in captured.spans}


def test_run_is_a_server_span_and_its_steps_are_internal_children(runs: CapturedRuns) -> None:
    with pipeline("p", scenario="maps/a.yaml", tags=["t"]), step("outer", title="O", total=3):
        current_step().advance(2)
        with step("inner"):
            pass
    found = spans(runs)
    root, outer, inner = found["RUN p"], found["outer"], found["inner"]
    assert (root.kind, outer.kind, inner.kind) == (
        SpanKind.SERVER,
        SpanKind.INTERNAL,
        SpanKind.INTERNAL,
    )
    assert root.parent is None
    assert outer.parent is not None
    assert root.context is not None
    assert outer.parent.span_id == root.context.span_id
    assert inner.parent == outer.context
    record = runs.record
    run_url = runs.run_dirs[0].as_uri()
    assert dict(root.attributes or {}) == {
        "cicd.pipeline.name": "p",
        "cicd.pipeline.action.name": "RUN",
        "cicd.pipeline.run.id": record.run_id,
        "cicd.pipeline.run.url.full": run_url,
        "cicd.pipeline.result": "success",
        "robot_sf.run.scenario": "maps/a.yaml",
        "robot_sf.run.tags": ("t",),
    }
    entry = next(entry for entry in record.steps if entry.step_id == "outer")
    assert dict(outer.attributes or {}) == {
        "cicd.pipeline.task.name": "outer",
        "cicd.pipeline.name": "p",
        "cicd.pipeline.run.id": record.run_id,
        "cicd.pipeline.task.run.id": entry.span_id,
        "cicd.pipeline.task.run.url.full": run_url,
        "cicd.pipeline.task.run.result": "success",
        "robot_sf.step.title": "O",
        "robot_sf.step.progress.total": 3,
        "robot_sf.step.progress.done": 2,
    }
    assert record.trace_id == f"{root.context.trace_id:032x}"
    assert record.span_id == f"{root.context.span_id:016x}"


@pytest.mark.parametrize(
    ("raised", "result"),
    [
        (None, "success"),
        (SystemExit(0), "success"),
        (SystemExit(3), "failure"),
        (ValueError("x"), "failure"),
        (KeyboardInterrupt(), "cancellation"),
        (asyncio.CancelledError(), "cancellation"),
    ],
)
def test_result_and_status_of_the_spans_follow_what_left_the_step(
    runs: CapturedRuns, raised: BaseException | None, result: str
) -> None:
    with suppress(BaseException), pipeline("p"), step("s"):
        if raised is not None:
            raise raised
    found = spans(runs)
    assert (found["s"].attributes or {})["cicd.pipeline.task.run.result"] == result
    assert (found["RUN p"].attributes or {})["cicd.pipeline.result"] == result
    expected = StatusCode.UNSET if result == "success" else StatusCode.ERROR
    assert found["s"].status.status_code is expected
    assert found["RUN p"].status.status_code is expected


def test_exception_is_on_the_span_with_type_message_and_traceback(runs: CapturedRuns) -> None:
    with pytest.raises(ValueError, match="no reward"), pipeline("p"), step("s"):
        raise ValueError("no reward")
    span = spans(runs)["s"]
    assert (span.attributes or {})["error.type"] == "ValueError"
    (event,) = span.events
    attributes = dict(event.attributes or {})
    assert event.name == "exception"
    assert attributes["exception.type"] == "ValueError"
    assert attributes["exception.message"] == "no reward"
    assert "test_spans.py" in str(attributes["exception.stacktrace"])


def test_skipped_step_says_so_on_its_span(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s") as this:
        this.mark_skipped("cache hit")
    attributes = spans(runs)["s"].attributes or {}
    assert attributes["cicd.pipeline.task.run.result"] == "skip"
    assert attributes["robot_sf.step.skip_reason"] == "cache hit"
    assert spans(runs)["s"].status.status_code is StatusCode.UNSET


def test_spans_of_the_application_in_between_stay_in_between(runs: CapturedRuns) -> None:
    with pipeline("p"), step("outer"):
        outer = trace.get_current_span().get_span_context()
        with (
            trace.use_span(
                trace.NonRecordingSpan(
                    trace.SpanContext(
                        outer.trace_id, 77, is_remote=False, trace_flags=outer.trace_flags
                    )
                )
            ),
            step("inner"),
        ):
            pass
    parent = spans(runs)["inner"].parent
    assert parent is not None
    assert parent.span_id == 77
    inner = next(entry for entry in runs.record.steps if entry.step_id == "inner")
    assert inner.parent_step_id == "outer"


def test_run_is_a_child_of_the_span_in_which_it_opens(runs: CapturedRuns) -> None:
    context = trace.SpanContext(
        0x0AF7, 0xB7AD, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
    )
    with trace.use_span(trace.NonRecordingSpan(context)), pipeline("p"):
        pass
    assert runs.record.trace_id == f"{0x0AF7:032x}"
    assert runs.events[0]["parent_span_id"] == f"{0xB7AD:016x}"


def test_current_span_is_the_steps_and_afterwards_what_it_was(runs: CapturedRuns) -> None:
    with pipeline("p"):
        outside = trace.get_current_span().get_span_context().span_id
        with step("s") as this:
            inside = trace.get_current_span().get_span_context().span_id
            assert f"{inside:016x}" == this.span_id
        assert trace.get_current_span().get_span_context().span_id == outside
    assert not trace.get_current_span().get_span_context().is_valid


def test_step_outside_any_run_is_a_plain_span_with_one_warning(runs: CapturedRuns) -> None:
    with warnings_said() as said:
        for _ in range(2):
            with step("alone", total=2) as this:
                this.advance()
                assert this.step_id == ""
        with pytest.raises(ValueError, match="x"), step("fails"):
            raise ValueError("x")
    (warning,) = said
    assert "'alone' runs outside any run" in warning
    assert [span.name for span in runs.spans] == ["alone", "alone", "fails"]
    assert spans(runs)["fails"].status.status_code is StatusCode.ERROR
    assert runs.run_dirs == []


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
    ],
)
def test_traceparent_that_is_missing_or_invalid_is_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


@pytest.mark.parametrize("flags", ["00", "01"])
def test_traceparent_survives_the_way_there_and_back(flags: str) -> None:
    text = f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}"
    parsed = parse_traceparent(f" {text.upper()}\n")
    assert parsed is not None
    assert parsed.is_remote
    assert format_traceparent(parsed) == text
