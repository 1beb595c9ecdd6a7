"""The cost of one telemetry sample of a process tree, beside other packages' samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgspec

from benchmarks import idle, limits, others
from benchmarks.results import Counts, Row, over
from benchmarks.timing import in_turn

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.manifest.schema import TelemetrySnapshot

SAMPLE: Final = "one reading of all sensors"
WRITTEN: Final = "the same, with its line in telemetry.jsonl"


class Scene(NamedTuple):
    """How many processes there are when samples are taken."""

    tree: int
    on_host: int = 0
    """About; strangers make up for what is missing."""


SCENES: Final = (Scene(1), Scene(10), Scene(100), Scene(10, on_host=300))
"""The last one leaves processes behind for a moment."""
LIMITED: Final = 10
"""The limit is for trees of this size, or smaller."""


def measure(counts: Counts, directory: Path) -> list[Row]:
    """Return the cost of a sample in small and large trees, and what others take.

    Args:
        counts: How often to measure.
        directory: An empty folder for the runs.
    """
    from robot_sf_otel import configure, shutdown

    rows: list[Row] = []
    # The thread that samples by itself stays out of the way.
    configure(artifact_root=directory / "output", console="off", interval=3600.0)
    try:
        for scene in SCENES:
            short = scene.on_host - (idle.on_host() or 0) - scene.tree
            with idle.strangers(short), idle.children(scene.tree - 1):
                rows += _compare(scene, counts)
    finally:
        shutdown()
    return rows


def _with_progress(reading: TelemetrySnapshot) -> TelemetrySnapshot:
    return msgspec.structs.replace(
        reading,
        step_id="train",
        steps_per_sec=1234.567,
        progress_done=1_000_000.0,
        progress_total=10_000_000.0,
        metrics={"fps": 59.94},
    )


def _compare(scene: Scene, counts: Counts) -> list[Row]:
    from robot_sf_otel import pipeline, step
    from robot_sf_otel.system_metrics.sensors import SystemSensors

    host = idle.on_host()
    sensors = SystemSensors()
    with (
        others.samplers() as theirs,
        pipeline("benchmark") as handle,
        step("train", unit="timesteps"),
    ):
        recorder = cast("LiveRun", handle).recorder
        seen = sensors.read().process_count
        # Apart, as each would find in the caches what the other one has just read.
        candidates = {
            SAMPLE: sensors.read,
            others.PSUTIL: theirs.pop(others.PSUTIL),
            WRITTEN: lambda: recorder.sample(_with_progress(sensors.read())),
            **theirs,
        }
        times = in_turn(candidates, counts.samples)
    sensors.close()
    group = f"telemetry, tree of {scene.tree:,}"
    if scene.on_host:
        group += f", some {scene.on_host} on the host"
    limit = limits.SAMPLE_CPU if scene.tree <= LIMITED else None
    rows = [
        Row(
            group=group,
            name=name,
            wall=measured.wall_stat,
            cpu=measured.cpu_stat,
            ratio=over(measured.wall_stat, times[SAMPLE].wall_stat),
            ratio_to=SAMPLE,
            limit_cpu=limit if name in {SAMPLE, WRITTEN} else None,
            note=f"saw {seen} processes, of {host} on the host" if name == SAMPLE else None,
        )
        for name, measured in times.items()
    ]
    return [
        *rows,
        *(
            Row(group=group, name=name, note=f"not installed: pip install {others.NEEDS[name]}")
            for name in others.missing()
        ),
    ]
