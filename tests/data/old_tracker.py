"""Run directories in the format of the original tracker, made for a test."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BEGAN = 1_795_387_161.296
"""When the runs of these tests begin, Unix seconds."""
STEPS = {"train_expert": 40.0, "collect_trajectories": 36.0, "compare_runs": 0.5}
INTERVAL = 3.0


def moment(seconds: float) -> str:
    """Return a time as the original tracker wrote it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def step(
    step_id: str, order: int, start: float | None, end: float | None, status: str
) -> dict[str, Any]:
    """Return the entry of a step."""
    seconds = None if start is None or end is None else max(0.0, end - start)
    return {
        "step_id": step_id,
        "display_name": step_id.replace("_", " ").title(),
        "order": order,
        "status": status,
        "started_at": None if start is None else moment(start),
        "ended_at": None if end is None else moment(end),
        "duration_seconds": seconds,
        "eta_snapshot_seconds": 4800.0,
        "artifacts": [],
    }


def finished_steps() -> list[dict[str, Any]]:
    """Return the steps of a run that completed."""
    steps: list[dict[str, Any]] = []
    start = BEGAN
    for order, (step_id, seconds) in enumerate(STEPS.items(), start=1):
        steps.append(step(step_id, order, start, start + seconds, "completed"))
        start += seconds
    return steps


def record(run_id: str = "old", **other: object) -> dict[str, Any]:
    """Return a whole run record: one that completed, but for what is said otherwise."""
    return {
        "run_id": run_id,
        "created_at": moment(BEGAN),
        "status": "completed",
        "enabled_steps": list(STEPS),
        "artifact_dir": f"/home/user/output/run-tracker/{run_id}",
        "initiator": "/home/user/16_imitation.py --demo-mode",
        "scenario_config_path": "/home/user/expert_ppo.yaml",
        "completed_at": moment(BEGAN + sum(STEPS.values())),
        "summary": {},
        "steps": finished_steps(),
        "telemetry": [],
        "recommendations": [],
        "perf_tests": [],
        **other,
    }


def sample(seconds: float, step_id: str | None, **other: object) -> dict[str, Any]:
    """Return a telemetry sample."""
    return {
        "timestamp_ms": round(seconds * 1000),
        "frame_idx": None,
        "status": None,
        "step_id": step_id,
        "steps_per_sec": 0.02,
        "fps": None,
        "cpu_percent_process": 1.0,
        "cpu_percent_system": 56.3,
        "memory_rss_mb": 264.8,
        "gpu_util_percent": None,
        "gpu_mem_used_mb": None,
        "gpu_devices": None,
        "notes": None,
        **other,
    }


def samples() -> list[dict[str, Any]]:
    """Return the samples of a run that completed."""
    found: list[dict[str, Any]] = []
    clock = BEGAN
    for entry in finished_steps():
        end = datetime.fromisoformat(entry["ended_at"]).timestamp()
        while clock < end:
            found.append(sample(clock, entry["step_id"]))
            clock += INTERVAL
    return found


def write_old_run(
    run_dir: Path,
    lines: Iterable[object] | None = None,
    *,
    steps: list[dict[str, Any]] | None = None,
    telemetry: Iterable[object] | None = None,
    age: float | None = None,
) -> Path:
    """Write a run directory.

    Args:
        run_dir: Where.
        lines: What manifest.jsonl holds; texts are written as they are. A completed run by default.
        steps: What steps.json holds; the steps of a completed run by default.
        telemetry: What telemetry.jsonl holds; the samples of a completed run by default.
        age: Seconds since it was last written to, by the clock of BEGAN; long ago by default.
    """
    run_dir.mkdir(parents=True)
    journal = [record(run_dir.name)] if lines is None else lines
    (run_dir / "manifest.jsonl").write_text(_text(journal))
    (run_dir / "steps.json").write_text(json.dumps(finished_steps() if steps is None else steps))
    (run_dir / "telemetry.jsonl").write_text(_text(samples() if telemetry is None else telemetry))
    (run_dir / "run.lock").write_text(json.dumps({"run_id": run_dir.name}))
    written = BEGAN + 1_000 - (10_000 if age is None else age)
    os.utime(run_dir / "manifest.jsonl", (written, written))
    return run_dir


def _text(lines: Iterable[object]) -> str:
    return "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
