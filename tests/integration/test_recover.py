"""`recover`: what the watchdog could not close; nothing that lives, and nothing twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel.store.journal import iter_raw
from tests.integration.scripts import UNMEASURED, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scripts import Running, Scripts

pytestmark = pytest.mark.integration

RECOVER = [sys.executable, "-m", "robot_sf_otel.cli.main", "recover"]
OPEN = """
    import signal
    from robot_sf_otel import configure, pipeline, step
    configure()
    with pipeline("p"), step("train"):
        print("training", flush=True)
        while True:
            signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
"""


def killed(scripts: Scripts) -> Running:
    script = scripts.start(OPEN)
    script.says("training")
    script.kill(signal.SIGKILL)
    script.ends()
    return script


def recover(scripts: Scripts, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [*RECOVER, *arguments, "--format", "json"],
        cwd=scripts.folder,
        env=scripts.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout or "[]")


def ends(run_dir: Path) -> list[dict[str, Any]]:
    return [raw for raw in iter_raw(run_dir / "manifest.jsonl") if raw["event"] == "run_recovered"]


def test_dead_run_is_closed_and_a_live_one_left(scripts: Scripts) -> None:
    killed(scripts)
    (dead,) = scripts.run_dirs
    alive = scripts.start(OPEN)
    alive.says("training")
    code, said = recover(scripts)
    assert code == 0
    actions = {entry["run_id"]: (entry["action"], entry["status"]) for entry in said}
    (other,) = (run_dir for run_dir in scripts.run_dirs if run_dir != dead)
    assert actions == {dead.name: ("closed", "failed"), other.name: ("left", "running")}
    reason = next(entry["reason"] for entry in said if entry["action"] == "left")
    assert (
        reason == f"pid {alive.pid} on {said[0]['reason'].split(' on ')[1].split()[0]} still runs"
    )
    assert len(ends(dead)) == 1
    assert not ends(other)
    record = json.loads((dead / "manifest.json").read_bytes())
    assert (record["status"], record["steps"][0]["status"]) == ("failed", "failed")
    assert "train" in (dead / "manifest.md").read_text()


def test_dry_run_says_the_same_and_writes_nothing(scripts: Scripts) -> None:
    killed(scripts)
    (run_dir,) = scripts.run_dirs
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    code, (said,) = recover(scripts, "--dry-run")
    assert (code, said["action"], said["status"]) == (0, "would close", "running")
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before
    assert recover(scripts)[1][0]["reason"] == said["reason"]


def test_what_is_closed_is_left_as_it_is(scripts: Scripts) -> None:
    killed(scripts)
    (run_dir,) = scripts.run_dirs
    assert recover(scripts, "latest")[1][0]["action"] == "closed"
    before = (run_dir / "manifest.jsonl").read_bytes()
    assert recover(scripts) == (0, [])
    code, (said,) = recover(scripts, "latest")
    assert (code, said["action"], said["reason"]) == (0, "left", "it has ended already: failed")
    assert (run_dir / "manifest.jsonl").read_bytes() == before


def test_named_run_that_is_still_open_is_a_failure(scripts: Scripts) -> None:
    script = scripts.start(OPEN, env=UNMEASURED)
    script.says("training")
    code, (said,) = recover(scripts, "latest")
    assert (code, said["action"]) == (1, "left")
    script.kill(signal.SIGINT)
    script.ends()
    assert scripts.record.status == "cancelled"


def test_run_that_does_not_exist_is_a_failure(scripts: Scripts) -> None:
    killed(scripts)
    assert recover(scripts, "nonsense") == (1, [])


def test_several_at_once_write_one_end(scripts: Scripts) -> None:
    """The watchdog, too, is one of several: it decides by the same lock."""
    script = scripts.start(OPEN, env={"ROBOT_SF_OTEL_WATCHDOG": "true"})
    script.says("training")
    (run_dir,) = scripts.run_dirs
    script.kill(signal.SIGKILL)
    script.ends()
    others = [
        subprocess.Popen(
            RECOVER, cwd=scripts.folder, env=scripts.environment(), stdout=subprocess.DEVNULL
        )
        for _ in range(3)
    ]
    assert [other.wait(60) for other in others] == [0, 0, 0]
    wait_until(lambda: bool(ends(run_dir)), "closed")
    assert len(ends(run_dir)) == 1
    assert not [
        raw for raw in iter_raw(run_dir / "manifest.jsonl") if raw["event"] == "run_finished"
    ]
