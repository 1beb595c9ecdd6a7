"""A child process that is killed leaves its step failed, and the run alive."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.scripts import wait_until

if TYPE_CHECKING:
    from tests.integration.scripts import Running, Scripts

pytestmark = pytest.mark.integration

PIPELINE = """
    import multiprocessing, signal, sys
    from robot_sf_otel import configure, pipeline, step
    configure()

    def work():
        with step("rollout"):
            print(multiprocessing.current_process().pid, flush=True)
            signal.pause()

    if __name__ == "__main__":
        with pipeline("p"):
            child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
            child.start()
            child.join()
            if sys.argv[2] == "wait":
                print("joined", flush=True)
                sys.stdin.read()
"""


def worker(script: Running) -> int:
    assert script.process.stdout is not None
    return int(script.process.stdout.readline())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_step_of_a_killed_worker_fails_while_the_run_goes_on(scripts: Scripts, method: str) -> None:
    hold = ("sh", "-c", 'sleep 120 | "$@"', "sh")
    script = scripts.start(
        PIPELINE, method, "wait", env={"ROBOT_SF_OTEL_INTERVAL": "0.1"}, prefix=hold
    )
    pid = worker(script)
    os.kill(pid, signal.SIGKILL)
    script.says("joined")
    wait_until(lambda: bool(scripts.events("worker_lost")), "noticed")
    (lost,) = scripts.events("worker_lost")
    assert lost["process"].endswith(f":{pid}")
    assert f"pid {pid} on " in lost["reason"]
    record = scripts.record
    assert record.status == "running"
    assert record.summary.running_steps == []
    error = scripts.steps["rollout"].error
    assert scripts.statuses == {"rollout": "failed"}
    assert error is not None
    assert error.message == lost["reason"]


def test_worker_that_was_lost_just_before_the_end_is_said_before_it(scripts: Scripts) -> None:
    script = scripts.start(PIPELINE, "fork", "end", env={"ROBOT_SF_OTEL_INTERVAL": "60"})
    os.kill(worker(script), signal.SIGKILL)
    assert script.ends().code == 0
    kinds = [event["event"] for event in scripts.journal()]
    assert kinds[-2:] == ["worker_lost", "run_finished"]
    assert scripts.record.status == "completed"
    assert scripts.statuses == {"rollout": "failed"}
