"""Plays the parts that need a process of their own, and returns what was wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from robot_sf_otel.store.reader import load_run
from tests.torture import day, names

GROWTH_BYTES: Final = 4_000_000
"""How much a process may grow over three quarters of a day: pages and arenas, no leak."""
DAY_BYTES: Final = 60_000_000
_OTHERS: Final = ("ROBOT_SF_", "OTEL_", "COVERAGE_", "COV_")


def clean_environment() -> dict[str, str]:
    """Return the environment without settings, and without coverage, which takes memory."""
    return {name: text for name, text in os.environ.items() if not name.startswith(_OTHERS)}


def play_names(folder: Path, count: int) -> list[str]:
    """Let `count` processes open runs of one name at once; return what is wrong."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, names.__file__, str(count)],
        cwd=folder,
        env={**clean_environment(), names.NAME_VARIABLE: names.NAME},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = [f"{done.returncode} processes failed: {done.stderr}"] if done.returncode else []
    return failed + names.wrong_runs(folder / "output", count)


def play_day(folder: Path, count: int) -> tuple[list[str], str]:
    """Record a run of so many samples; return what is wrong, and what was measured."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, day.__file__, str(folder), str(count)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    record = load_run(Path(measured["run_dir"])).record
    problems = day.wrong_figures(record.telemetry, count)
    grown, size = day.growth(measured["resident"]), measured["telemetry_bytes"]
    if grown > GROWTH_BYTES:
        problems.append(f"memory grew by {grown} bytes: {measured['resident']}")
    if size > DAY_BYTES * count / day.DAY:
        problems.append(f"telemetry.jsonl has {size} bytes")
    if (record.status, len(record.steps)) != ("completed", day.STEPS):
        problems.append(f"{record.status} with {len(record.steps)} steps")
    figures = f"grown by {grown / 1e6:.2f} MB, telemetry.jsonl {size / 1e6:.1f} MB"
    return problems, f"{figures}, {measured['seconds']:.0f} s"
