from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loguru import logger
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import StatusCode

from robot_sf_otel import guard, semconv
from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.lock import owner_state
from robot_sf_otel.store.reader import fold_run, load_run
from robot_sf_otel_manifest import ManifestSpanExporter, trace_run, traces
from tests.unit.exporters.spans import exception, make_root, make_span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from robot_sf_otel.manifest.schema import PipelineRunRecord

OTHER = 0xDEF


@pytest.fixture(autouse=True)
def _fresh_guard() -> Iterator[None]:
    guard.reset()
    yield
    guard.reset()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message)), level="WARNING")
    yield said
    logger.remove(sink)


def export(exporter: ManifestSpanExporter, *spans: ReadableSpan) -> None:
    assert exporter.export(spans) is SpanExportResult.SUCCESS


def open_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def records(root: Path) -> list[PipelineRunRecord]:
    return [load_run(run_dir).record for run_dir in sorted(find_runs([root]))]


def the_record(root: Path) -> PipelineRunRecord:
    (record,) = records(root)
    return record


def test_a_trace_is_a_run_and_its_spans_are_steps(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(
        exporter,
        make_span("open file", 3, parent=2, start=2, end=3),
        make_span("load", 2, start=1, end=4),
        make_span("train", 4, start=4, end=9),
        make_root("nightly", attributes={"lr": 0.1}),
    )
    record = the_record(tmp_path)

    assert (record.pipeline, record.status, record.duration_seconds) == ("nightly", "completed", 10)
    assert record.created_at == "2026-01-01T00:00:00.000000Z"
    assert [(s.step_id, s.parent_step_id) for s in record.steps] == [
        ("load", None),
        ("open file", "load"),
        ("train", None),
    ]
    assert record.enabled_steps == ["load", "train"]
    assert record.params == {"lr": 0.1}
    assert record.span_id == "0" * 15 + "1"
    assert "-nightly-" in record.run_id
    assert record.argv
    assert record.cwd == str(tmp_path)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_steps_find_their_parents_in_any_order(tmp_path: Path, order: list[int]) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    spans = [
        make_span("inner", 4, parent=3, start=2, end=3),
        make_span("middle", 3, parent=2, start=1, end=4),
        make_span("outer", 2, start=1, end=5),
    ]
    for index in order:
        export(exporter, spans[index])
    export(exporter, make_root())

    parents = {s.step_id: s.parent_step_id for s in the_record(tmp_path).steps}
    assert parents == {"outer": None, "middle": "outer", "inner": "middle"}


def test_before_its_root_ends_a_run_is_called_after_its_service(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_span("load", 2))
    before = the_record(tmp_path)
    export(exporter, make_root("nightly"))

    assert (before.pipeline, before.status) == ("shop", "running")
    assert "-shop-" in before.run_id
    assert the_record(tmp_path).pipeline == "nightly"


def test_manifests_are_written_when_the_root_ends(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_span("load", 2), make_root("nightly"))
    (run_dir,) = find_runs([tmp_path])

    assert '"status": "completed"' in (run_dir / "manifest.json").read_text()
    assert "nightly" in (run_dir / "manifest.md").read_text()


def test_manifests_are_written_at_most_once_a_second_before_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("robot_sf_otel_manifest.trace_run.time.monotonic", lambda: now[0])
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_span("one", 2))
    (run_dir,) = find_runs([tmp_path])
    export(exporter, make_span("two", 3))
    within = (run_dir / "manifest.json").read_text()
    now[0] += trace_run.MANIFEST_SECONDS
    export(exporter, make_span("three", 4))

    assert '"one"' in within
    assert '"two"' not in within
    assert '"three"' in (run_dir / "manifest.json").read_text()


def test_the_result_of_the_root_is_the_status_of_the_run(tmp_path: Path) -> None:
    attributes = {semconv.PIPELINE_NAME: "imitation", semconv.PIPELINE_RESULT: "cancellation"}
    export(ManifestSpanExporter(tmp_path), make_root("RUN imitation", attributes=attributes))

    assert (the_record(tmp_path).pipeline, the_record(tmp_path).status) == (
        "imitation",
        "cancelled",
    )


def test_the_exception_of_a_step_is_in_the_record(tmp_path: Path) -> None:
    failed = make_span(
        "load", 2, status=StatusCode.ERROR, events=[exception("OSError", "gone", "Traceback")]
    )
    export(ManifestSpanExporter(tmp_path), failed, make_root(status=StatusCode.ERROR))
    record = the_record(tmp_path)

    assert record.status == "failed"
    assert record.steps[0].error is not None
    assert record.steps[0].error.message == "gone"


def test_shutdown_says_that_the_root_never_ended(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_span("load", 2, start=1, end=4))
    exporter.shutdown()
    record = the_record(tmp_path)

    assert (record.status, record.status_reason) == ("failed", traces.NOT_ENDED)
    assert record.steps[0].status == "completed"
    assert record.duration_seconds == 3


