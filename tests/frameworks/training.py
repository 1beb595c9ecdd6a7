"""What the tests of the frameworks share: where they run, and what was recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.reader import load_run

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord

MISSING = "not installed here; `make test-frameworks` installs it (some 6 GB) and runs this"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run_program(
    program: str, folder: Path, *launcher: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and show what it wrote if it fails.

    Args:
        program: Its text.
        folder: Where it runs.
        *launcher: Arguments of Python before the script.
        **variables: Further environment.

    Raises:
        AssertionError: It failed.
    """
    script = folder / "program.py"
    script.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *launcher, str(script)],
        cwd=folder,
        env={**os.environ, **ONE_THREAD, "ROBOT_SF_OTEL_GPU": "off", **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def records(folder: Path) -> list[PipelineRunRecord]:
    """Return the records of the runs under `output` in a folder."""
    return [load_run(run_dir).record for run_dir in find_runs([folder / "output"])]


def told(record: PipelineRunRecord) -> dict[str, Any]:
    """Return what the only step of a run tells of its progress."""
    (step,) = record.steps
    progress = step.progress
    return {"done": progress.done, "total": progress.total, "unit": progress.unit}
