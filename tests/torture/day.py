"""24 hours of samples in fast motion, through the real run and recorder, with a clock of its own.

Run as a script: `day.py ROOT SAMPLES`. Prints what it measured as JSON: resident memory at
regular moments. The readings follow from their number, so that anyone can work out the figures.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import FieldSummary, TelemetrySnapshot

DAY: Final = 86_400
"""Samples of 24 hours, one a second."""
STEPS: Final = 24
MEASURES: Final = 20
"""How often memory is measured."""
START_MS: Final = 1_767_225_600_000


def readings(count: int) -> Iterator[TelemetrySnapshot]:
    """Yield what the sensors say, second by second; some of it is missing now and then."""
    from robot_sf_otel.manifest.schema import TelemetrySnapshot

    draw = random.Random(5)  # noqa: S311 - readings, no secret
    memory = 2_000.0
    for number in range(count):
        memory += draw.gauss(0, 1)
        busy = draw.betavariate(4, 2)
        yield TelemetrySnapshot(
            timestamp_ms=START_MS + number * 1_000,
            cpu_percent_process=None if number % 1_000 == 0 else round(100 * busy, 3),
            cpu_cores_process=round(16 * busy, 3),
            cpu_percent_system=round(100 * draw.random(), 3),
            memory_rss_mb=round(memory, 3),
            memory_limit_mb=32_768.0,
            memory_available_mb=round(30_000 - memory, 3),
            swap_used_mb=0.0,
            disk_read_mb_s=round(draw.expovariate(10), 3),
            disk_write_mb_s=round(draw.lognormvariate(0, 3), 3),
            process_count=draw.randint(1, 20),
            thread_count=draw.randint(20, 200),
            cpu_pressure=round(10 * draw.random(), 2),
            io_pressure=0.0,
            notes="no GPU driver" if number // 5_000 % 2 == 0 else None,
        )


def exact(count: int) -> dict[str, tuple[int, float, float, float]]:
    """Return count, mean, 95th percentile and maximum of each field, from all values at once."""
    import msgspec

    columns: dict[str, list[float]] = {}
    for reading in readings(count):
        for name, value in msgspec.structs.asdict(reading).items():
            if name != "timestamp_ms" and isinstance(value, int | float):
                columns.setdefault(name, []).append(value)
    return {
        name: (
            len(values),
            math.fsum(values) / len(values),
            sorted(values)[math.ceil(0.95 * len(values)) - 1],
            max(values),
        )
        for name, values in columns.items()
    }


def wrong_figures(figures: dict[str, FieldSummary], count: int) -> list[str]:
    """Compare figures with the exact ones: all but the percentile, which may be 1 % off."""
    problems: list[str] = []
    for name, (number, mean, p95, maximum) in exact(count).items():
        found = figures.get(name)
        if found is None or (found.count, found.maximum) != (number, maximum):
            problems.append(f"{name}: {found} instead of {number}, {maximum}")
        elif not (
            math.isclose(found.mean, mean, rel_tol=1e-9, abs_tol=1e-9)
            and math.isclose(found.p95, p95, rel_tol=0.0101, abs_tol=1e-9)
        ):
            problems.append(f"{name}: {found} instead of mean {mean}, p95 {p95}")
    return problems


def main(root: Path, count: int) -> dict[str, Any]:
    """Record a run of `count` samples under `root`; return what was measured, memory in bytes."""
    import psutil

    from robot_sf_otel import current_run, pipeline, step
    from robot_sf_otel.instrument import context
    from robot_sf_otel.testing import FakeClock, capture_run

    process = psutil.Process()
    resident: list[int] = []
    taken = 0
    clock = FakeClock(START_MS * 1_000_000)
    source = readings(count)
    began = time.monotonic()
    # Nobody else samples: the interval is longer than this will take.
    with capture_run(root, clock=clock, interval=3_600.0, gpu="off") as captured:
        runtime = context.process.runtime
        observer: Any = runtime.observer if runtime is not None else None
        observer._sensors.read = lambda: next(source)
        names = [f"epoch-{number}" for number in range(STEPS)]
        with pipeline("day", steps=names) as run:
            live: Any = run
            between = count - 2  # a run takes one when it opens and one when it closes
            for index, name in enumerate(names):
                share = between * (index + 1) // STEPS - between * index // STEPS
                with step(name, total=share, unit="timesteps") as this:
                    for number in range(share):
                        clock.advance(1.0)
                        this.advance(256)
                        this.log_metric("loss", 1 / (number + 1))
                        current_run().log_metric("fps", 200.0 + number % 17)
                        observer._sample(live)
                        live.recorder.refresh(observer.cost(live))
                        taken += 1
                        if taken * MEASURES // between > len(resident):
                            resident.append(process.memory_info().rss)
        (run_dir,) = captured.run_dirs
    return {
        "run_dir": str(run_dir),
        "seconds": time.monotonic() - began,
        "resident": resident,
        "telemetry_bytes": (run_dir / "telemetry.jsonl").stat().st_size,
        "journal_bytes": (run_dir / "manifest.jsonl").stat().st_size,
    }


def growth(resident: Sequence[int]) -> int:
    """Return by how many bytes a process grew after the first quarter of the samples."""
    return resident[-1] - resident[MEASURES // 4]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))) + "\n")