def test_after_shutdown_nothing_is_taken(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    exporter.shutdown()

    assert exporter.export([make_root()]) is SpanExportResult.FAILURE
    assert find_runs([tmp_path]) == []


def test_force_flush_leaves_a_run_open(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_span("load", 2))

    assert exporter.force_flush()
    assert the_record(tmp_path).status == "running"


def test_an_open_run_is_owned_by_this_process_and_a_closed_one_is_let_go(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_span("load", 2))
    (run_dir,) = find_runs([tmp_path])
    descriptors = open_descriptors()
    export(exporter, make_root())

    assert owner_state(run_dir, 0) == "alive"
    assert open_descriptors() < descriptors


def test_two_traces_are_two_runs(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(
        exporter,
        make_span("a", 2),
        make_span("b", 3, trace=OTHER),
        make_root("first"),
        make_root("second", trace=OTHER),
    )

    assert {r.pipeline: [s.step_id for s in r.steps] for r in records(tmp_path)} == {
        "first": ["a"],
        "second": ["b"],
    }


def test_requests_of_one_distributed_trace_are_runs_of_their_own(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(
        exporter,
        make_span("a", 2, parent=1, start=1, end=2),
        make_root("GET /a", span_id=1, parent=99, remote=True, start=0, end=3),
        make_span("b", 4, parent=3, start=5, end=6),
        make_root("GET /b", span_id=3, parent=99, remote=True, start=4, end=7),
    )

    assert {r.pipeline: [s.step_id for s in r.steps] for r in records(tmp_path)} == {
        "GET /a": ["a"],
        "GET /b": ["b"],
    }


def test_a_span_that_ends_after_the_root_is_added_to_the_closed_run(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_root())
    export(
        exporter,
        make_span("upload", 2, start=9, end=12),
        make_span("notify", 3, start=11, end=12),
    )
    record = the_record(tmp_path)

    assert [s.step_id for s in record.steps] == ["upload", "notify"]
    assert (record.status, record.duration_seconds) == ("completed", 10)


def test_many_late_spans_rewrite_the_manifest_once_a_second_and_at_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robot_sf_otel_manifest.trace_run.time.monotonic", lambda: 100.0)
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_root())
    export(exporter, make_span("first", 2, start=9, end=12))
    export(exporter, make_span("second", 3, start=9, end=12))
    (run_dir,) = find_runs([tmp_path])
    before = (run_dir / "manifest.json").read_text()
    exporter.shutdown()

    assert '"first"' in before
    assert '"second"' not in before
    assert '"second"' in (run_dir / "manifest.json").read_text()


def test_late_spans_beyond_the_limit_are_counted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_run, "MAX_STEPS", 1)
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_root())
    export(exporter, *(make_span("late", number, start=9, end=12) for number in range(2, 5)))
    record = the_record(tmp_path)

    assert len(record.steps) == 1
    assert record.self_cost.faults == [
        "spans: spans beyond the first 1 of a run are left out (2 times)"
    ]


def test_the_longest_silent_trace_is_closed_when_too_many_are_open(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    for trace in range(1, traces.MAX_OPEN + 1):
        export(exporter, make_span("x", 2, trace=trace))
    export(exporter, make_span("again", 3, trace=1))
    export(exporter, make_span("x", 2, trace=0xFFF))
    closed = [r for r in records(tmp_path) if r.status == "failed"]

    assert [(r.trace_id, r.status_reason) for r in closed] == [
        (f"{2:032x}", traces.CROWDED_OUT),
    ]


def test_a_root_that_ends_after_it_was_given_up_is_a_step_and_no_second_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "MAX_OPEN", 1)
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_span("x", 2, start=1, end=2))
    export(exporter, make_span("x", 2, trace=OTHER))
    export(exporter, make_root("slow"))
    record = next(r for r in records(tmp_path) if r.trace_id == f"{0xABC:032x}")

    assert len(records(tmp_path)) == 2
    assert record.status == "failed"
    assert [(s.step_id, s.parent_step_id) for s in record.steps] == [("slow", None), ("x", "slow")]


def test_ended_traces_leave_nothing_behind_but_a_bounded_memory_of_them(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    descriptors = open_descriptors()
    for trace in range(1, traces.MAX_CLOSED + 20):
        export(exporter, make_root(trace=trace))

    assert len(exporter._open) == 0
    assert len(exporter._closed) == traces.MAX_CLOSED
    assert open_descriptors() == descriptors


def test_spans_beyond_the_limit_are_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_run, "MAX_STEPS", 2)
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, *(make_span("x", number) for number in range(2, 7)), make_root())
    record = the_record(tmp_path)

    assert len(record.steps) == 2
    assert record.status == "completed"
    assert record.self_cost.faults == [
        "spans: spans beyond the first 2 of a run are left out (3 times)"
    ]


