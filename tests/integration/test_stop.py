"""`stop` ends real runs by SIGTERM and waits until their record is closed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

LONG_RUN: Final = """
    import signal, sys, time
    from robot_sf_otel import configure, current_run, pipeline, step

    configure()
    if "deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with pipeline("p"), step("wait"):
        print(current_run().run_id, flush=True)
        time.sleep(600)
"""


def stop(scripts: Scripts, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "robot_sf_otel.cli.main", "stop", *arguments],
        cwd=scripts.folder,
        env=scripts.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_run_is_stopped_and_closed_as_cancelled(scripts: Scripts) -> None:
    running = scripts.start(LONG_RUN)
    assert running.process.stdout is not None
    run_id = running.process.stdout.readline().strip()

    done = stop(scripts, run_id, "--timeout", "30", "--format", "json")

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["run_id"], answer["stopped"], answer["status"]) == (run_id, True, "cancelled")
    assert answer["pid"] == running.pid
    assert running.ends().code == -signal.SIGTERM
    assert scripts.record.status == "cancelled"
    again = stop(scripts, run_id)
    assert (again.returncode, again.stdout) == (1, "")
    assert f"run {run_id} has ended already: cancelled" in again.stderr


def test_a_run_that_ignores_sigterm_goes_on(scripts: Scripts) -> None:
    running = scripts.start(LONG_RUN, "deaf")
    assert running.process.stdout is not None
    running.process.stdout.readline()

    done = stop(scripts, "--timeout", "0.2")

    assert (done.returncode, done.stdout) == (1, "")
    assert f"goes on 0.2 s after SIGTERM to process {running.pid}" in done.stderr
    assert running.process.poll() is None
    running.kill(signal.SIGKILL)
    running.ends()


def test_a_killed_run_is_no_longer_there_to_be_stopped(scripts: Scripts) -> None:
    running = scripts.start(LONG_RUN)
    assert running.process.stdout is not None
    running.process.stdout.readline()
    running.kill(signal.SIGKILL)
    running.ends()

    done = stop(scripts)

    assert done.returncode == 1
    assert "has ended already: failed" in done.stderr


def test_a_command_that_was_tracked_is_stopped_with_its_tracker(scripts: Scripts) -> None:
    tracker = [sys.executable, "-m", "robot_sf_otel.cli.main", "run", "--name", "sleeper"]
    running = scripts.start_command([*tracker, "--", "sh", "-c", "echo up; exec sleep 600"])
    running.says("up")

    done = stop(scripts, "sleeper", "--timeout", "30")

    assert done.returncode == 0, done.stderr
    assert "run sleeper stopped after" in done.stdout
    running.ends()
