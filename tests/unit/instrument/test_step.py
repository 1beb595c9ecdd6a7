from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel import current_run, current_step, pipeline, step, track
from robot_sf_otel.instrument.live_run import LiveRun
from robot_sf_otel.manifest.schema import TelemetrySnapshot
from robot_sf_otel.testing import CapturedRuns, FakeClock, capture_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


def statuses(captured: CapturedRuns) -> dict[str, str]:
    return {entry.step_id: entry.status for entry in captured.record.steps}


def test_decorated_function_is_a_step_and_keeps_its_result(runs: CapturedRuns) -> None:
    @step
    def collect(episodes: int) -> int:
        return episodes * 2

    with pipeline("p", steps=[collect]):
        assert collect(3) == 6
    (entry,) = runs.record.steps
    assert (entry.step_id, entry.status, entry.attempt) == ("collect", "completed", 1)
    assert entry.duration_seconds is not None
    assert entry.started_at is not None


def test_async_function_is_a_step_that_lasts_as_long_as_its_await(runs: CapturedRuns) -> None:
    @step
    async def evaluate() -> str:
        await asyncio.sleep(0)
        assert current_step().step_id == "evaluate"
        return "done"

    @pipeline("p")
    async def main() -> str:
        return await evaluate()

    assert asyncio.run(main()) == "done"
    assert statuses(runs) == {"evaluate": "completed"}


def test_concurrent_tasks_have_their_own_current_step(runs: CapturedRuns) -> None:
    async def work(name: str) -> None:
        with step(name) as handle:
            await asyncio.sleep(0)
            assert current_step() is handle
            current_step().advance(2)

    async def main() -> None:
        with pipeline("p"):
            await asyncio.gather(work("a"), work("b"))

    asyncio.run(main())
    assert {entry.step_id: entry.progress.done for entry in runs.record.steps} == {"a": 2, "b": 2}


def test_method_and_static_method_can_be_steps(runs: CapturedRuns) -> None:
    class Trainer:
        factor = 3

        @step
        def train(self, n: int) -> int:
            return self.factor * n

        @step("static")
        @staticmethod
        def helper(n: int) -> int:
            return n

    with pipeline("p"):
        assert Trainer().train(2) == 6
        assert Trainer.helper(1) == 1
    assert statuses(runs) == {"train": "completed", "static": "completed"}


def test_generator_function_is_refused_at_decoration_with_the_remedy() -> None:
    with pytest.raises(TypeError, match=r"with step\(\"rollouts\"\)"):

        @step
        def rollouts() -> Iterator[int]:
            yield 1


@pytest.mark.parametrize("name", ["total", "expected_seconds", "baseline_rate"])
def test_negative_declaration_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=-1"):
        step("x", **{name: -1})  # type: ignore[call-overload] # pyright: ignore[reportArgumentType, reportCallIssue]


def test_nested_step_names_its_parent_and_is_not_counted(runs: CapturedRuns) -> None:
    with pipeline("p", steps=["outer"]), step("outer"), step("inner"):
        pass
    record = runs.record
    inner = next(entry for entry in record.steps if entry.step_id == "inner")
    assert inner.parent_step_id == "outer"
    assert (record.summary.steps_completed, record.summary.steps_total) == (1, 1)


def test_step_run_again_is_a_second_attempt(runs: CapturedRuns) -> None:
    @step
    def flaky(fail: bool) -> None:  # noqa: FBT001 - the smallest flaky step
        if fail:
            raise OSError

    with pipeline("p", steps=[flaky]):
        with pytest.raises(OSError, match=r"^$"):
            flaky(True)  # noqa: FBT003
        flaky(False)  # noqa: FBT003
    entries = [(e.step_id, e.attempt, e.status) for e in runs.record.steps]
    assert entries == [("flaky", 1, "failed"), ("flaky", 2, "completed")]
    assert runs.record.summary.steps_total == 1
    assert runs.record.summary.steps_completed == 1


