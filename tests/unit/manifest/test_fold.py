"""The fold: whatever order the journals interleave in, the record is the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import decode_event, encode_event
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import ErrorInfo, PipelineRunRecord, PlanStep, Progress

START = 1_767_225_600_000_000_000
SECOND = 1_000_000_000


def started(plan: list[str] | None = None, **more: object) -> e.RunStarted:
    return e.RunStarted(
        time_unix_nano=START,
        trace_id="t",
        span_id="root",
        run_id="r",
        pipeline="p",
        plan=[PlanStep(step_id=name) for name in plan or []],
        **more,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    )


def begin(name: str, at: float = 1, span: str | None = None, parent: str = "root") -> e.StepStarted:
    return e.StepStarted(
        time_unix_nano=START + int(at * SECOND),
        span_id=span or name,
        step_id=name,
        parent_span_id=parent,
        process="host:1",
    )


def finish(span: str, at: float = 2, status: str = "completed", took: float = 1) -> e.StepFinished:
    return e.StepFinished(
        time_unix_nano=START + int(at * SECOND),
        span_id=span,
        status=status,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        result="success",
        duration_seconds=took,
    )


def end(status: str = "completed", at: float = 10) -> e.RunFinished:
    return e.RunFinished(
        time_unix_nano=START + int(at * SECOND),
        status=status,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        result="success",
        duration_seconds=at,
    )


def fold(*events: e.Event) -> PipelineRunRecord:
    state = RunFold()
    for event in events:
        state.apply(event)
    return state.record()


def test_a_journal_without_a_start_has_no_record() -> None:
    with pytest.raises(ValueError, match="no run_started"):
        RunFold().record()


def test_a_running_run_has_no_end_and_names_what_runs() -> None:
    record = fold(started(["a", "b"]), begin("a"))
    assert (record.status, record.completed_at, record.duration_seconds) == ("running", None, None)
    assert record.summary.running_steps == ["a"]
    assert [(s.step_id, s.status, s.order) for s in record.steps] == [
        ("a", "running", 1),
        ("b", "pending", 2),
    ]


def test_duration_of_a_step_is_the_monotonic_one_and_not_the_difference_of_times() -> None:
    record = fold(started(), begin("a", at=5), finish("a", at=1, took=7.5), end())
    assert record.steps[0].duration_seconds == 7.5


def test_host_is_that_of_the_process_until_its_facts_are_in() -> None:
    header = started(process="box:a:7")
    assert fold(header).host == {"hostname": "box:a"}
    facts = e.ParamsLogged(time_unix_nano=START, host={"hostname": "box", "os": "Linux"})
    assert fold(header, facts).host == {"hostname": "box", "os": "Linux"}
    assert fold(started()).host == {}


def test_first_terminal_status_stays_until_the_run_is_resumed() -> None:
    first: list[e.Event] = [started(), end("cancelled", at=3)]
    assert fold(*first, end("completed")).status == "cancelled"
    resumed = e.RunResumed(time_unix_nano=START + 5 * SECOND, span_id="root2")
    assert fold(*first, resumed).status == "running"
    record = fold(*first, resumed, end("completed"))
    assert (record.status, record.span_id) == ("completed", "root2")


def test_steps_still_running_when_the_run_ends_are_lost_or_cancelled_with_it() -> None:
    lost = fold(started(), begin("a"), end("failed")).steps[0]
    assert (lost.status, lost.error) == (
        "failed",
        ErrorInfo(type="lost", message="ended without reporting"),
    )
    assert fold(started(), begin("a"), end("cancelled")).steps[0].status == "cancelled"


def test_worker_that_is_lost_fails_its_steps_alone() -> None:
    gone = e.WorkerLost(time_unix_nano=START + 2 * SECOND, process="host:1", reason="SIGKILL")
    record = fold(started(), begin("a"), gone)
    assert record.status == "running"
    assert (record.steps[0].status, record.steps[0].duration_seconds) == ("failed", 1.0)


def test_child_that_is_told_of_before_its_parent_is_nested_all_the_same() -> None:
    record = fold(
        started(),
        begin("inner", at=2, parent="outer"),
        finish("inner", at=3),
        begin("outer", at=1),
        finish("outer", at=4),
        end(),
    )
    assert [(s.step_id, s.parent_step_id) for s in record.steps] == [
        ("outer", None),
        ("inner", "outer"),
    ]
    assert record.enabled_steps == ["outer"]
    assert record.summary.steps_completed == 1


def test_started_step_ends_its_skip_and_a_later_skip_counts_again() -> None:
    skip = e.StepSkipped(time_unix_nano=START + SECOND, step_id="a", reason="later")
    assert fold(started(["a"]), skip).summary.steps_total == 0
    assert fold(started(["a"]), skip, begin("a", at=2)).summary.steps_total == 1
    again = e.StepSkipped(time_unix_nano=START + 9 * SECOND, step_id="a")
    failed = finish("a", at=3, status="failed")
    assert fold(started(["a"]), begin("a", at=2), failed, again).summary.steps_total == 0


def test_adopted_pipeline_names_the_run_and_replaces_the_plan() -> None:
    named = e.PlanChanged(
        time_unix_nano=START + 1, plan=[PlanStep(step_id="x")], pipeline="imitation"
    )
    record = fold(started(), named)
    assert (record.pipeline, record.enabled_steps) == ("imitation", ["x"])


def test_average_rate_is_units_over_the_time_of_the_steps_that_count_units() -> None:
    counted = finish("a", took=4)
    counted.progress = Progress(done=100)
    record = fold(started(), begin("a"), counted, begin("b", at=3), finish("b", at=9, took=6))
    assert record.summary.avg_steps_per_sec == 25.0


def test_repeated_faults_are_counted_in_one_line() -> None:
    fault = e.TelemetryFault(time_unix_nano=START, where="journal", message="full", count=2)
    record = fold(started(), fault, fault)
    assert record.self_cost.faults == ["journal: full (4 times)"]


OWNER: list[e.Event] = [
    started(["a", "b"]),
    begin("a", at=1),
    finish("a", at=4),
    begin("b", at=5, span="b1"),
    finish("b1", at=6, status="failed"),
    begin("b", at=7, span="b2"),
    finish("b2", at=8),
]
WORKER: list[e.Event] = [
    begin("w", at=2, parent="a"),
    e.StepProgress(time_unix_nano=START + 2 * SECOND, span_id="w", progress=Progress(done=3)),
    finish("w", at=3),
]


@given(seed=st.integers(0, 10_000))
def test_journals_may_interleave_in_any_order(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - a seeded shuffle
    mixed: list[e.Event] = []
    owner, worker = list(OWNER), list(WORKER)
    while owner or worker:
        taken = owner if not worker or (owner and source.random() < 0.5) else worker
        mixed.append(taken.pop(0))
    assert fold(*mixed, end()) == fold(*OWNER, *WORKER, end())


@given(cut=st.integers(1, len(OWNER)))
def test_any_prefix_of_a_journal_gives_a_record(cut: int) -> None:
    record = fold(*OWNER[:cut])
    assert record.status == "running"
    begun = sum(isinstance(event, e.StepStarted) for event in OWNER[:cut])
    assert sum(entry.started_at is not None for entry in record.steps) == begun


def test_events_survive_the_way_through_a_line() -> None:
    for event in [*OWNER, *WORKER, end()]:
        line = encode_event(event)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert decode_event(line) == event


def test_parent_and_child_that_begin_at_once_are_listed_parent_first() -> None:
    record = fold(started(), begin("inner", parent="outer"), begin("outer"))
    assert [entry.step_id for entry in record.steps] == ["outer", "inner"]


def test_steps_that_name_each_other_as_parents_do_not_hang_the_reader() -> None:
    record = fold(started(), begin("a", parent="b"), begin("b", parent="a"))
    assert {entry.step_id for entry in record.steps} == {"a", "b"}


def test_root_span_may_be_known_only_at_the_end() -> None:
    early = started()
    early.span_id = None
    last = end()
    last.span_id = "root"
    assert fold(early, last).span_id == "root"


def ended(status: str = "completed") -> RunFold:
    fold = RunFold()
    fold.apply(started())
    fold.apply(
        e.RunFinished(
            time_unix_nano=START + 5 * SECOND,
            span_id="root",
            status=status,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            result="success",
        )
    )
    return fold


def test_step_that_begins_after_the_end_is_not_running_in_a_record_that_has_ended() -> None:
    fold = ended()
    fold.apply(begin("late", at=6))
    record = fold.record()
    (entry,) = record.steps
    assert entry.status == "failed"
    assert entry.error is not None
    assert "after the run had ended" in entry.error.message
    assert entry.duration_seconds == 0.0
    assert record.summary.running_steps == []


def test_end_of_a_step_that_began_after_the_end_still_counts_when_it_comes() -> None:
    fold = ended()
    fold.apply(begin("late", at=6))
    fold.record()
    fold.apply(
        e.StepFinished(
            time_unix_nano=START + 7 * SECOND,
            span_id="late",
            status="completed",
            result="success",
            duration_seconds=1.0,
        )
    )
    assert [entry.status for entry in fold.record().steps] == ["completed"]
