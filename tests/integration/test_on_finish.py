"""The operator's command at the end of a run, with a real process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel import on_finish, pipeline
from robot_sf_otel.testing import capture_run
from tests.integration.scripts import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scripts import Scripts

DEADLINE_SECONDS = 10.0


def test_command_gets_the_run_directory_and_the_status(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = tmp_path / "tell.sh"
    script.write_text(f'printf "%s %s" "$1" "$2" > "{told}.part" && mv "{told}.part" "{told}"\n')
    with capture_run(tmp_path / "root", on_finish=f"sh '{script}'") as runs:
        with pipeline("p"):
            pass
        (run_dir,) = runs.run_dirs
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not told.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for command in on_finish._commands:
        command.wait(DEADLINE_SECONDS)
    assert told.read_text() == f"{run_dir} completed"


def test_command_that_does_not_exist_changes_nothing_for_the_run(tmp_path: Path) -> None:
    with capture_run(tmp_path, on_finish="/no/such/command") as runs:
        with pipeline("p"):
            pass
        assert runs.record.status == "completed"


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("pass", "completed"),
        ("raise ValueError", "failed"),
        ("os.kill(os.getpid(), 15); time.sleep(30)", "cancelled"),
    ],
)
def test_the_variable_names_a_command_that_outlives_the_program(
    scripts: Scripts, ending: str, status: str
) -> None:
    told = scripts.folder / "told"
    script = scripts.folder / "tell.sh"
    script.write_text(
        f'sleep 0.2\nprintf "%s %s" "$1" "$2" > {told}.part && mv {told}.part {told}\n'
    )
    scripts.start(
        f"""
        import os, time
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            {ending}
        """,
        env={"ROBOT_SF_OTEL_ON_FINISH": f"sh '{script}'"},
    ).ends()
    wait_until(told.exists, "the command has ended")
    run_dir, said = told.read_text().rsplit(" ", 1)
    assert said == status
    assert (scripts.folder / "output" / "run-tracker" / run_dir.rpartition("/")[2]).is_dir()
