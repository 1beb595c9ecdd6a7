from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import current_run, current_step, pipeline, step
from robot_sf_otel.store.reader import load_run
from robot_sf_otel.testing import CapturedRuns, capture_run
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


# ------------------------------------------------------------------------------ opening and ending


def test_decorated_function_is_a_run_and_keeps_its_result_name_and_arguments(
    runs: CapturedRuns,
) -> None:
    @pipeline("imitation")
    def main(a: int, *, b: int = 2) -> int:
        """Train."""
        return a + b

    assert main(1, b=4) == 5
    assert (main.__name__, main.__doc__) == ("main", "Train.")
    assert (runs.record.pipeline, runs.record.status) == ("imitation", "completed")


def test_each_call_is_a_run_of_its_own(runs: CapturedRuns) -> None:
    @pipeline("p")
    def main() -> str | None:
        return current_run().run_id

    first, second = main(), main()
    assert first != second
    assert {path.name for path in runs.run_dirs} == {first, second}


def test_async_function_is_a_run_that_lasts_as_long_as_its_await(runs: CapturedRuns) -> None:
    @pipeline("p")
    async def main() -> str | None:
        await asyncio.sleep(0)
        return current_run().run_id

    assert asyncio.run(main()) == runs.record.run_id


def test_run_of_a_notebook_is_started_and_finished_by_hand(runs: CapturedRuns) -> None:
    statuses: list[str] = []
    run = pipeline("p").start()
    with step("train"):
        pass
    assert current_run() is run
    statuses.append(runs.record.status)
    run.finish()
    statuses.append(runs.record.status)
    assert current_run().run_id is None
    run.finish("failed")
    statuses.append(runs.record.status)
    assert statuses == ["running", "completed", "completed"], "how it ended is final"


@pytest.mark.parametrize(
    ("status", "result"),
    [("completed", "success"), ("failed", "failure"), ("cancelled", "cancellation")],
)
def test_finish_says_how_the_run_ended(runs: CapturedRuns, status: Any, result: str) -> None:  # noqa: ANN401 - a Literal
    pipeline("p").start().finish(status, "because" if status != "completed" else None)
    assert (runs.record.status, runs.record.status_reason) == (
        status,
        None if status == "completed" else "because",
    )
    assert runs.events[-1]["result"] == result


def test_two_pipelines_one_after_the_other_are_two_runs(runs: CapturedRuns) -> None:
    for name in ("one", "two"):
        with pipeline(name), step(f"of-{name}"):
            pass
    found = {name: [s.step_id for s in record.steps] for name, record in by_name(runs).items()}
    assert found == {"one": ["of-one"], "two": ["of-two"]}
    assert len({record.trace_id for record in by_name(runs).values()}) == 2


def test_concurrent_pipelines_in_threads_are_kept_apart(runs: CapturedRuns) -> None:
    both = threading.Barrier(3, timeout=30)

    def work(name: str) -> None:
        with pipeline(name), step(f"of-{name}") as this:
            both.wait()
            assert current_step() is this
            current_step().advance(2)
            current_run().log_params({"name": name})
            both.wait()

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(work, name) for name in ("a", "b", "c")]:
            future.result()
    for name, record in by_name(runs).items():
        assert [entry.step_id for entry in record.steps] == [f"of-{name}"]
        assert record.steps[0].progress.done == 2
        assert record.params == {"name": name}


def test_concurrent_pipelines_in_tasks_are_kept_apart(runs: CapturedRuns) -> None:
    async def work(name: str) -> None:
        with pipeline(name):
            await asyncio.sleep(0)
            with step(f"of-{name}"):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(work("a"), work("b"))

    asyncio.run(main())
    found = {name: [s.step_id for s in record.steps] for name, record in by_name(runs).items()}
    assert found == {"a": ["of-a"], "b": ["of-b"]}


def test_pipeline_inside_a_run_is_a_step_of_it(runs: CapturedRuns) -> None:
    @pipeline("inner", steps=["x", "never"])
    def inner() -> None:
        with step("x"):
            assert current_run().run_id == outer.run_id

    with pipeline("outer") as outer:
        inner()
    record = runs.record
    assert record.pipeline == "outer"
    assert [(entry.step_id, entry.parent_step_id) for entry in record.steps] == [
        ("inner", None),
        ("x", "inner"),
    ]
    assert (record.summary.steps_completed, record.summary.steps_total) == (1, 1)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_pipeline_inside_a_run_that_is_finished_by_hand_ends_as_it_says(
    runs: CapturedRuns,
    status: Any,  # noqa: ANN401 - a Literal
) -> None:
    with pipeline("outer"):
        pipeline("inner").start().finish(status)
        with step("next"):
            pass
    found = [(entry.step_id, entry.status, entry.parent_step_id) for entry in runs.record.steps]
    assert found == [("inner", status, None), ("next", "completed", None)]
    assert runs.record.status == "completed"


def test_step_that_is_still_running_when_the_run_ends_is_cancelled(runs: CapturedRuns) -> None:
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        with step("endless"):
            begun.set()
            release.wait(30)

    thread = threading.Thread(target=work)
    with pipeline("p"):
        thread.start()
        assert begun.wait(30)
    release.set()
    thread.join()
    (entry,) = runs.record.steps
    assert (entry.status, runs.record.status) == ("cancelled", "completed")
    names = [event["event"] for event in runs.events]
    assert names.count("step_finished") == 1
    assert names[-1] == "run_finished"


