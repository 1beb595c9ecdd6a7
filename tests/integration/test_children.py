"""Child processes join the run: by environment, by multiprocessing's state, by fork."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

CHILD = """
    import subprocess, sys
    from robot_sf_otel import current_run, step

    with step(sys.argv[1]) as this:
        this.advance(3)
        if sys.argv[2:]:
            subprocess.run([sys.executable, __file__, *sys.argv[2:]], check=True)
    print(current_run().run_id)
"""


def test_child_joins_the_run_below_the_step_that_started_it(scripts: Scripts) -> None:
    child = scripts.write(CHILD, "child.py")
    scripts.run(
        f"""
        import subprocess, sys
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p", steps=["train"]), step("train"):
            subprocess.run([sys.executable, {str(child)!r}, "rollouts"], check=True)
        """
    )
    record = scripts.record
    rollouts = scripts.steps["rollouts"]
    assert (rollouts.status, rollouts.parent_step_id) == ("completed", "train")
    assert rollouts.progress.done == 3
    assert rollouts.process != scripts.steps["train"].process
    assert (record.summary.steps_completed, record.summary.steps_total) == (1, 1)
    (journal,) = (scripts.run_dirs[0] / "workers").iterdir()
    pid = str(rollouts.process).rpartition(":")[2]
    assert f"-{pid}-" in journal.name
    assert "rollouts" not in {event.get("step_id") for event in scripts.journal()}


def test_step_of_a_child_that_was_started_outside_a_step_is_counted(scripts: Scripts) -> None:
    child = scripts.write(CHILD, "child.py")
    scripts.run(
        f"""
        import subprocess, sys
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p", steps=["train"]):
            subprocess.run([sys.executable, {str(child)!r}, "train"], check=True)
        """
    )
    record = scripts.record
    assert scripts.steps["train"].parent_step_id is None
    assert (record.summary.steps_completed, record.summary.steps_total) == (1, 1)


def test_grandchild_is_recorded_below_the_childs_step(scripts: Scripts) -> None:
    child = scripts.write(CHILD, "child.py")
    scripts.run(
        f"""
        import subprocess, sys
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("a"):
            subprocess.run([sys.executable, {str(child)!r}, "b", "c"], check=True)
        """
    )
    parents = {entry.step_id: entry.parent_step_id for entry in scripts.record.steps}
    assert parents == {"a": None, "b": "a", "c": "b"}


def test_child_with_an_environment_of_its_own_joins_through_child_env_only(
    scripts: Scripts,
) -> None:
    child = scripts.write(CHILD, "child.py")
    done = scripts.run(
        f"""
        import os, subprocess, sys
        from robot_sf_otel import child_env, configure, pipeline, step
        own = {{"PATH": os.environ["PATH"], "MARK": "kept"}}
        given = dict(own)
        assert child_env(own) == own, "outside a run a plain copy"
        configure()
        with pipeline("p"), step("train") as this:
            joined = child_env(own)
            assert own == given and joined["MARK"] == "kept"
            for name, env in (("plain", own), ("joined", joined)):
                subprocess.run([sys.executable, {str(child)!r}, name], env=env, check=True)
            this.run([sys.executable, {str(child)!r}, "by-s-run"], env=own)
        """
    )
    assert sorted(scripts.steps) == ["by-s-run", "joined", "train"]
    assert done.out.splitlines()[0] == "None"
    assert set(done.out.splitlines()[1:]) == {scripts.record.run_id}


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


def test_progress_of_a_child_reaches_the_owners_samples(scripts: Scripts) -> None:
    child = scripts.write(
        """
        import pathlib, time
        from robot_sf_otel import step
        with step("rollouts", total=1000, unit="episodes") as this:
            while not pathlib.Path("seen").exists():
                this.advance()
                time.sleep(0.005)
        """,
        "child.py",
    )
    scripts.run(
        f"""
        import json, pathlib, subprocess, sys, time
        from robot_sf_otel import configure, pipeline
        configure(interval=0.1)
        def seen(run):
            lines = (run.run_dir / "telemetry.jsonl").read_text().splitlines()
            return any(json.loads(line).get("steps_per_sec") for line in lines)
        with pipeline("p") as run:
            child = subprocess.Popen([sys.executable, {str(child)!r}])
            while not seen(run):
                time.sleep(0.02)
            pathlib.Path("seen").touch()
            assert child.wait() == 0
        """,
        env={"ROBOT_SF_OTEL_INTERVAL": "0.1"},
    )
    assert scripts.steps["rollouts"].progress.done > 0
    assert scripts.steps["rollouts"].progress.unit == "episodes"


def test_concurrent_pipelines_hand_their_own_run_to_their_children(scripts: Scripts) -> None:
    child = scripts.write(CHILD, "child.py")
    scripts.run(
        f"""
        import sys, threading
        from robot_sf_otel import configure, pipeline, step
        configure()
        both = threading.Barrier(2)
        def work(name):
            with pipeline(name), step("evaluate") as this:
                both.wait()
                this.run([sys.executable, {str(child)!r}, "of-" + name])
                both.wait()
        threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )
    found = {record.pipeline: [entry.step_id for entry in record.steps] for record in scripts.records}
    assert found == {"one": ["evaluate", "of-one"], "two": ["evaluate", "of-two"]}


