"""What one look at a run with a day of samples costs, as a whole process, in each of its states."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import time
from typing import TYPE_CHECKING, Final

from benchmarks import limits
from benchmarks.finished_run import START, events
from benchmarks.interpreters import environment, start_in_turn
from benchmarks.results import Counts, Figure, Row
from robot_sf_otel.manifest.codec import encode_event, encode_snapshot
from robot_sf_otel.manifest.schema import RunStatus, TelemetrySnapshot
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.identity import process_identity
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.reader import load_run

if TYPE_CHECKING:
    from pathlib import Path

STATES: Final = ("finished", "live", "live, manifest.json behind", "killed, manifest.json missing")
_BEHIND: Final = 60.0
"""Seconds by which manifest.json is behind."""
PROGRAM: Final = """
import contextlib, resource, sys
from robot_sf_otel.cli.main import run_command
with open("/dev/null", "w") as nowhere, contextlib.redirect_stdout(nowhere):
    code = run_command(sys.argv[1:])
try:
    # Not ru_maxrss: it includes what the parent had when it forked.
    lines = open("/proc/self/status").read().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kib = peak // 1024 if sys.platform == "darwin" else peak
print(kib * 1024)
sys.exit(code)
"""
"""Runs a command in an interpreter and prints its memory at the peak."""


def measure(counts: Counts, directory: Path) -> list[Row]:
    """Return what `status` takes in each state of a run, and how much memory.

    Args:
        counts: How many samples, and how often to measure.
        directory: An empty folder for the runs.
    """
    samples = b"".join(day_samples(counts.day_samples))
    programs: dict[str, list[str]] = {}
    for number, state in enumerate(STATES):
        run_dir = directory / "output" / "run-tracker" / f"run-{number}"
        run_dir.mkdir(parents=True)
        write_run(run_dir, state, samples)
        programs[state] = ["-c", PROGRAM, "status", str(run_dir)]
    peaks: dict[str, list[int]] = {state: [] for state in STATES}
    env = environment(directory / "bytecode")
    times = start_in_turn(
        programs,
        counts.interpreters,
        env,
        seen=lambda state, printed: peaks[state].append(int(printed)),
    )
    group = f"status of a run with {counts.day_samples:,} samples, whole process"
    rows: list[Row] = []
    for state, measured in times.items():
        rows += [
            Row(
                group=group,
                name=state,
                wall=measured.wall_stat,
                cpu=measured.cpu_stat,
                limit_wall=limits.STATUS,
            ),
            Row(
                group=group,
                name=f"{state}: memory at its peak",
                figure=Figure(value=max(peaks[state]) / 1e6, unit="MB"),
                limit_figure=limits.STATUS_MB,
            ),
        ]
    return rows


def day_samples(count: int) -> list[bytes]:
    """Return the lines of that many samples, one a second."""
    draw = random.Random(0)  # noqa: S311 - readings of a benchmark, no secret
    return [
        encode_snapshot(
            TelemetrySnapshot(
                timestamp_ms=(START + number) * 1000,
                step_id="evaluate",
                steps_per_sec=draw.uniform(100, 200),
                progress_done=float(number),
                cpu_percent_process=draw.uniform(0, 100),
                cpu_cores_process=draw.uniform(0, 16),
                cpu_percent_system=draw.uniform(0, 100),
                memory_rss_mb=draw.uniform(500, 900),
                memory_available_mb=draw.uniform(5000, 9000),
                swap_used_mb=0.0,
                disk_read_mb_s=draw.uniform(0, 1),
                disk_write_mb_s=draw.uniform(0, 1),
                disk_free_mb=90_000.0,
                process_count=10,
                thread_count=40,
                cpu_pressure=draw.uniform(0, 9),
                io_pressure=draw.uniform(0, 9),
                memory_pressure=0.0,
                metrics={"loss": draw.uniform(0, 1)},
            )
        )
        for number in range(count)
    ]


def write_run(run_dir: Path, state: str, samples: bytes) -> None:
    """Write a run directory in one of `STATES`."""
    paths = RunPaths(run_dir)
    status: RunStatus | None = "completed" if state == "finished" else None
    # The owner of the live ones is this process.
    owner = process_identity()
    if state.startswith("killed"):
        owner = dataclasses.replace(owner, start_time=1)
    paths.lock.write_text(json.dumps(dataclasses.asdict(owner)))
    paths.journal.write_bytes(b"".join(map(encode_event, events(run_dir.name, "day", status))))
    paths.telemetry.write_bytes(samples)
    if not state.endswith("missing"):
        write_derived(run_dir, load_run(run_dir).record)
    if state.endswith("behind"):
        then = time.time() - _BEHIND
        os.utime(paths.record, (then, then))