def test_exception_propagates_and_is_recorded_with_its_traceback(runs: CapturedRuns) -> None:
    def helper_that_fails() -> None:
        raise ValueError("no reward")

    with pytest.raises(ValueError, match="no reward") as raised, pipeline("p"), step("train"):
        helper_that_fails()
    assert raised.value.__traceback__ is not None
    record = runs.record
    assert (record.status, record.status_reason) == ("failed", "ValueError: no reward")
    error = record.steps[0].error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "no reward")
    assert "helper_that_fails" in (error.stacktrace or "")


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (KeyboardInterrupt(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (SystemExit(0), "completed"),
        (SystemExit(None), "completed"),
        (SystemExit(2), "failed"),
        (SystemExit("bad"), "failed"),
        (RuntimeError("x"), "failed"),
    ],
)
def test_status_follows_what_left_the_step(
    runs: CapturedRuns, raised: BaseException, status: str
) -> None:
    with pytest.raises(type(raised)), pipeline("p"), step("s"):
        raise raised
    assert runs.record.status == status
    assert runs.record.steps[0].status == status


def test_skip_and_mark_skipped_leave_the_count(runs: CapturedRuns) -> None:
    @step
    def cached() -> int:
        current_step().mark_skipped("cache hit")
        return 7

    with pipeline("p", steps=[cached, "evaluate", "train"]):
        assert cached() == 7
        current_run().skip("evaluate", reason="no display")
        with step("train"):
            pass
    record = runs.record
    found = {e.step_id: (e.status, e.skip_reason) for e in record.steps}
    assert found == {
        "cached": ("skipped", "cache hit"),
        "evaluate": ("skipped", "no display"),
        "train": ("completed", None),
    }
    assert (record.summary.steps_completed, record.summary.steps_total) == (1, 1)


def test_steps_never_reached_stay_pending_and_unplanned_ones_join(runs: CapturedRuns) -> None:
    with pipeline("p", steps=["a", "b"]), step("c"):
        pass
    assert statuses(runs) == {"c": "completed", "a": "pending", "b": "pending"}
    assert runs.record.enabled_steps == ["a", "b", "c"]


def test_plan_changes_during_the_run(runs: CapturedRuns) -> None:
    with pipeline("p", steps=["a", "b"]):
        with step("a"):
            pass
        current_run().plan(["c", "d"])
        with step("c"):
            pass
    assert runs.record.enabled_steps == ["a", "c", "d"]
    assert runs.record.summary.steps_total == 3


def test_progress_is_recorded_with_its_mean_rate(tmp_path: Path) -> None:
    clock = FakeClock()
    with capture_run(tmp_path, clock=clock) as runs, pipeline("p"):
        with step("train", total=100, unit="timesteps") as this:
            this.advance(30)
            this.advance()
            clock.advance(2.0)
            this.set_progress(50)
        progress = runs.record.steps[0].progress
    assert (progress.done, progress.total, progress.unit) == (50, 100, "timesteps")
    assert progress.rate == pytest.approx(25.0)


