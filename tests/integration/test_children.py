"""Child processes join the run by their environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.journal import iter_raw

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
    found = {
        record.pipeline: [entry.step_id for entry in record.steps] for record in scripts.records
    }
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
        env={
            "ROBOT_SF_OTEL_RUN_DIR": str(scripts.run_dirs[0]),
            "TRACEPARENT": traceparent,
            "ROBOT_SF_ARTIFACT_ROOT": "elsewhere",  # the new run lies beside the old one
        },
    )
    assert not done.warnings
    new = next(record for record in scripts.records if record.run_id != first.run_id)
    assert new.status == "completed"
    assert new.trace_id != first.trace_id
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