def test_generator_function_is_refused_at_decoration_with_the_remedy() -> None:
    with pytest.raises(TypeError, match=r'with pipeline\("rollouts"\)'):

        @pipeline("rollouts")
        def rollouts() -> Iterator[int]:
            yield 1


def test_async_generator_function_is_refused_too() -> None:
    async def rollouts() -> Any:  # noqa: ANN401 - an async generator
        yield 1

    with pytest.raises(TypeError, match="generator function"):
        pipeline("p")(rollouts)
    with pytest.raises(TypeError, match="generator function"):
        step(rollouts)


# -------------------------------------------------------------------------------- what is declared


def test_bare_decorator_without_a_name_says_how_to_write_it() -> None:
    with pytest.raises(TypeError, match=r'@pipeline\("imitation"\)'):
        pipeline(lambda: None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["", "  "])
def test_empty_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not empty"):
        pipeline(name)
    with pytest.raises(ValueError, match="not empty"):
        step(name)


def test_plan_with_a_name_twice_is_refused_in_one_clear_line() -> None:
    @step("train")
    def train_again() -> None:
        pass

    with pytest.raises(ValueError, match="names 'train' twice"):
        pipeline("p", steps=["train", train_again])


def test_plan_of_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="not 3"):
        pipeline("p", steps=[3])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]


def test_plan_names_decorated_functions_plain_ones_and_strings(runs: CapturedRuns) -> None:
    @step("fit", title="Fit the model", expected_seconds=3)
    def train() -> None:
        pass

    def plain() -> None:
        pass

    with pipeline("p", steps=[train, plain, "evaluate"]):
        pass
    assert runs.record.enabled_steps == ["fit", "plain", "evaluate"]
    assert [entry.display_name for entry in runs.record.steps] == [
        "Fit the model",
        "plain",
        "evaluate",
    ]
    assert runs.events[0]["plan"][0] == {
        "step_id": "fit",
        "display_name": "Fit the model",
        "expected_seconds": 3.0,
        "total": None,
    }


def test_scenario_seeds_and_tags_are_recorded(runs: CapturedRuns) -> None:
    with pipeline("p", scenario=Path("maps/a.yaml"), seeds={"numpy": 3}, tags=["night", "b"]):
        pass
    record = runs.record
    assert record.scenario_config_path == "maps/a.yaml"
    assert (record.seeds, record.tags) == ({"numpy": 3}, ["night", "b"])


@pytest.mark.parametrize(
    ("seeds", "recorded"),
    [(3, {"seed": 3}), ([1, 2], {"seed": [1, 2]}), (None, {}), (0, {"seed": 0})],
)
def test_seeds_may_be_a_number_or_a_list(runs: CapturedRuns, seeds: Any, recorded: Any) -> None:  # noqa: ANN401 - a table
    with pipeline("p", seeds=seeds, tags="one"):
        pass
    assert runs.record.seeds == recorded
    assert runs.record.tags == ["one"]


class Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_parameters_that_json_cannot_hold_are_recorded_in_words(runs: CapturedRuns) -> None:
    params = {
        "lr": float("nan"),
        "limit": float("inf"),
        "low": float("-inf"),
        "object": Opaque(),
        "broken": Broken(),
        "path": Path("/data"),
        "set": {2, 1},
        "nested": {"list": [1, (2.5, None)], 3: True},
        "huge": 2**70,
        "bytes": b"raw",
    }
    with pipeline("p", params=params):
        current_run().log_params({"lr2": float("nan"), "low": 1})
    recorded = runs.record.params
    assert (recorded["lr"], recorded["limit"], recorded["low"]) == ("NaN", "Infinity", 1)
    assert recorded["object"] == "<opaque>"
    assert "repr failed with RuntimeError" in recorded["broken"]
    assert recorded["path"] == "/data"
    assert recorded["set"] == [1, 2]
    assert recorded["nested"] == {"list": [1, [2.5, None]], "3": True}
    assert recorded["huge"] == str(2**70)
    assert recorded["bytes"] == "b'raw'"
    assert recorded["lr2"] == "NaN"
    json.loads((runs.run_dirs[0] / "manifest.json").read_text(), parse_constant=pytest.fail)


def test_secrets_in_parameters_arguments_and_errors_are_masked(
    runs: CapturedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "--api-key", "hunter2secret", "--token=hunter2x"])
    monkeypatch.setattr("sys.orig_argv", ["python", "train.py", "--api-key=hunter2secret"])
    with (
        pytest.raises(ValueError, match="hunter2"),
        pipeline("p", params={"wandb_api_key": "hunter2secret", "num_memory_tokens": 8}),
        step("train"),
    ):
        raise ValueError("login failed: password=hunter2secret")
    record = runs.record
    assert record.params == {"wandb_api_key": "[redacted]", "num_memory_tokens": 8}
    written = b"".join(path.read_bytes() for path in runs.run_dirs[0].iterdir() if path.is_file())
    assert b"hunter2" not in written
    assert b"[redacted]" in written
