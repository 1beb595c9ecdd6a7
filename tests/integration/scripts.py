"""Small pipelines in processes of their own: starting them, waiting for them, reading their record.

A test never waits for a time, only for a condition with a deadline.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.journal import iter_raw
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.reader import load_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord, StepExecutionEntry

DEADLINE: Final = 30.0
"""Seconds after which whatever was waited for is taken as not happening."""

QUIET: Final = {
    "ROBOT_SF_OTEL_CONSOLE": "off",
    "ROBOT_SF_OTEL_WATCHDOG": "false",
    "PYTHONFAULTHANDLER": "1",
}
"""What every script gets: nothing drawn, nobody else who closes a record, stacks when it hangs."""
UNMEASURED: Final = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
"""For scripts that fork often: coverage begins anew in each child and saves at its end, which takes
longer than all else, and its own lock may be held by another thread at a fork. And for scripts that
get SIGINT anywhere: a KeyboardInterrupt just after that lock was taken leaves it taken."""


def wait_until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Wait until `condition` holds.

    Raises:
        AssertionError: It does not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            msg = f"after {seconds} s still not: {what}"
            raise AssertionError(msg)
        time.sleep(0.01)


class Running:
    """A script that was started, and the lines that it writes."""

    def __init__(self, process: subprocess.Popen[str], *, measured: bool) -> None:
        self.process = process
        self.pid = process.pid
        self._measured = measured

    def says(self, line: str) -> None:
        """Wait for a line on stdout.

        Raises:
            AssertionError: The script ends without it.
        """
        assert self.process.stdout is not None
        for written in self.process.stdout:
            if written.rstrip("\n") == line:
                return
        _, errors = self.process.communicate(timeout=DEADLINE)
        msg = f"the script ended without saying {line!r}: {errors}"
        raise AssertionError(msg)

    def kill(self, signum: int) -> None:
        """Send a signal."""
        assert signum != signal.SIGINT or not self._measured, "start it with env=UNMEASURED"
        self.process.send_signal(signum)

    def ends(self, seconds: float = DEADLINE) -> Finished:
        """Wait for the end.

        Raises:
            AssertionError: It does not come within `seconds`; the message has what each thread of
                the script was doing.
        """
        try:
            out, errors = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill(signal.SIGABRT)  # faulthandler writes the stacks of all threads
            _, errors = self.process.communicate()
            msg = f"the script did not end within {seconds} s: {errors}"
            raise AssertionError(msg) from None
        return Finished(self.process.returncode, out, errors)


class Finished:
    """How a script ended and what it wrote."""

    def __init__(self, code: int, out: str, errors: str) -> None:
        self.code = code
        self.out = out
        self.errors = errors

    @property
    def warnings(self) -> list[str]:
        """The warnings that Loguru wrote to stderr."""
        return [line for line in self.errors.splitlines() if "| WARNING " in line]


class Scripts:
    """Runs Python source in a folder and reads the runs that it recorded there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return what a script gets as environment."""
        return {**os.environ, **QUIET, **(extra or {})}

    def write(self, source: str, name: str = "main.py") -> Path:
        """Write a script into the folder."""
        path = self.folder / name
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return path

    def start(
        self,
        source: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> Running:
        """Start a script, with its own process group, and return at once."""
        command = [*prefix, sys.executable, str(self.write(source)), *arguments]
        return self.start_command(command, env=env)

    def start_command(self, command: list[str], *, env: Mapping[str, str] | None = None) -> Running:
        """Start a command in the folder and return at once."""
        environ = self.environment(env)
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return Running(process, measured=not UNMEASURED.items() <= environ.items())

    def run(
        self,
        source: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        code: int = 0,
    ) -> Finished:
        """Run a script to its end.

        Raises:
            AssertionError: It ends with another exit code than `code`.
        """
        finished = self.start(source, *arguments, env=env, prefix=prefix).ends()
        assert finished.code == code, finished.errors or finished.out
        return finished

    @property
    def run_dirs(self) -> list[Path]:
        """Directories of the runs under `output`, oldest first."""
        return sorted(find_runs([self.folder / "output"]))

    @property
    def records(self) -> list[PipelineRunRecord]:
        """The records of all runs, oldest first."""
        return [load_run(run_dir).record for run_dir in self.run_dirs]

    @property
    def record(self) -> PipelineRunRecord:
        """The record of the only run."""
        (record,) = self.records
        return record

    @property
    def steps(self) -> dict[str, StepExecutionEntry]:
        """The steps of the only run by name, the last attempt of each."""
        return {entry.step_id: entry for entry in self.record.steps}

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each step of the only run, the last attempt of each."""
        return {entry.step_id: entry.status for entry in self.record.steps}

    def journal(self) -> list[dict[str, Any]]:
        """Return the events of the only run's own journal."""
        (run_dir,) = self.run_dirs
        return list(iter_raw(RunPaths(run_dir).journal))

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind in the only run's own journal."""
        return [event for event in self.journal() if event["event"] == kind]

    def close(self) -> None:
        """Kill what a failed test left behind, children of scripts included."""
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def shape(record: PipelineRunRecord) -> dict[str, Any]:
    """Return what a record says apart from times, ids and readings."""
    return {
        "pipeline": record.pipeline,
        "status": record.status,
        "reason": record.status_reason,
        "params": record.params,
        "seeds": record.seeds,
        "tags": record.tags,
        "plan": record.enabled_steps,
        "artifacts": [artifact.name for artifact in record.artifacts],
        "steps": [
            (
                entry.step_id,
                entry.display_name,
                entry.order,
                entry.status,
                entry.attempt,
                entry.parent_step_id,
                entry.progress.done,
                entry.progress.total,
                entry.metrics,
                entry.error.type if entry.error else None,
            )
            for entry in record.steps
        ],
    }
