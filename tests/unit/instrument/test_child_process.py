from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import child_env, pipeline, step
from robot_sf_otel import environment_variables as env
from robot_sf_otel.instrument import child_process
from robot_sf_otel.instrument.child_process import children, run_child
from robot_sf_otel.testing import CapturedRuns, capture_run

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import StepExecutionEntry


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


def only_step(captured: CapturedRuns) -> StepExecutionEntry:
    (entry,) = captured.record.steps
    return entry


def test_environment_of_a_child_names_the_run_and_the_step(runs: CapturedRuns) -> None:
    with pipeline("p") as run:
        outside = child_env({"A": "1"})
        with step("s") as this:
            inside = child_env({"A": "1", env.TRACEPARENT: "old", env.RUN_DIR: "old"})
    assert outside.keys() == inside.keys() == {"A", env.TRACEPARENT, env.RUN_DIR}
    assert inside[env.RUN_DIR] == str(run.run_dir)
    assert os.path.isabs(inside[env.RUN_DIR])  # noqa: PTH117 - it is a string
    assert inside[env.TRACEPARENT].startswith(f"00-{run.trace_id}-{this.span_id}-")
    assert outside[env.TRACEPARENT].startswith(f"00-{run.trace_id}-{runs.record.span_id}-")


def test_environment_of_a_child_is_this_processes_own_by_default(
    runs: CapturedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARK", "here")
    with pipeline("p"):
        assert child_env()["MARK"] == "here"
        assert child_env() == dict(os.environ)


def test_given_environment_is_not_changed(runs: CapturedRuns) -> None:
    given = {"A": "1"}
    with pipeline("p"):
        child_env(given)
    assert given == {"A": "1"}


def test_environment_of_a_child_outside_a_run_is_a_plain_copy() -> None:
    given = {"A": "1"}
    copy = child_env(given)
    assert copy == given
    assert copy is not given


def test_own_environment_shows_the_running_step_to_children_and_is_restored(
    runs: CapturedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(env.TRACEPARENT, "before")
    with pipeline("p") as run:
        root = os.environ[env.TRACEPARENT]
        with step("s") as this:
            assert str(this.span_id) in os.environ[env.TRACEPARENT]
        assert os.environ[env.TRACEPARENT] == root
        assert os.environ[env.RUN_DIR] == str(run.run_dir)
    assert os.environ[env.TRACEPARENT] == "before"
    assert env.RUN_DIR not in os.environ


def test_multiprocessing_state_shows_the_run_and_is_restored(runs: CapturedRuns) -> None:
    from multiprocessing.process import current_process

    state: dict[str, Any] = getattr(current_process(), "_config")  # noqa: B009 - it is private
    before = dict(state)
    with pipeline("p") as run:
        assert state["robot_sf_otel"][env.RUN_DIR] == str(run.run_dir)
    assert state == before


def test_with_two_live_runs_none_is_in_the_environment_until_one_is_left(
    runs: CapturedRuns,
) -> None:
    import contextvars

    with pipeline("one") as first:

        def other() -> None:
            with pipeline("two"):
                assert env.RUN_DIR not in os.environ
            assert os.environ[env.RUN_DIR] == str(first.run_dir)

        contextvars.Context().run(other)


def test_command_that_succeeds_completes_the_step(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s") as this:
        done = this.run([sys.executable, "-S", "-c", "pass"])
    assert done.returncode == 0
    assert done.args == [sys.executable, "-S", "-c", "pass"]
    assert only_step(runs).status == "completed"
    assert children == set()


def test_command_that_fails_raises_and_its_exit_code_is_recorded(runs: CapturedRuns) -> None:
    with (
        pytest.raises(subprocess.CalledProcessError) as failed,
        pipeline("p"),
        step("s") as this,
    ):
        this.run(["sh", "-c", "exit 3"])
    assert failed.value.returncode == 3
    entry = only_step(runs)
    assert entry.status == "failed"
    assert entry.error is not None
    assert (entry.error.type, entry.error.exit_code) == ("subprocess.CalledProcessError", 3)


def test_command_that_may_fail_returns_its_exit_code(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s") as this:
        assert this.run(["sh", "-c", "exit 3"], check=False).returncode == 3
        assert this.run(["sh", "-c", "kill -9 $$"], check=False).returncode == -9
    assert only_step(runs).status == "completed"


def test_command_that_does_not_exist_raises_as_subprocess_does(runs: CapturedRuns) -> None:
    with pytest.raises(FileNotFoundError), pipeline("p"), step("s") as this:
        this.run(["./there-is-none"])
    assert only_step(runs).status == "failed"


def test_arguments_may_be_paths_and_the_environment_is_the_given_one(
    runs: CapturedRuns, tmp_path: Path
) -> None:
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\necho $MARK $ROBOT_SF_OTEL_RUN_DIR > out\n")
    script.chmod(0o755)
    with pipeline("p") as run, step("s") as this:
        this.run([script], env={"MARK": "mine"})
    assert (tmp_path / "out").read_text() == f"mine {run.run_dir}\n"


def test_command_that_takes_too_long_is_terminated_and_is_a_timeout(runs: CapturedRuns) -> None:
    with pytest.raises(subprocess.TimeoutExpired), pipeline("p"), step("s") as this:
        this.run(["sleep", "60"], timeout=0.01)
    entry = only_step(runs)
    assert entry.status == "failed"
    results = [event["result"] for event in runs.events if "result" in event]
    assert results == ["timeout", "timeout"]
    span = next(span for span in runs.spans if span.name == "s")
    assert (span.attributes or {})["cicd.pipeline.task.run.result"] == "timeout"


class Stubborn:
    """Stands for a command that SIGTERM does not end."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def wait(self, timeout: float | None = None) -> int:
        if self.told[-1:] != ["kill"]:
            raise subprocess.TimeoutExpired("stubborn", timeout or 0)
        return -9

    def terminate(self) -> None:
        self.told.append("terminate")

    def kill(self) -> None:
        self.told.append("kill")


def test_command_that_ignores_sigterm_is_killed_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = Stubborn()

    def popen(*_: object, **__: object) -> Stubborn:
        return command

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(["stubborn"], timeout=1)
    assert command.told == ["terminate", "kill"]
    assert children == set()


def test_command_runs_outside_a_run_too() -> None:
    with step("s") as this:
        assert this.run(["true"]).returncode == 0
        with pytest.raises(subprocess.CalledProcessError):
            this.run(["false"])


class Told:
    """Stands for a command that is running."""

    pid = 1

    def __init__(self, error: OSError | None = None) -> None:
        self.signals: list[int] = []
        self.error = error

    def send_signal(self, signum: int) -> None:
        self.signals.append(signum)
        if self.error is not None:
            raise self.error


def test_signal_is_forwarded_to_every_command_even_if_one_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [Told(PermissionError("not allowed")), Told()]
    monkeypatch.setattr(child_process, "children", set(commands))
    child_process.forward(15)
    assert [command.signals for command in commands] == [[15], [15]]
    assert "could not signal 1: not allowed" in capsys.readouterr().err


def test_sigterm_is_handed_on_by_a_process_that_has_no_other_hand_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a process that joined the run of another does, and one without telemetry."""
    sent: list[int] = []
    own: list[tuple[int, int]] = []

    class Child:
        pid = 1

        def send_signal(self, signum: int) -> None:
            sent.append(signum)

        def wait(self, timeout: float | None = None) -> int:
            assert signal.getsignal(signal.SIGTERM) is child_process._hand_on
            child_process._hand_on(signal.SIGTERM, None)
            return -signal.SIGTERM

    def start(*_: object, **__: object) -> Child:
        return Child()

    def kill(pid: int, signum: int) -> None:
        own.append((pid, signum))

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(os, "kill", kill)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        run_child(["x"], check=False)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sent == [signal.SIGTERM]
    assert own == [(os.getpid(), signal.SIGTERM)]


def test_a_handler_of_the_application_is_left_alone(runs: CapturedRuns) -> None:
    def handler(signum: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, handler)
    try:
        run_child([sys.executable, "-c", "pass"])
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
