"""Handles where there is no run, and steps whose blocks are entered in unusual ways."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel import current_run, current_step, pipeline, shutdown, step, track
from robot_sf_otel.testing import CapturedRuns, capture_run
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


@pytest.fixture
def off() -> Iterator[None]:
    shutdown()
    yield
    shutdown()


def found(captured: CapturedRuns) -> dict[str, tuple[str, float]]:
    return {entry.step_id: (entry.status, entry.progress.done) for entry in captured.record.steps}


@pytest.mark.usefixtures("off")
def test_handles_with_telemetry_off_accept_everything(tmp_path: Path) -> None:
    with warnings_said() as said, pipeline("p") as run, step("s", total=3) as this:
        for handle in (this, current_step()):
            handle.advance()
            handle.set_progress(5, 10)
            handle.log_metric("m", 1)
            handle.log_artifact("x")
            handle.mark_skipped("why")
            assert (handle.step_id, handle.span_id, handle.total) == ("", None, None)
            assert (handle.done, handle.unit) == (0, "it")
        for of_run in (run, current_run()):
            of_run.plan(["a"])
            of_run.skip("a")
            of_run.log_params({"a": 1})
            of_run.log_metric("m", 1)
            of_run.log_artifact("x")
            assert of_run.bind(len) is len
            assert (of_run.run_id, of_run.run_dir, of_run.trace_id) == (None, None, None)
            assert of_run.artifacts_dir is None
        assert list(track([1, 2])) == [1, 2]
    run.finish()
    assert said == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("off")
def test_decorators_with_telemetry_off_change_nothing() -> None:
    @step
    def train(n: int) -> int:
        return n + 1

    @pipeline("p", steps=[train])
    def main() -> int:
        return train(1)

    @step
    async def evaluate() -> int:
        return 3

    assert main() == 2
    assert asyncio.run(evaluate()) == 3
    with pytest.raises(ValueError, match="x"), step("s"):
        raise ValueError("x")


def test_block_that_threads_share_ends_each_step_where_it_began(runs: CapturedRuns) -> None:
    evaluate = step("evaluate")
    entered, left = threading.Event(), threading.Event()

    def second() -> None:
        with evaluate as this:
            this.advance(2)
            entered.set()
            assert left.wait(30)
            this.advance(2)

    with pipeline("p") as run:
        thread = threading.Thread(target=run.bind(second))
        with evaluate as this:
            thread.start()
            assert entered.wait(30)
            this.advance(1)
        left.set()
        thread.join()
    entries = [(entry.status, entry.progress.done) for entry in runs.record.steps]
    assert sorted(entries) == [("completed", 1), ("completed", 4)]


def test_block_is_entered_again_within_itself(runs: CapturedRuns) -> None:
    block = step("s")
    with pipeline("p"), block as outer, block as inner:
        assert outer is not inner
        assert current_step() is inner
    entries = [(entry.step_id, entry.parent_step_id) for entry in runs.record.steps]
    assert entries == [("s", None), ("s", "s")]


def test_block_without_a_name_says_how_to_write_it(runs: CapturedRuns) -> None:
    with pytest.raises(ValueError, match=r'step\("evaluate"\)'), step():
        pass


def test_step_in_an_async_generator_that_is_closed_elsewhere_ends(runs: CapturedRuns) -> None:
    async def rollouts() -> AsyncIterator[int]:
        with step("rollouts"):
            yield 1
            yield 2

    async def first(generator: AsyncIterator[int]) -> int:
        return await anext(generator)

    async def main() -> None:
        with pipeline("p"):
            generator = rollouts()
            assert await asyncio.create_task(first(generator)) == 1
            await generator.aclose()  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            with step("next"):
                pass

    with warnings_said() as said:
        asyncio.run(main())
    assert said == []
    assert found(runs) == {"rollouts": ("cancelled", 0), "next": ("completed", 0)}


def test_run_that_is_finished_in_another_context_is_closed(runs: CapturedRuns) -> None:
    run = contextvars.Context().run(pipeline("p").start)
    with warnings_said() as said:
        run.finish()
    assert said == []
    assert runs.record.status == "completed"


def test_step_that_ends_in_another_thread_ends_once(runs: CapturedRuns) -> None:
    def work() -> None:
        with pipeline("p"):
            handle = step("s").__enter__()
            thread = threading.Thread(target=handle.end, args=(None,))
            thread.start()
            thread.join()
            handle.end(ValueError("late"))
            assert current_step().step_id == ""

    contextvars.copy_context().run(work)
    assert found(runs) == {"s": ("completed", 0)}
    assert [event["event"] for event in runs.events].count("step_finished") == 1


def test_plain_thread_finds_no_step_where_several_run(runs: CapturedRuns) -> None:
    def work() -> None:
        current_step().advance(100)

    both = threading.Barrier(3, timeout=30)

    def other(name: str) -> None:
        with step(name):
            both.wait()
            both.wait()

    with pipeline("p"):
        threads = [threading.Thread(target=other, args=(name,)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        both.wait()
        lost = threading.Thread(target=work)
        lost.start()
        lost.join()
        both.wait()
        for thread in threads:
            thread.join()
    assert found(runs) == {"a": ("completed", 0), "b": ("completed", 0)}


def test_very_long_name_is_cut(runs: CapturedRuns) -> None:
    with pipeline("p" * 5000), step("s" * 5000):
        pass
    assert len(runs.record.steps[0].step_id) == 200
    assert len(runs.record.pipeline) == 200
