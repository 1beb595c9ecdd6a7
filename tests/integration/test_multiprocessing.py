"""Children by `multiprocessing` and `os.fork` join through process state and environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing_child_joins_under_every_start_method(
    scripts: Scripts, method: str
) -> None:
    scripts.run(
        f"""
        import multiprocessing
        from robot_sf_otel import configure, current_run, pipeline, step

        @step
        def rollout(n):
            return current_run().run_id

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            if {method!r} == "forkserver":
                # A server from before the run has not got the run in its environment.
                early = context.Process(target=print)
                early.start()
                early.join()
            configure()
            with pipeline("p") as run, step("collect"):
                with context.Pool(1) as pool:
                    assert pool.map(rollout, [1, 2]) == [run.run_id] * 2
        """
    )
    record = scripts.record
    assert record.status == "completed"
    found = [(e.step_id, e.status, e.attempt, e.parent_step_id) for e in record.steps]
    assert found == [
        ("collect", "completed", 1, None),
        ("rollout", "completed", 1, "collect"),
        ("rollout", "completed", 2, "collect"),
    ]
    own = next(entry.process for entry in record.steps if entry.step_id == "collect")
    assert own not in {entry.process for entry in record.steps if entry.step_id == "rollout"}


def test_spawned_child_of_a_script_without_main_guard_opens_no_second_run(
    scripts: Scripts,
) -> None:
    done = scripts.run(
        """
        import multiprocessing
        from robot_sf_otel import configure, pipeline, step

        def rollout():
            with step("rollout"):
                print("rolled out")

        configure()
        with pipeline("p"), step("collect"):
            if __name__ == "__main__":
                child = multiprocessing.get_context("spawn").Process(target=rollout)
                child.start()
                child.join()
                assert child.exitcode == 0
        """
    )
    assert done.out == "rolled out\n"
    assert [(e.step_id, e.attempt) for e in scripts.record.steps] == [
        ("collect", 1),
        ("rollout", 1),
    ]


def test_forked_child_writes_its_own_journal_and_leaves_the_run_to_its_owner(
    scripts: Scripts,
) -> None:
    scripts.run(
        """
        import os, sys
        from robot_sf_otel import configure, current_run, pipeline, step
        configure()
        with pipeline("p"), step("collect"):
            pid = os.fork()
            if pid == 0:
                with step("rollout"):
                    current_run().log_metric("ignored", 1)
                sys.exit(0)  # leaves both blocks that the parent opened
            assert os.waitpid(pid, 0) == (pid, 0)
        """
    )
    assert scripts.record.status == "completed"
    assert scripts.statuses == {"collect": "completed", "rollout": "completed"}
    assert [event["event"] for event in scripts.journal()].count("run_finished") == 1
    assert len(scripts.events("step_finished")) == 1


def test_step_of_a_forked_child_is_billed_for_what_that_child_used(scripts: Scripts) -> None:
    scripts.run(
        """
        import os, time
        from robot_sf_otel import configure, pipeline, step

        def burn(seconds):
            until = time.process_time() + seconds
            while time.process_time() < until:
                pass

        configure()
        with pipeline("p"):
            burn(0.2)
            busy = os.pipe()
            pid = os.fork()
            if pid == 0:
                with step("idle"):
                    os.read(busy[0], 1)
                os._exit(0)
            burn(0.4)
            os.write(busy[1], b"x")
            os.waitpid(pid, 0)
        """
    )
    assert scripts.steps["idle"].usage.cpu_seconds == pytest.approx(0.0, abs=0.1)


def test_step_of_a_child_is_not_billed_for_its_siblings(scripts: Scripts) -> None:
    child = scripts.write(
        """
        import pathlib, sys, time
        from robot_sf_otel import step
        with step("idle"):
            pathlib.Path("begun").touch()
            sys.stdin.read()
        """,
        "child.py",
    )
    scripts.run(
        f"""
        import pathlib, subprocess, sys, time
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p") as run, step("collect"):
            child = subprocess.Popen([sys.executable, {str(child)!r}], stdin=subprocess.PIPE)
            while not pathlib.Path("begun").exists():
                time.sleep(0.01)
            burner = "import time\\nwhile time.process_time() < 0.4: pass"
            subprocess.run([sys.executable, "-S", "-c", burner], check=True)
            child.communicate()
        """
    )
    assert scripts.steps["idle"].usage.cpu_seconds == pytest.approx(0.0, abs=0.1)
    assert (scripts.steps["collect"].usage.cpu_seconds or 0) > 0.4


def test_worker_that_is_terminated_does_not_close_the_run(scripts: Scripts) -> None:
    scripts.run(
        """
        import multiprocessing, signal
        from robot_sf_otel import configure, pipeline, step

        def work(_):
            with step("endless"):
                begun.release()
                signal.pause()

        configure()
        context = multiprocessing.get_context("fork")
        begun = context.Semaphore(0)
        with pipeline("p"), step("collect") as this:
            child = context.Process(target=work, args=(0,))
            child.start()
            begun.acquire()
            child.terminate()
            child.join()
            assert child.exitcode == -signal.SIGTERM, child.exitcode
            this.advance(1)
        """
    )
    record = scripts.record
    assert record.status == "completed"
    assert scripts.steps["collect"].progress.done == 1
    assert scripts.statuses["endless"] == "failed"


def test_artifact_of_a_forked_child_is_with_the_step_that_it_inherited(scripts: Scripts) -> None:
    scripts.run(
        """
        import os
        from pathlib import Path
        from robot_sf_otel import configure, current_step, pipeline, step
        configure(interval=0.1)
        with pipeline("p"), step("train"):
            child = os.fork()
            if child == 0:
                Path("model.zip").write_bytes(b"123")
                current_step().log_artifact("model.zip")
                os._exit(0)
            os.waitpid(child, 0)
        """
    )
    (entry,) = scripts.record.steps
    assert [artifact.name for artifact in entry.artifacts] == ["model.zip"]
