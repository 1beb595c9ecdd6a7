"""The recipes of docs/how-to/robot_sf.md, on the stand-in pipeline that the page has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.history import newest_first
from robot_sf_otel.store.reader import LoadedRun, load_run
from tests.docs.page import blocks, run
from tests.integration.scripts import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs/how-to/robot_sf.md"
STEPS = ["train_expert", "collect_trajectories", "bc_pretrain", "ppo_finetune", "compare_runs"]
BURNT_SECONDS = 0.3
"""CPU seconds that each script of the page takes at least."""
TRACKED = [sys.executable, "-m", "robot_sf_otel.cli.main", "run", "--pipeline", "imitation", "--"]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page: the pipeline, its scripts, and the pipeline with three lines more."""
    folder = tmp_path_factory.mktemp("robot_sf")
    here = Path.cwd()
    os.chdir(folder)
    try:
        for block in blocks(PAGE.read_text(encoding="utf-8")):
            # The decorated script comes last and would replace the plain one.
            if block.title in {"pipeline.py", "edit.py"} or block.language == "sh":
                run(block, page=str(PAGE), namespace={})
    finally:
        os.chdir(here)
    subprocess.run([sys.executable, "edit.py"], cwd=folder, check=True)
    return folder


def decorated_script() -> str:
    return next(
        block.code
        for block in blocks(PAGE.read_text(encoding="utf-8"))
        if block.title == "scripts/train_ppo.py"
    )


def tracked(
    folder: Path, program: str, root: Path, *, wrapper: Sequence[str] = TRACKED, **extra: str
) -> tuple[int, LoadedRun]:
    """Run a program of the page tracked; return its exit code and what was recorded."""
    done = subprocess.run(
        [*wrapper, sys.executable, str(folder / program)],
        env={**os.environ, "ROBOT_SF_ARTIFACT_ROOT": str(root), **extra},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, load_run(next(newest_first([root])))


def test_without_a_change_the_run_and_its_process_tree_are_seen(
    stand_in: Path, tmp_path: Path
) -> None:
    code, seen = tracked(stand_in, "pipeline.py", tmp_path)
    assert (code, seen.status, seen.steps) == (0, "completed", [])
    busy = [s.cpu_cores_process for s in seen.telemetry() if s.cpu_cores_process]
    assert max(busy) > 0.05, "the scripts' CPU, not that of the waiting parent"
    assert max(s.process_count or 0 for s in seen.telemetry()) >= 2


def test_three_lines_give_every_step_with_its_bill(stand_in: Path, tmp_path: Path) -> None:
    code, seen = tracked(stand_in, "pipeline_b.py", tmp_path)
    assert (code, seen.status) == (0, "completed")
    assert [one.step_id for one in seen.steps] == STEPS
    assert all((one.usage.cpu_seconds or 0) >= BURNT_SECONDS for one in seen.steps)
    assert all((one.usage.memory_rss_peak_mb or 0) > 0 for one in seen.steps)


def test_three_lines_tell_which_script_failed_and_how(stand_in: Path, tmp_path: Path) -> None:
    code, seen = tracked(stand_in, "pipeline_b.py", tmp_path, EXIT_CODE="7")
    assert (code, seen.status) == (1, "failed")
    (only,) = [one for one in seen.steps if one.status != "pending"]
    assert (only.step_id, only.status) == ("train_expert", "failed")
    assert only.error is not None
    assert only.error.exit_code == 7


def test_three_lines_change_nothing_without_telemetry(stand_in: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(stand_in / "pipeline_b.py")], cwd=tmp_path, check=False
    )
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_decorated_scripts_report_their_progress(stand_in: Path, tmp_path: Path) -> None:
    script = stand_in / "scripts/train_ppo.py"
    plain = script.read_text(encoding="utf-8")
    script.write_text(decorated_script(), encoding="utf-8")
    try:
        _, alone = tracked(stand_in, "pipeline.py", tmp_path / "c")
        _, nested = tracked(stand_in, "pipeline_b.py", tmp_path / "b-and-c")
    finally:
        script.write_text(plain, encoding="utf-8")
    (only,) = alone.steps
    assert (only.display_name, only.parent_step_id) == ("Train expert PPO policy", None)
    assert (only.progress.done, only.progress.total, only.progress.unit) == (64, 64, "timesteps")
    assert only.metrics == {"episode_reward": 12.5}
    inner = [one for one in nested.steps if one.parent_step_id is not None]
    assert [(one.step_id, one.parent_step_id) for one in inner] == [("train_expert",) * 2]
    assert nested.summary.steps_completed == 5


def test_sigterm_ends_the_script_too(stand_in: Path, tmp_path: Path) -> None:
    script = stand_in / "scripts/train_ppo.py"
    plain = script.read_text(encoding="utf-8")
    marker = tmp_path / "pid"
    script.write_text(
        f"import os, pathlib, time\npathlib.Path({str(marker)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(120)\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [*TRACKED, sys.executable, str(stand_in / "pipeline_b.py")],
        env={**os.environ, "ROBOT_SF_ARTIFACT_ROOT": str(tmp_path / "output")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: marker.is_file() and bool(marker.read_text()), "the script runs")
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        script.write_text(plain, encoding="utf-8")
    child = int(marker.read_text())
    wait_until(lambda: not _runs(child), "the script has ended")
    seen = load_run(next(newest_first([tmp_path / "output"])))
    assert seen.status == "cancelled"
    assert seen.steps[0].status in {"cancelled", "failed"}, (
        "who saw it first: the run, or its owner"
    )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
