"""The phases of a recorded GPU as runs: what NVML said, slowed down until phases last minutes.

The recording is that of an NVIDIA H100 in five phases. What the CPU did meanwhile is not in it:
one of 16 CPUs busy is assumed, as its data loader was one thread.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.analysis.recommendations import Found, diagnose
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import GpuSample, TelemetrySnapshot
from robot_sf_otel.system_metrics.nvml import throttle_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MIB: Final = 2**20
STRETCH: Final = 25.0
"""Times slower than recorded, so that a phase of 8 s lasts over three minutes."""
EXPECTED: Final[dict[str, str | None]] = {
    "idle": None,
    "gpu_bound": None,
    "data_starved": "gpu_starved",
    "memory_growth": "gpu_memory_pressure",
    "cpu_only_gpu_held": "gpu_unused",
}
_START_MS: Final = 1_700_000_000_000


def replay(recording: Path) -> dict[str, list[Found]]:
    """Return what is found in each phase of a recording, with the default thresholds."""
    lines = recording.read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    host = {"cpu_count": 16, "usable_cpus": 16, "memory_total_mb": 131_072}
    events: list[e.Event] = [
        e.RunStarted(time_unix_nano=_START_MS * 1_000_000 - 1, run_id="gpu", pipeline="gpu"),
        e.ParamsLogged(time_unix_nano=_START_MS * 1_000_000 - 1, host=host),
    ]
    for index, (phase, group) in enumerate(itertools.groupby(rows, key=lambda row: row["phase"])):
        times = [row["t"] for row in group]
        span_id = f"{index:016x}"
        events += [
            e.StepStarted(time_unix_nano=_ns(times[0]), span_id=span_id, step_id=phase),
            e.StepFinished(
                time_unix_nano=_ns(times[-1]),
                span_id=span_id,
                status="completed",
                result="success",
                duration_seconds=(times[-1] - times[0]) * STRETCH,
            ),
        ]
    found: dict[str, list[Found]] = {phase: [] for phase in EXPECTED}
    for one in diagnose(events, _samples(rows)):
        found.setdefault(one.step_id or "run", []).append(one)
    return found


def _ns(seconds: float) -> int:
    return _START_MS * 1_000_000 + round(seconds * STRETCH * 1e9)


def _samples(rows: Sequence[dict[str, Any]]) -> Iterator[TelemetrySnapshot]:
    for row in rows:
        memory = row["memory_v2"]
        gpu = GpuSample(
            index=0,
            util_percent=row["utilization"]["gpu"],
            mem_used_mb=memory["used"] / MIB,
            mem_total_mb=(memory["total"] - memory["reserved"]) / MIB,
            temperature_c=row["temperature_c"],
            power_w=row["power_mw"] / 1000,
            throttle_reasons=list(throttle_words(row["throttle_reasons"])),
        )
        yield TelemetrySnapshot(
            timestamp_ms=_ns(row["t"]) // 1_000_000,
            cpu_percent_process=100 / 16,
            cpu_cores_process=1.0,
            cpu_percent_system=8.0,
            memory_rss_mb=4000.0,
            memory_available_mb=120_000.0,
            gpu_util_percent=row["utilization"]["gpu"],
            gpu_mem_used_mb=memory["used"] / MIB,
            gpus=[gpu],
        )
