from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel import current_run, current_step, pipeline, step
from robot_sf_otel.store.reader import load_run
from robot_sf_otel.testing import CapturedRuns, FakeClock, SequentialIds, capture_run
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


@pytest.fixture
def said() -> Iterator[list[str]]:
    with warnings_said() as messages:
        yield messages


def by_name(captured: CapturedRuns) -> dict[str, PipelineRunRecord]:
    records = [load_run(run_dir).record for run_dir in captured.run_dirs]
    return {record.pipeline: record for record in records}


# -------------------------------------------------------------------------------- plan and skips


def test_skip_accepts_the_decorated_function_and_a_start_ends_it(
    runs: CapturedRuns, said: list[str]
) -> None:
    @step
    def evaluate() -> None:
        pass

    with pipeline("p", steps=[evaluate, "other"]):
        current_run().skip(evaluate, reason="first thought")
        current_run().skip("unplanned", reason="not needed")
        evaluate()
    found = {entry.step_id: (entry.status, entry.skip_reason) for entry in runs.record.steps}
    assert found == {
        "evaluate": ("completed", None),
        "unplanned": ("skipped", "not needed"),
        "other": ("pending", None),
    }
    assert runs.record.summary.steps_total == 2
    assert said == ["skip: 'unplanned' is not in the plan\n"]


def test_plan_that_names_a_step_twice_during_the_run_warns_and_goes_on(
    runs: CapturedRuns, said: list[str]
) -> None:
    with pipeline("p"):
        current_run().plan(["a", "b", "a"])
    assert runs.record.enabled_steps == ["a", "b"]
    (warning,) = said
    assert "'a' twice" in warning


def test_plan_of_something_else_during_the_run_does_not_stop_the_pipeline(
    runs: CapturedRuns, said: list[str]
) -> None:
    with pipeline("p", steps=["a"]):
        current_run().plan([3])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    assert runs.record.enabled_steps == ["a"]
    assert len(said) == 1


# ------------------------------------------------------------------------------ threads and handles


def test_thread_without_context_is_left_out_with_one_warning_where_several_runs_are_live(
    runs: CapturedRuns, said: list[str]
) -> None:
    seen: list[str | None] = []

    def work() -> None:
        for _ in range(2):
            seen.append(current_run().run_id)
            current_step().advance()
            with step("lost"):
                pass

    def other() -> None:
        with pipeline("two"):
            ready.wait()
            ready.wait()

    ready = threading.Barrier(2, timeout=30)
    second = threading.Thread(target=other)
    with pipeline("one"):
        second.start()
        ready.wait()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        ready.wait()
        second.join()
    assert seen == [None, None]
    assert [warning for warning in said if "several runs" in warning] == said[:1]
    assert "current_run().bind(fn)" in said[0]
    assert all(record.steps == [] for record in by_name(runs).values())


def test_bound_function_belongs_to_its_run_and_step_in_any_thread(runs: CapturedRuns) -> None:
    def work(amount: int, *, more: int = 0) -> str | None:
        current_step().advance(amount + more)
        with step("nested"):
            return current_run().run_id

    def other() -> None:
        with pipeline("two"):
            ready.wait()
            ready.wait()

    ready = threading.Barrier(2, timeout=30)
    second = threading.Thread(target=other)
    with pipeline("one") as run, step("train") as this, ThreadPoolExecutor(2) as pool:
        second.start()
        ready.wait()
        bound = current_run().bind(work)
        futures = [pool.submit(bound, 1, more=2) for _ in range(2)]
        assert {future.result() for future in futures} == {run.run_id}
        ready.wait()
        second.join()
        assert this.done == 6
    assert bound.__name__ == "work"
    found = [(entry.step_id, entry.parent_step_id) for entry in by_name(runs)["one"].steps]
    assert found == [("train", None), ("nested", "train"), ("nested", "train")]


def run_id() -> str | None:
    return current_run().run_id