def test_track_drives_the_progress_and_inner_loops_do_not(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train") as this:
        for _ in track(range(3), unit="epochs"):
            for _ in track(range(10)):
                pass
        assert (this.total, this.unit) == (3, "epochs")
        for _ in track(iter(range(2)), total=2):
            pass
    progress = runs.record.steps[0].progress
    assert (progress.done, progress.total, progress.unit) == (5, 5, "epochs")


def test_loop_that_breaks_does_not_count_its_last_item(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train"):
        for item in track(range(10)):
            if item == 4:
                break
    assert runs.record.steps[0].progress.done == 4


def test_metric_that_json_cannot_hold_is_kept_as_text(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train") as this:
        this.log_metric("loss", float("nan"))
        this.log_metric("reward", 2)
        this.log_metric("bad", object())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert runs.record.steps[0].metrics == {"loss": "NaN", "reward": 2.0}


def test_artifact_inside_the_run_is_relative_and_outside_absolute(
    runs: CapturedRuns, tmp_path: Path
) -> None:
    outside = tmp_path / "model.zip"
    outside.write_bytes(b"12345")
    with pipeline("p") as run, step("train") as this:
        assert run.artifacts_dir is not None
        inside = run.artifacts_dir / "policy.npz"
        inside.write_bytes(b"123")
        this.log_artifact(inside, kind="checkpoint")
        this.log_artifact(outside)
    artifacts = {a.name: (a.path, a.kind, a.size_bytes) for a in runs.record.artifacts}
    assert artifacts == {
        "policy.npz": ("artifacts/policy.npz", "checkpoint", 3),
        "model.zip": (str(outside), "file", 5),
    }
    assert runs.record.steps[0].artifacts[0].path == "artifacts/policy.npz"


def test_plain_thread_belongs_to_the_only_run_and_step(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train") as this:
        thread = threading.Thread(target=lambda: current_step().advance(5))
        thread.start()
        thread.join()
        assert this.done == 5


def test_step_in_a_plain_thread_belongs_to_the_runs_trace(runs: CapturedRuns) -> None:
    def work() -> None:
        with step("parallel"):
            pass

    with pipeline("p") as run, ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(work), pool.submit(work)]:
            future.result()
        trace_id = run.trace_id
    assert {f"{span.context.trace_id:032x}" for span in runs.spans if span.context} == {trace_id}
    assert [entry.attempt for entry in runs.record.steps] == [1, 2]


def test_handles_outside_a_run_do_nothing() -> None:
    assert current_run().run_id is None
    assert current_step().step_id == ""
    current_step().advance(3)
    current_step().log_metric("x", 1.0)
    current_run().plan(["a"])
    assert list(track([1, 2])) == [1, 2]


def test_s_run_runs_the_command_even_with_telemetry_off() -> None:
    with step("evaluate") as this:
        assert this.run(["true"]).returncode == 0


def test_declaration_that_is_no_number_is_refused_in_one_clear_line() -> None:
    with pytest.raises(ValueError, match="step 'x': total='ten' is no number"):
        step("x", total="ten")  # type: ignore[call-overload] # pyright: ignore[reportArgumentType]


def test_name_of_a_step_may_be_given_by_keyword(runs: CapturedRuns) -> None:
    with pipeline("p"), step(name="train"):
        pass
    assert statuses(runs) == {"train": "completed"}


def test_text_as_plan_is_refused_and_not_taken_letter_by_letter() -> None:
    with pytest.raises(TypeError, match="a plan is a list of steps"):
        pipeline("p", steps="abc")


def test_folder_for_artifacts_is_none_where_it_cannot_be_made(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with capture_run(blocked), pipeline("p") as run:
        assert run.artifacts_dir is None


def test_progress_of_a_running_step_is_in_the_record_before_it_ends(tmp_path: Path) -> None:
    clock = FakeClock()
    with (
        capture_run(tmp_path, clock=clock) as runs,
        pipeline("p") as run,
        step("train", total=100) as this,
    ):
        this.advance(40)
        clock.advance(2.0)
        assert isinstance(run, LiveRun)
        run.telemetry.sample(TelemetrySnapshot(timestamp_ms=1))
        progress = runs.record.steps[0].progress
    assert (progress.done, progress.total, progress.rate) == (40, 100, 20.0)


def test_name_that_is_too_long_is_cut_and_the_rest_of_the_declaration_stays(
    runs: CapturedRuns,
) -> None:
    with pipeline("p"), step("x" * 1000, title="Long", total=3, unit="episodes"):
        pass
    (entry,) = runs.record.steps
    assert (len(entry.step_id), entry.display_name) == (200, "Long")
    assert (entry.progress.total, entry.progress.unit) == (3, "episodes")