def test_environment_is_restored_after_the_run(scripts: Scripts) -> None:
    scripts.run(
        """
        import os
        from multiprocessing.process import current_process
        from robot_sf_otel import configure, pipeline
        configure()
        before, state = dict(os.environ), dict(current_process()._config)
        with pipeline("p") as run:
            assert os.environ["ROBOT_SF_OTEL_RUN_DIR"] == str(run.run_dir)
        assert dict(os.environ) == before
        assert dict(current_process()._config) == state
        """
    )


def test_directory_of_a_closed_run_starts_a_new_linked_run(scripts: Scripts) -> None:
    source = """
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            pass
    """
    scripts.run(source)
    first = scripts.record
    traceparent = f"00-{first.trace_id}-{first.span_id}-01"
    done = scripts.run(
        source,
        env={"ROBOT_SF_OTEL_RUN_DIR": str(scripts.run_dirs[0]), "TRACEPARENT": traceparent},
    )
    assert not done.warnings
    new = next(record for record in scripts.records if record.run_id != first.run_id)
    assert new.status == "completed"
    assert new.trace_id != first.trace_id
    from robot_sf_otel.store.journal import iter_raw

    journal = next(d for d in scripts.run_dirs if d.name == new.run_id) / "manifest.jsonl"
    assert next(iter(iter_raw(journal)))["linked_run_id"] == first.run_id
    assert len(first.steps) == 1


def test_directory_that_holds_no_run_starts_a_new_one_with_a_warning(scripts: Scripts) -> None:
    done = scripts.run(
        """
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            pass
        """,
        env={"ROBOT_SF_OTEL_RUN_DIR": str(scripts.folder / "gone")},
    )
    (warning,) = done.warnings
    assert "ROBOT_SF_OTEL_RUN_DIR=" in warning
    assert "gone" in warning
    assert scripts.record.status == "completed"


def test_pipeline_in_a_child_process_is_a_step_of_the_run(scripts: Scripts) -> None:
    child = scripts.write(
        """
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("inner", steps=["x", "y"]), step("x"):
            pass
        """,
        "child.py",
    )
    scripts.run(
        f"""
        import subprocess, sys
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("outer", steps=["a"]), step("a"):
            subprocess.run([sys.executable, {str(child)!r}], check=True)
        """
    )
    parents = {entry.step_id: entry.parent_step_id for entry in scripts.record.steps}
    assert parents == {"a": None, "inner": "a", "x": "inner"}
    assert scripts.record.pipeline == "outer"
    assert scripts.record.enabled_steps == ["a"]
