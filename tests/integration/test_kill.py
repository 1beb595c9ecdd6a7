"""What is on disk when the process is killed, and when it ends without saying so."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration


def test_kill_right_after_the_first_line_of_a_step_leaves_its_start_in_the_journal(
    scripts: Scripts,
) -> None:
    script = scripts.start(
        """
        import signal
        from robot_sf_otel import configure, pipeline, step
        configure()

        @step
        def train():
            print("begin", flush=True)
            signal.pause()

        with pipeline("p", steps=["prepare", train]):
            with step("prepare"):
                pass
            train()
        """
    )
    script.says("begin")
    script.kill(signal.SIGKILL)
    assert script.ends().code == -signal.SIGKILL
    assert [event["step_id"] for event in scripts.events("step_started")] == ["prepare", "train"]
    assert not scripts.events("run_finished")
    record = scripts.record
    assert record.status == "failed"
    assert record.summary.last_completed_step == "prepare"
    assert scripts.statuses == {"prepare": "completed", "train": "failed"}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ("plan_changed", "run.plan(['a', 'b'])"),
        ("step_skipped", "run.skip('a', 'why')"),
        ("params_logged", "run.log_params({'lr': 1})"),
        ("artifact_logged", "run.log_artifact(__file__)"),
        ("step_finished", "step('a').__enter__().end(None)"),
        ("run_finished", "run.finish()"),
    ],
)
def test_event_is_in_the_journal_before_the_code_goes_on(
    scripts: Scripts, event: str, line: str
) -> None:
    scripts.run(
        f"""
        import os, signal
        from robot_sf_otel import configure, pipeline, step
        configure()
        run = pipeline("p").start()
        {line}
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        code=-signal.SIGKILL,
    )
    assert scripts.events(event)


def test_run_that_is_never_finished_is_closed_when_the_interpreter_exits(
    scripts: Scripts,
) -> None:
    scripts.run(
        """
        from robot_sf_otel import configure, pipeline, step
        configure()
        run = pipeline("p").start()
        with step("train"):
            pass
        """
    )
    assert len(scripts.events("run_finished")) == 1
    record = scripts.record
    assert record.status == "cancelled", "perhaps by sys.exit(3): how it went is not known"
    assert "exited without finish()" in (record.status_reason or "")
    assert scripts.statuses == {"train": "completed"}


def test_uncaught_exception_is_the_end_of_a_run_that_was_started_by_hand(
    scripts: Scripts,
) -> None:
    done = scripts.run(
        """
        from robot_sf_otel import configure, pipeline
        configure()
        run = pipeline("p").start()
        raise ValueError("no reward")
        """,
        code=1,
    )
    assert "ValueError: no reward" in done.errors
    record = scripts.record
    assert (record.status, record.status_reason) == ("failed", "ValueError: no reward")
    assert scripts.events("run_finished")[0]["result"] == "failure"


def test_step_that_still_runs_when_the_interpreter_exits_is_cancelled(scripts: Scripts) -> None:
    scripts.run(
        """
        import threading
        from robot_sf_otel import configure, pipeline, step
        configure()
        begun = threading.Event()
        def work():
            with step("endless"):
                begun.set()
                threading.Event().wait()
        run = pipeline("p").start()
        threading.Thread(target=work, daemon=True).start()
        begun.wait()
        """
    )
    record = scripts.record
    assert record.status == "cancelled"
    assert "exited without finish()" in (record.status_reason or "")
    assert scripts.statuses == {"endless": "cancelled"}


def test_exit_code_of_the_pipeline_is_its_own(scripts: Scripts) -> None:
    scripts.run(
        """
        import sys
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            sys.exit(5)
        """,
        code=5,
    )
    assert scripts.record.status == "failed"
