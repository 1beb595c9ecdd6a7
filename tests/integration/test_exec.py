"""Processes that become another program: `os.exec*` of the pipeline or of a child."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.journal import iter_raw

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration


def test_pipeline_that_runs_itself_anew_by_exec_is_a_new_run_linked_to_the_old(
    scripts: Scripts,
) -> None:
    done = scripts.run(
        """
        import os, sys
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p", steps=["load", "train"]):
            with step("load"):
                pass
            with step("train"):
                if not sys.argv[1:]:
                    os.execv(sys.executable, [sys.executable, __file__, "again"])
        """
    )
    assert not done.warnings
    old, new = sorted(scripts.records, key=lambda record: record.status == "completed")
    assert (old.status, new.status) == ("failed", "completed")
    assert "replaced itself by another program (exec)" in (old.status_reason or "")
    assert [(entry.step_id, entry.status) for entry in old.steps] == [
        ("load", "completed"),
        ("train", "failed"),
    ]
    assert [entry.status for entry in new.steps] == ["completed", "completed"]
    (new_dir,) = (found for found in scripts.run_dirs if found.name == new.run_id)
    (old_dir,) = (found for found in scripts.run_dirs if found.name == old.run_id)
    assert next(iter(iter_raw(new_dir / "manifest.jsonl")))["linked_run_id"] == old.run_id
    assert [event["event"] for event in iter_raw(old_dir / "manifest.jsonl")][-1] == "run_recovered"
    assert not (old_dir / "workers").exists()


def test_watchdog_leaves_the_run_that_exec_ended_as_it_was_closed(scripts: Scripts) -> None:
    scripts.run(
        """
        import os, sys
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            if not sys.argv[1:]:
                os.execv(sys.executable, [sys.executable, __file__, "again"])
        """,
        env={"ROBOT_SF_OTEL_WATCHDOG": "true"},
    )
    assert sorted(record.status for record in scripts.records) == ["completed", "failed"]
    for run_dir in scripts.run_dirs:
        kinds = [event["event"] for event in iter_raw(run_dir / "manifest.jsonl")]
        assert kinds.count("run_recovered") + kinds.count("run_finished") == 1


def test_step_of_a_child_that_replaces_itself_by_exec_fails_and_the_program_joins(
    scripts: Scripts,
) -> None:
    child = scripts.write(
        """
        import os, sys
        from robot_sf_otel import step
        if sys.argv[1:]:
            with step("after"):
                pass
        else:
            with step("before"):
                os.execv(sys.executable, [sys.executable, __file__, "again"])
        """,
        "child.py",
    )
    scripts.run(
        f"""
        import subprocess, sys
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            subprocess.run([sys.executable, {str(child)!r}], check=True)
        """
    )
    record = scripts.record
    assert record.status == "completed"
    assert scripts.statuses == {"train": "completed", "before": "failed", "after": "completed"}
    error = scripts.steps["before"].error
    assert error is not None
    assert "replaced itself by another program (exec)" in error.message


def test_child_of_the_owner_that_becomes_another_program_leaves_the_run_alone(
    scripts: Scripts,
) -> None:
    scripts.run(
        """
        import os
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            pid = os.fork()
            if pid == 0:
                os.execvp("true", ["true"])
            assert os.waitpid(pid, 0) == (pid, 0)
        """
    )
    assert scripts.record.status == "completed"
    assert scripts.statuses == {"train": "completed"}
    assert not (scripts.run_dirs[0] / "workers").exists()
