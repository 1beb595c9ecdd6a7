"""What once went wrong: each of these lost or mixed up something."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from robot_sf_otel import current_step, pipeline, step, track
from robot_sf_otel import environment_variables as env
from robot_sf_otel.instrument import context
from robot_sf_otel.instrument.live_run import LiveRun
from robot_sf_otel.manifest.schema import TelemetrySnapshot
from robot_sf_otel.testing import capture_run

if TYPE_CHECKING:
    from pathlib import Path


def test_numpy_numbers_are_recorded_as_numbers(tmp_path: Path) -> None:
    total: Any = np.int64(9)
    done: Any = np.int64(5)
    more: Any = np.float32(1.5)
    with capture_run(tmp_path) as runs, pipeline("p"):
        with step("a", total=total) as this:
            this.set_progress(done)
            this.advance(more)
        progress = runs.record.steps[0].progress
    assert (progress.done, progress.total) == (6.5, 9)


def test_name_that_is_no_utf8_is_recorded_escaped(tmp_path: Path) -> None:
    with capture_run(tmp_path) as runs, pipeline("p"), step("a\udcff"):
        pass
    assert [entry.step_id for entry in runs.record.steps] == ["a\\udcff"]


def test_concurrent_run_has_a_trace_of_its_own(tmp_path: Path) -> None:
    traces: list[str | None] = []

    def other() -> None:
        with pipeline("b") as run:
            traces.append(run.trace_id)
            assert env.TRACEPARENT not in os.environ

    with capture_run(tmp_path), pipeline("a") as first, step("s"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert os.environ[env.TRACEPARENT].split("-")[1] == first.trace_id
    assert traces != [first.trace_id]


def test_code_of_an_ended_run_belongs_to_no_other(tmp_path: Path) -> None:
    with capture_run(tmp_path) as runs:
        with pipeline("a") as first:

            @first.bind
            def late() -> None:
                with step("late"):
                    pass

        with pipeline("b"):
            late()
        steps = [event for event in runs.events if event["event"] == "step_started"]
    assert steps == []


def test_iterable_whose_length_raises_is_tracked_without_a_total(tmp_path: Path) -> None:
    class Endless(list[int]):
        def __len__(self) -> int:
            raise TypeError

    with capture_run(tmp_path) as runs, pipeline("p"), step("s"):
        assert list(track(Endless([1, 2]))) == [1, 2]
    progress = runs.record.steps[0].progress
    assert (progress.done, progress.total) == (2, None)


class Awkward(Exception):  # noqa: N818 - it is meant to be
    def __getattr__(self, name: str) -> object:
        raise KeyError(name)


def test_exception_that_answers_nothing_propagates_and_is_recorded(tmp_path: Path) -> None:
    with capture_run(tmp_path) as runs:
        with pytest.raises(Awkward), pipeline("p"), step("s"):
            raise Awkward
        assert (runs.record.status, runs.record.steps[0].status) == ("failed", "failed")


def test_threads_that_switch_on_together_are_all_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(env.ENABLED, "true")
    monkeypatch.setenv(env.ARTIFACT_ROOT, str(tmp_path))
    monkeypatch.setenv(env.CONSOLE, "off")
    with capture_run(tmp_path) as runs:
        context.process.runtime = None
        context.process.tried = False
        barrier = threading.Barrier(4)

        def work() -> None:
            barrier.wait()
            with pipeline("p"):
                pass

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(runs.run_dirs) == 4


def test_step_that_ends_in_another_context_leaves_the_current_one_alone(tmp_path: Path) -> None:
    with capture_run(tmp_path) as runs, pipeline("p"):
        outer = step("outer").__enter__()
        worker = threading.Thread(target=lambda: outer.end(None))
        with step("inner"):
            worker.start()
            worker.join()
            current_step().advance(4)
    assert {entry.step_id: entry.progress.done for entry in runs.record.steps}["inner"] == 4


def test_fault_of_a_sample_does_not_end_the_samples(tmp_path: Path) -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    hostile: Any = Hostile()
    with capture_run(tmp_path) as runs, pipeline("p") as run:
        assert isinstance(run, LiveRun)
        run.telemetry.sample(TelemetrySnapshot(timestamp_ms=1, notes=hostile))
        run.telemetry.sample(TelemetrySnapshot(timestamp_ms=2, notes="after"))
        (run_dir,) = runs.run_dirs
        assert "after" in (run_dir / "telemetry.jsonl").read_text()
