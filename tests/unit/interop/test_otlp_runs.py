"""Traces over processes and hosts, sessions, missing parents: which spans are one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import semconv
from robot_sf_otel.interop.otlp_events import events_of
from robot_sf_otel.interop.otlp_runs import FoundRun, Trace, runs_of
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.spans import RecordedLog, RecordedSpan
from robot_sf_otel.redaction import Redactor
from robot_sf_otel.semconv import logs, spans

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord

T0 = 1_767_225_600_000_000_000
TRACE = "a" * 32
REDACT = Redactor()


def at(second: float) -> int:
    return T0 + round(second * 1e9)


def host(name: str, pid: int = 1, rank: int | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {semconv.HOST_NAME: name, semconv.PROCESS_PID: pid}
    return told if rank is None else {**told, semconv.WORKER_RANK: rank}


def span(
    number: int,
    name: str,
    parent: int | None,
    start: float,
    end: float,
    **more: Any,  # noqa: ANN401 - fields of a span
) -> RecordedSpan:
    return RecordedSpan(
        trace_id=TRACE,
        span_id=f"{number:016x}",
        parent_span_id=None if parent is None else f"{parent:016x}",
        name=name,
        start_ns=at(start),
        end_ns=at(end),
        **more,
    )


def root(  # noqa: PLR0917 - a table of spans reads best in columns
    number: int,
    run_id: str,
    parent: int | None = None,
    start: float = 0,
    end: float = 10,
    pipeline: str = "imitation",
    **more: Any,  # noqa: ANN401 - fields of a span
) -> RecordedSpan:
    told = {**spans.run_started(pipeline, run_id, "file:///x"), **spans.run_ended("success")}
    fields = {"attributes": told, "scope": semconv.SCOPE, "resource": host("a"), **more}
    return span(number, f"RUN {pipeline}", parent, start, end, **fields)


def step(  # noqa: PLR0917 - as above
    number: int,
    name: str,
    parent: int,
    start: float = 1,
    end: float = 2,
    run_id: str = "r1",
    **more: Any,  # noqa: ANN401 - fields of a span
) -> RecordedSpan:
    told = {**spans.step_started(name, "imitation", run_id), **spans.step_ended("success")}
    fields = {"attributes": told, "scope": semconv.SCOPE, "resource": host("a"), **more}
    return span(number, name, parent, start, end, **fields)


def found(*given: RecordedSpan, told: tuple[RecordedLog, ...] = ()) -> list[FoundRun]:
    return runs_of(Trace({one.span_id: one for one in given}, list(told)))


def record(run: FoundRun) -> PipelineRunRecord:
    fold = RunFold()
    for event in sorted(events_of(run, REDACT), key=lambda event: event.time_unix_nano):
        fold.apply(event)
    return fold.record()


def steps(run: FoundRun) -> list[tuple[str, str | None, str | None]]:
    return [(one.step_id, one.parent_step_id, one.process) for one in record(run).steps]


def test_a_process_of_another_host_that_got_the_trace_is_a_step_of_the_run() -> None:
    (run,) = found(
        root(1, "r1"),
        step(2, "train", 1, 1, 9),
        root(3, "r2", 2, 2, 8, pipeline="worker", resource=host("b", 7)),
        step(4, "shard", 3, 3, 4, run_id="r2", resource=host("b", 7)),
    )

    assert (run.run_id, record(run).pipeline) == ("r1", "imitation")
    assert steps(run) == [
        ("train", None, "a:1"),
        ("worker @ b", "train", "b:7"),
        ("shard", "worker @ b", "b:7"),
    ]


def test_ranks_that_were_started_side_by_side_are_one_run_of_the_lowest_rank() -> None:
    (run,) = found(
        root(1, "r1", 99, 0.5, 10, resource=host("b", 7, rank=1)),
        step(2, "train", 1, run_id="r1", resource=host("b", 7, rank=1)),
        root(3, "r0", 99, 0.7, 9, resource=host("a", 5, rank=0)),
        step(4, "train", 3, 1.5, 2, run_id="r0", resource=host("a", 5, rank=0)),
    )

    assert run.run_id == "r0"
    assert steps(run) == [
        ("imitation @ rank 1", None, "b:7"),
        ("train", "imitation @ rank 1", "b:7"),
        ("train", None, "a:5"),
    ]


def test_runs_of_one_process_in_one_trace_stay_apart() -> None:
    runs = found(root(1, "r1", 99, 0, 4), root(2, "r2", 99, 5, 9), step(3, "x", 2, 6, 7, "r2"))

    assert [(run.run_id, len(run.steps)) for run in runs] == [("r1", 0), ("r2", 1)]


def test_runs_of_other_processes_at_other_times_stay_apart() -> None:
    runs = found(root(1, "r1", 99, 0, 4), root(2, "r2", 99, 5, 9, resource=host("b")))

    assert [run.run_id for run in runs] == ["r1", "r2"]


def test_sessions_of_a_resumed_run_are_one_run() -> None:
    (run,) = found(
        root(1, "r1", None, 0, 4),
        root(2, "r1", None, 100, 106, links=((TRACE, f"{1:016x}"),), resource=host("a", 2)),
        step(3, "evaluate", 2, 101, 102),
    )

    assert [one.span_id[-1] for one in run.sessions] == ["1", "2"]
    assert record(run).duration_seconds == 10


def test_spans_of_others_are_no_steps_and_hide_no_parent() -> None:
    (run,) = found(
        root(1, "r1"),
        step(2, "train", 1),
        span(5, "GET /data", 2, 1, 2, scope="requests"),
        step(3, "inner", 5, 1.2, 1.4),
    )

    assert steps(run) == [("train", None, "a:1"), ("inner", "train", "a:1")]


def test_a_child_process_of_the_run_adds_its_steps() -> None:
    (run,) = found(
        root(1, "r1"), step(2, "train", 1), step(3, "child", 2, 1.1, 1.2, resource=host("a", 8))
    )

    assert steps(run)[1] == ("child", "train", "a:8")


def test_a_run_whose_root_is_missing_is_told_by_its_steps() -> None:
    (run,) = found(step(2, "train", 1), step(3, "evaluate", 1, 2, 3))
    told = record(run)

    assert (told.run_id, told.pipeline, told.status) == ("r1", "imitation", "running")
    assert told.created_at == "2026-01-01T00:00:01.000000Z"


def log(event: logs.LogEvent, span_id: int, second: float) -> RecordedLog:
    return RecordedLog(
        time_ns=at(second),
        event_name=event.name,
        body=event.body,
        severity=event.severity,
        attributes=event.attributes,
        trace_id=TRACE,
        span_id=f"{span_id:016x}",
        resource=host("a"),
        scope=semconv.SCOPE,
    )


def test_a_killed_run_is_told_by_what_it_said_at_its_beginnings() -> None:
    begun = log(logs.run_started("imitation", "r1", "file:///x", "s.toml"), 1, 0)
    training = log(logs.step_started("imitation", "r1", "train", f"{2:016x}"), 2, 1)
    (run,) = found(told=(begun, training))
    told = record(run)

    assert (told.run_id, told.pipeline, told.scenario_config_path) == ("r1", "imitation", "s.toml")
    assert (told.span_id, told.status) == (f"{1:016x}", "running")
    assert [(one.step_id, one.status) for one in told.steps] == [("train", "running")]


def test_a_trace_of_another_program_is_a_run_of_its_root() -> None:
    (run,) = found(
        span(1, "nightly", None, 0, 9), span(2, "load", 1, 1, 2), span(3, "lost", 77, 3, 4)
    )
    told = record(run)

    assert (told.pipeline, told.status) == ("nightly", "completed")
    assert [one.step_id for one in told.steps] == ["load", "lost"]


def test_parents_in_a_circle_hang_nothing() -> None:
    (run,) = found(span(1, "a", 2, 0, 1), span(2, "b", 1, 0, 1))

    assert len(record(run).steps) == 2
    (ours,) = found(step(1, "a", 2), step(2, "b", 1))
    assert len(record(ours).steps) == 2


@pytest.mark.parametrize("actions", [(), ("Use fewer workers",)])
def test_a_recommendation_always_has_an_action(actions: tuple[str, ...]) -> None:
    event = logs.finding(
        anomaly=False,
        identity="cpu",
        severity="odd",
        message="busy",
        pipeline="imitation",
        run_id="r1",
        step_id="train",
        actions=actions,
    )
    given = log(event, 2, 3)
    attributes = {
        **given.attributes,
        **({semconv.FINDING_ACTIONS: list(actions)} if actions else {}),
    }
    told = RecordedLog(
        time_ns=given.time_ns,
        event_name=given.event_name,
        body=given.body,
        severity=9,
        attributes=attributes,
        trace_id=TRACE,
        scope=semconv.SCOPE,
    )
    (run,) = found(root(1, "r1"), told=(told,))
    (recommendation,) = record(run).recommendations

    assert recommendation.suggested_actions
    assert (recommendation.severity, recommendation.step_id) == ("info", "train")
