"""What the samples of a long run take: bytes on the disk, CPU of the thread, memory."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, cast

import msgspec

from benchmarks import idle, limits
from benchmarks.results import Counts, Figure, Row, single

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.manifest.schema import SelfCost

TREE: Final = 10
SIZE: Final = "mean size of a sample"
DAY: Final = "telemetry.jsonl of 24 h, a sample a second"
TICK: Final = "all that the thread does for a sample"
GROWTH: Final = "growth of resident memory"
_SECONDS_A_DAY: Final = 86_400
_MB: Final = 1e6
_FASTEST: Final = 0.1
_DEFAULT: Final = 1.0
_DEFAULT_SAMPLES: Final = 10
"""How often the default interval is slower: runs of both take about as long."""
_WARM_UP: Final = 0.2
"""Share of the samples after which buffers and buckets have their size."""


def measure_disk(counts: Counts, directory: Path) -> list[Row]:
    """Return the size of the samples of a real run, and what they cost the thread.

    The run has a tree of ten processes, one step with progress in seven digits and three metrics.

    Args:
        counts: How many samples.
        directory: An empty folder for the runs.
    """
    group = f"samples of a real run, tree of {TREE}"
    with idle.children(TREE - 1):
        lines, fast = _run(directory / "fast", _FASTEST, counts.run_samples)
        _, default = _run(directory / "default", _DEFAULT, counts.run_samples // _DEFAULT_SAMPLES)
    mean = sum(map(len, lines)) / len(lines)
    return [
        Row(
            group=group,
            name=SIZE,
            figure=Figure(value=mean, unit="B"),
            note=f"{len(lines)} samples, {min(map(len, lines))} to {max(map(len, lines))} B",
        ),
        Row(
            group=group,
            name=DAY,
            figure=Figure(value=mean * _SECONDS_A_DAY / _MB, unit="MB"),
            limit_figure=limits.TELEMETRY_MB,
        ),
        _tick_row(group, f"{TICK}, every {_FASTEST:g} s", fast),
        _tick_row(group, f"{TICK}, every {_DEFAULT:g} s", default),
    ]


def _tick_row(group: str, name: str, cost: SelfCost) -> Row:
    cpu, samples = cost.cpu_seconds, cost.samples_taken
    return Row(
        group=group,
        name=name,
        cpu=None if cpu is None else single(cpu / samples, samples),
        note=f"mean of {samples} samples, with the manifest's rewriting at most once a second",
    )


def _run(root: Path, interval: float, samples: int) -> tuple[list[bytes], SelfCost]:
    """Return the lines of a run's samples, but the first and the last, and what they cost."""
    from robot_sf_otel import configure, pipeline, shutdown, step
    from robot_sf_otel.runs import load_run

    draw = random.Random(0)  # noqa: S311 - numbers as long as those of a training, no secret
    configure(artifact_root=root, console="off", interval=interval)
    try:
        with (
            pipeline("benchmark"),
            step("finetune_ppo", total=9_999_999, unit="timesteps") as this,
        ):
            this.set_progress(1_000_000)
            end = time.monotonic() + interval * (samples + 1.5)
            while time.monotonic() < end:
                this.advance(256)
                for name in ("fps", "episode_reward", "policy_loss"):
                    this.log_metric(name, draw.uniform(0, 1_000))
                time.sleep(0.005)
    finally:
        shutdown()
    run = load_run(artifact_root=root)
    # The first one has notes and no rates, the last one was not due.
    lines = (run.run_dir / "telemetry.jsonl").read_bytes().splitlines(keepends=True)[1:-1]
    return lines, run.record.self_cost


def measure_memory(counts: Counts, directory: Path) -> list[Row]:
    """Return by how much a process grows over the samples of a run, taken as fast as can be.

    Args:
        counts: How many samples.
        directory: An empty folder for the run.
    """
    import psutil

    from robot_sf_otel import configure, pipeline, shutdown, step
    from robot_sf_otel.manifest.schema import SelfCost
    from robot_sf_otel.system_metrics.sensors import SystemSensors

    sensors = SystemSensors()
    readings = [sensors.read() for _ in range(100)]
    process = psutil.Process()
    resident: list[int] = []
    configure(artifact_root=directory / "output", console="off", interval=3600.0)
    try:
        with pipeline("benchmark") as handle, step("train", unit="timesteps"):
            recorder = cast("LiveRun", handle).recorder
            for number in range(counts.kept_samples):
                if number in {0, int(counts.kept_samples * _WARM_UP)}:
                    resident.append(process.memory_info().rss)
                reading = readings[number % len(readings)]
                time_ms = reading.timestamp_ms + number * 1_000
                recorder.sample(
                    msgspec.structs.replace(
                        reading,
                        timestamp_ms=time_ms,
                        step_id="train",
                        progress_done=float(number),
                        metrics={"loss": 1 / (number + 1)},
                    )
                )
                recorder.refresh(SelfCost())
            resident.append(process.memory_info().rss)
    finally:
        shutdown()
        sensors.close()
    before, warm, after = resident
    taken = counts.kept_samples
    first = int(taken * _WARM_UP)
    group = f"memory of a run, {taken:,} samples ({taken / _SECONDS_A_DAY:.2g} days at 1 s)"
    return [
        Row(
            group=group,
            name=f"{GROWTH}, {name}",
            figure=Figure(value=grown / _MB, unit="MB"),
            note=f"of {resident[0] / _MB:.0f} MB; {grown / count:.1f} B a sample",
        )
        for name, grown, count in (
            (f"first {first:,}", warm - before, first),
            (f"the other {taken - first:,}", after - warm, taken - first),
        )
    ]
