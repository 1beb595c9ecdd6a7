"""Forks at bad moments, children that end without a word, and children that outlive the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.journal import iter_raw
from robot_sf_otel.store.reader import worker_journals
from tests.integration.scripts import UNMEASURED, wait_until

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

FORKS = 200


def test_forks_while_threads_hold_every_lock_neither_hang_nor_touch_the_parents_journal(
    scripts: Scripts,
) -> None:
    scripts.run(
        f"""
        import json, logging, os, signal, threading
        from pathlib import Path
        from robot_sf_otel import configure, current_run, pipeline, step
        configure(interval=0.1)
        # Not a stream: the lock inside a file object of Python itself is not given back at a fork.
        class Handler(logging.Handler):
            def emit(self, record):
                self.format(record)
        logging.basicConfig(handlers=[Handler()], level=logging.DEBUG)
        over = threading.Event()

        def log():
            while not over.is_set():
                logging.getLogger("x").warning("holds the lock of its handler")
                over.wait(0.0002)

        def work(name):
            while not over.is_set():
                with step(name, total=2) as this:
                    this.advance()
                    this.log_metric("loss", 1.0)

        with pipeline("p") as run:
            names = [f"thread-{{number}}" for number in range(2)]
            threads = [threading.Thread(target=log, daemon=True)]
            threads += [threading.Thread(target=run.bind(work), args=(name,)) for name in names]
            for thread in threads: thread.start()
            for number in range({FORKS}):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(20)  # one that hangs is killed, and that is noticed
                    with step("child") as this:
                        this.advance(number)
                        logging.getLogger("x").warning("from the child")
                    os._exit(0)
                assert os.waitpid(pid, 0) == (pid, 0), number
            over.set()
            for thread in threads: thread.join()
        """,
        env=UNMEASURED,
    )
    record = scripts.record
    assert record.status == "completed"
    assert {entry.status for entry in record.steps} == {"completed"}
    (run_dir,) = scripts.run_dirs
    journals = worker_journals(run_dir)
    assert len(journals) == FORKS
    children = [list(iter_raw(journal)) for journal in journals]
    assert {tuple(event["event"] for event in events) for events in children} == {
        ("step_started", "step_finished")
    }
    own = list(iter_raw(run_dir / "manifest.jsonl"))
    assert {event["process"] for event in own if "process" in event} == {own[0]["process"]}
    assert "child" not in {event.get("step_id") for event in own}
    assert len(own) == len((run_dir / "manifest.jsonl").read_bytes().splitlines())


def test_child_writes_not_one_byte_to_its_parents_journal(scripts: Scripts) -> None:
    scripts.run(
        """
        import multiprocessing, sys
        from robot_sf_otel import configure, current_run, pipeline, step

        def work(method):
            with step("child", total=1) as this:
                this.advance()
                this.log_metric("loss", 1.0)
                this.log_artifact(__file__)
            current_run().log_params({method: 1})

        if __name__ == "__main__":
            configure()
            with pipeline("p") as run, step("train"):
                journal = run.run_dir / "manifest.jsonl"
                while b"params_logged" not in journal.read_bytes():
                    pass  # the facts of the environment come a moment later
                def told():  # without the digests of artifacts, which the owner reads
                    lines = journal.read_bytes().splitlines()
                    return [line for line in lines if b'"sha256"' not in line]
                before = told()
                for method in ("fork", "spawn", "forkserver"):
                    child = multiprocessing.get_context(method).Process(target=work, args=(method,))
                    child.start()
                    child.join()
                    assert child.exitcode == 0, method
                    assert told() == before, method
        """
    )
    assert len(worker_journals(scripts.run_dirs[0])) == 3
    assert set(scripts.record.params) == {"fork", "spawn", "forkserver"}
    assert [entry.status for entry in scripts.record.steps] == ["completed"] * 4


def test_child_that_ends_by_exit_at_once_leaves_its_step_failed(scripts: Scripts) -> None:
    scripts.run(
        """
        import os
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            pid = os.fork()
            if pid == 0:
                with step("rollout"):
                    os._exit(3)
            os.waitpid(pid, 0)
        """
    )
    assert scripts.record.status == "completed"
    assert scripts.statuses == {"train": "completed", "rollout": "failed"}


def test_owner_that_ends_by_exit_at_once_is_closed_as_failed(scripts: Scripts) -> None:
    scripts.run(
        """
        import os
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            os._exit(3)
        """,
        env={"ROBOT_SF_OTEL_WATCHDOG": "true"},
        code=3,
    )
    (run_dir,) = scripts.run_dirs
    wait_until((run_dir / "manifest.md").exists, "closed by the watchdog")
    assert scripts.record.status == "failed"
    assert scripts.statuses == {"train": "failed"}


ORPHAN = """
    import os, sys
    from pathlib import Path
    from robot_sf_otel import configure, pipeline, step
    from robot_sf_otel.store import lock
    configure()
    with pipeline("p"):
        if os.fork() == 0:
            os.setsid()
            with step("before"):
                pass
            Path("begun").touch()
            while not Path("over").exists():
                pass
            {blind}
            with step("after"):
                Path("inside").touch()
                {end}
            os._exit(0)
        while not Path("begun").exists():
            pass
"""
BLIND = """
            import robot_sf_otel_manifest.worker
            robot_sf_otel_manifest.worker.is_locked = lambda _: None  # a file system without locks
"""


@pytest.mark.parametrize("end", ["os._exit(0)", "pass"])
@pytest.mark.parametrize("blind", [BLIND, ""], ids=["no-locks", "locks"])
def test_step_that_an_orphan_begins_after_the_end_never_stays_running(
    scripts: Scripts, end: str, blind: str
) -> None:
    done = scripts.start(ORPHAN.format(end=end, blind=blind.strip()))
    done.process.wait(30)
    before = scripts.record
    (scripts.folder / "over").touch()
    wait_until((scripts.folder / "inside").exists, "the orphan's step began")
    done.ends()
    record = scripts.record
    assert record.status == before.status == "completed"
    assert record.summary.running_steps == []
    assert "running" not in {entry.status for entry in record.steps}
    assert scripts.statuses["before"] == "completed"
    if not blind:
        assert "after" not in scripts.statuses  # it belongs to no run any more
    assert worker_journals(scripts.run_dirs[0])
