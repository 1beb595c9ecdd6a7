"""`python -m benchmarks.replay_cost`: recorded runs into a real Collector, as whole commands.

What is measured: 1,000 runs of five steps and a minute of samples each, and one run of a day with
a sample a second. The Collector is the one that `.ci/backends` makes; it writes what it gets to a
file on the same machine, which is part of what is measured.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks import finished_run, limits
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event, encode_snapshot
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.manifest.schema import TelemetrySnapshot
from robot_sf_otel.store.directories import find_runs
from robot_sf_otel.store.layout import RunPaths
from tests.integration.backends import Collector, collector

RUNS: Final = 1_000
SAMPLES: Final = 60
DAY: Final = 86_400


def sample(second: int, draw: random.Random) -> TelemetrySnapshot:
    """Return what a machine without a GPU says in a second of a training."""
    return TelemetrySnapshot(
        timestamp_ms=(finished_run.START + second) * 1000,
        step_id="train_expert",
        steps_per_sec=round(draw.uniform(900, 1100), 3),
        progress_done=second * 1000.0,
        progress_total=DAY * 1000.0,
        cpu_percent_process=round(draw.uniform(0, 100), 3),
        cpu_cores_process=round(draw.uniform(0, 8), 3),
        cpu_percent_system=round(draw.uniform(0, 100), 3),
        memory_rss_mb=round(draw.uniform(900, 1000), 3),
        memory_limit_mb=16_384.0,
        memory_available_mb=round(draw.uniform(8000, 9000), 3),
        swap_used_mb=0.0,
        disk_read_mb_s=round(draw.uniform(0, 10), 3),
        disk_write_mb_s=round(draw.uniform(0, 10), 3),
        disk_free_mb=64_000.0,
        process_count=9,
        thread_count=40,
        cpu_pressure=1.5,
        io_pressure=0.5,
        memory_pressure=0.0,
        metrics={"episode_reward": round(draw.uniform(-1, 1), 3)},
    )


def write_many(root: Path) -> None:
    """Write the runs, each with its samples."""
    finished_run.write_runs(root, RUNS)
    draw = random.Random(1)  # noqa: S311 - readings of a benchmark, no secret
    for number, run_dir in enumerate(sorted(find_runs([root]))):
        first = number * 60
        lines = (encode_snapshot(sample(first + second, draw)) for second in range(SAMPLES))
        RunPaths(run_dir).telemetry.write_bytes(b"".join(lines))


def write_day(root: Path) -> None:
    """Write a run of a day."""
    run_dir = root / "run-tracker" / "20260101T000000Z-day-000000"
    run_dir.mkdir(parents=True)
    now = finished_run.START * NANOSECONDS
    end = now + DAY * NANOSECONDS
    told: list[e.Event] = [
        e.RunStarted(
            time_unix_nano=now, run_id=run_dir.name, pipeline="day", process="trainer-1:7"
        ),
        e.StepStarted(time_unix_nano=now, span_id=f"{1:016x}", step_id="train_expert"),
        e.StepFinished(
            time_unix_nano=end,
            span_id=f"{1:016x}",
            status="completed",
            result="success",
            duration_seconds=DAY,
        ),
        e.RunFinished(time_unix_nano=end, status="completed", result="success"),
    ]
    RunPaths(run_dir).journal.write_bytes(b"".join(map(encode_event, told)))
    draw = random.Random(2)  # noqa: S311 - readings of a benchmark, no secret
    with RunPaths(run_dir).telemetry.open("wb") as file:
        file.writelines(encode_snapshot(sample(second, draw)) for second in range(DAY))


def command(root: Path, *arguments: str) -> tuple[float, float, str]:
    """Run a command; return its seconds, the most memory it had in MiB, and what it said."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "robot_sf_otel.cli.main", "--artifact-root", str(root), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    said = process.communicate()[0]
    seconds = time.perf_counter() - began
    # Of the largest child so far: the one of many runs goes first, and the day is the larger one.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed: {said}")
    return seconds, peak, said


def replay(root: Path, target: Collector, protocol: str) -> str:
    """Replay all runs of a root; return what that took, in a line."""
    endpoint = target.grpc if protocol == "grpc" else target.http
    arguments = ("replay", "--all", "--endpoint", endpoint, "--protocol", protocol)
    seconds, peak, said = command(root, *arguments, "--format", "json")
    signals = json.loads(said)["signals"]
    sent = ", ".join(f"{told['accepted']:,} {name}" for name, told in signals.items())
    return f"{seconds:6.1f} s  peak {peak:4.0f} MiB  {protocol:13}  {sent}"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="benchmark-replay-") as name:
        folder = Path(name)
        write_many(folder / "many")
        write_day(folder / "day")
        print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        for what, limit in (("many", limits.REPLAY_RUNS), ("day", limits.REPLAY_DAY)):
            for protocol in ("grpc", "http/protobuf"):
                with collector(folder / f"{what}-{protocol.partition('/')[0]}") as target:
                    told = replay(folder / what, target, protocol)
                print(f"{what:5} {told}  limit {limit:.0f} s")
        seconds, peak, _ = command(
            folder / "day", "export", "--format", "otlp", "--output", str(folder / "files")
        )
        print(f"day   {seconds:6.1f} s  peak {peak:4.0f} MiB  export to files")
        seconds, peak, _ = command(
            folder / "back", "import", *map(str, sorted((folder / "files").iterdir()))
        )
        print(f"day   {seconds:6.1f} s  peak {peak:4.0f} MiB  import of those files")
        print(f"memory limit {limits.REPLAY_MB:.0f} MiB")


if __name__ == "__main__":
    main()