def test_bound_function_outlives_its_run(runs: CapturedRuns) -> None:
    with pipeline("p") as run:
        bound = run.bind(run_id)
    assert bound() is None


def test_handle_keeps_telling_its_identity_after_the_end(runs: CapturedRuns) -> None:
    with pipeline("p") as run:
        folder = run.artifacts_dir
        assert folder is not None
        assert folder.is_dir()
    assert run.run_id == runs.record.run_id
    assert run.run_dir == runs.run_dirs[0]
    assert run.trace_id == runs.record.trace_id


def test_reports_after_the_end_of_the_run_are_left_out(runs: CapturedRuns, said: list[str]) -> None:
    with pipeline("p") as run, step("train") as this:
        pass
    this.advance()
    this.log_metric("late", 1)
    this.log_artifact(__file__)
    run.log_params({"late": 1})
    run.plan(["late"])
    run.skip("late")
    assert said == []
    assert runs.record.params == {}
    assert runs.events[-1]["event"] == "run_finished"


def test_metric_of_the_run_is_in_its_summary(runs: CapturedRuns, said: list[str]) -> None:
    with pipeline("p") as run:
        run.log_metric("best", 2)
        run.log_metric("best", 3)
        run.log_metric("bad", "no number")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert runs.record.summary.custom == {"best": 3.0}
    (warning,) = said
    assert "'bad'" in warning


def test_artifact_of_the_run_belongs_to_no_step(runs: CapturedRuns, said: list[str]) -> None:
    with pipeline("p") as run, step("train"):
        run.log_artifact(__file__, kind="source", name="this test")
        run.log_artifact("not-there.bin")
    first, second = runs.record.artifacts
    assert (first.name, first.kind, first.step_id) == ("this test", "source", None)
    assert first.size_bytes == Path(__file__).stat().st_size
    assert (second.name, second.size_bytes) == ("not-there.bin", None)
    (warning,) = said
    assert "does not exist" in warning


# --------------------------------------------------------------------------------------- the record


def test_whole_journal_of_a_small_run(tmp_path: Path) -> None:
    clock = FakeClock()
    with (
        capture_run(tmp_path, clock=clock, ids=SequentialIds(), run_name="r") as runs,
        pipeline("p", steps=["train"]),
    ):
        clock.advance(1)
        with step("train", total=4) as this:
            this.advance(4)
            clock.advance(2)
        clock.advance(0.5)
        current_run().log_metric("best", 1)
    left_out = {"params_logged", "eta_shown"}
    events = [event for event in runs.events if event["event"] not in left_out]
    assert [event["event"] for event in events] == [
        "run_started",
        "step_started",
        "step_finished",
        "metric_logged",
        "run_finished",
    ]
    assert [event["time"] for event in events] == [
        "2026-01-01T00:00:00.000000Z",
        "2026-01-01T00:00:01.000000Z",
        "2026-01-01T00:00:03.000000Z",
        "2026-01-01T00:00:03.500000Z",
        "2026-01-01T00:00:03.500000Z",
    ]
    assert {event["schema_version"] for event in events} == {1}
    assert {event["trace_id"] for event in events} == {f"{1:032x}"}
    root, own = f"{2:016x}", f"{3:016x}"
    assert [event["span_id"] for event in events] == [root, own, own, root, root]
    started, step_started, step_finished, _, finished = events
    assert started["run_id"] == "r"
    assert started["artifact_dir"] == str(tmp_path / "run-tracker" / "r")
    assert (step_started["step_id"], step_started["parent_span_id"]) == ("train", root)
    assert (step_finished["status"], step_finished["result"]) == ("completed", "success")
    assert step_finished["duration_seconds"] == 2.0
    assert step_finished["progress"] == {"done": 4, "total": 4, "unit": "it", "rate": 2.0}
    assert (finished["status"], finished["duration_seconds"]) == ("completed", 3.5)