def test_a_run_that_the_recorder_writes_is_not_written_twice(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    run_dir = tmp_path / "run-tracker" / "mine"
    run_dir.mkdir(parents=True)
    (run_dir / "manifest.jsonl").write_text("{}\n")
    own = {semconv.PIPELINE_RUN_ID: "mine"}
    export(
        exporter,
        make_span("the application's", 3, parent=2),
        make_span("step", 2, scope=semconv.SCOPE, attributes=own),
    )
    export(exporter, make_root(scope=semconv.SCOPE, attributes=own))

    assert find_runs([tmp_path]) == [run_dir]


def test_the_recorder_of_this_process_may_write_elsewhere(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path / "here")
    run_dir = tmp_path / "over there" / "run-tracker" / "mine"
    run_dir.mkdir(parents=True)
    (run_dir / "manifest.jsonl").write_text("{}\n")
    own = {semconv.PIPELINE_RUN_ID: "mine", semconv.TASK_RUN_URL: run_dir.as_uri()}
    export(exporter, make_span("step", 2, scope=semconv.SCOPE, attributes=own))

    assert find_runs([tmp_path / "here"]) == []


def test_our_spans_of_a_run_that_is_not_on_this_disk_become_a_record(tmp_path: Path) -> None:
    own = {semconv.PIPELINE_RUN_ID: "far-away", semconv.PIPELINE_NAME: "imitation"}
    export(ManifestSpanExporter(tmp_path), make_root(scope=semconv.SCOPE, attributes=own))

    assert the_record(tmp_path).pipeline == "imitation"


def test_spans_of_other_code_within_a_live_run_are_part_of_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_SF_OTEL_RUN_DIR", str(tmp_path / "run-tracker" / "mine"))
    monkeypatch.setenv("TRACEPARENT", f"00-{0xABC:032x}-{1:016x}-01")
    export(ManifestSpanExporter(tmp_path), make_span("query", 2))

    assert find_runs([tmp_path]) == []


def test_a_record_begun_too_early_points_to_that_of_the_recorder(tmp_path: Path) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_span("the application's", 3, parent=2))
    (early,) = find_runs([tmp_path])
    run_dir = tmp_path / "run-tracker" / "mine"
    run_dir.mkdir(parents=True)
    (run_dir / "manifest.jsonl").write_text("{}\n")
    export(
        exporter,
        make_span("step", 2, scope=semconv.SCOPE, attributes={semconv.PIPELINE_RUN_ID: "mine"}),
    )
    record = load_run(early).record

    assert (record.status, record.status_reason) == (
        "cancelled",
        "the record of this trace is run mine",
    )


def test_a_disk_that_refuses_is_a_failure_that_is_said_once(
    tmp_path: Path, warnings: list[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    exporter = ManifestSpanExporter(blocked)

    assert exporter.export([make_root()]) is SpanExportResult.FAILURE
    assert exporter.export([make_root(trace=OTHER)]) is SpanExportResult.FAILURE
    assert len(warnings) == 1
    assert "NotADirectoryError" in warnings[0]


def test_a_span_that_breaks_does_not_reach_the_program(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    exporter = ManifestSpanExporter(tmp_path)
    monkeypatch.setattr("robot_sf_otel.manifest.from_spans.run_started", broken)

    assert exporter.export([make_root()]) is SpanExportResult.FAILURE
    assert len(warnings) == 1
    assert "RuntimeError: broken" in warnings[0]


@pytest.mark.parametrize("name", ["ROBOT_SF_OTEL_ENABLED", "OTEL_SDK_DISABLED"])
def test_the_switches_hold_for_the_exporter_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "false" if name.endswith("ENABLED") else "true")
    export(ManifestSpanExporter(tmp_path), make_root())

    assert find_runs([tmp_path]) == []


def test_the_artifact_root_and_run_name_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_SF_ARTIFACT_ROOT", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBOT_SF_OTEL_RUN_NAME", "tonight")
    exporter = ManifestSpanExporter()
    export(exporter, make_root(), make_root(trace=OTHER))

    names = sorted(path.name for path in find_runs([tmp_path / "runs"]))
    assert names == ["tonight", "tonight-2"]


def test_without_any_setting_runs_go_to_output(tmp_path: Path) -> None:
    export(ManifestSpanExporter(), make_root())

    assert len(find_runs([tmp_path / "output"])) == 1


def test_a_run_name_that_no_directory_can_have_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setenv("ROBOT_SF_OTEL_RUN_NAME", "a/b")
    export(ManifestSpanExporter(tmp_path), make_root())

    assert "-nightly-" in the_record(tmp_path).run_id
    assert "'a/b' is ignored" in warnings[0]


def test_a_forked_child_adds_to_the_open_run_and_leaves_its_end_to_the_owner(
    tmp_path: Path,
) -> None:
    exporter = ManifestSpanExporter(tmp_path)
    export(exporter, make_span("before", 2))
    child = os.fork()
    if child == 0:
        done = exporter.export([make_span("in child", 3, start=2, end=3)])
        exporter.shutdown()
        os._exit(0 if done is SpanExportResult.SUCCESS else 1)
    assert os.waitpid(child, 0)[1] == 0
    (run_dir,) = find_runs([tmp_path])
    between = fold_run(run_dir)[0].status
    export(exporter, make_root())
    record = the_record(tmp_path)

    assert between == "running"
    assert sorted(s.step_id for s in record.steps) == ["before", "in child"]
    assert record.status == "completed"
