"""The cost of the recommendation rules: a day of samples, and one evaluation of a live run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benchmarks import limits
from benchmarks.results import Row, single, stat
from robot_sf_otel.analysis.recommendations import Evaluator, diagnose
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import GpuSample, TelemetrySnapshot

if TYPE_CHECKING:
    from benchmarks.results import Counts

DAY: Final = 86_400
START_MS: Final = 1_700_000_000_000
GROUP: Final = "recommendation rules, a sample a second with one GPU"
_LATE: Final = 10
"""The last tenth of a run is what it costs when it is old."""


def measure(counts: Counts) -> list[Row]:
    """Return what a day of samples costs, of a healthy run and of one with everything wrong."""
    rows: list[Row] = []
    for name, wrong in (("healthy", False), ("everything wrong", True)):
        seconds = min(DAY, counts.kept_samples)
        samples = [_sample(second, wrong=wrong) for second in range(seconds)]
        began = time.thread_time()
        found = diagnose(_events(), samples)
        took = time.thread_time() - began
        rows.append(
            Row(
                group=GROUP,
                name=f"all rules over {seconds:,} samples, {name}",
                cpu=single(took, 1),
                limit_cpu=limits.RULES_DAY_CPU * seconds / DAY,
                note=f"{len(found)} findings",
            )
        )
        times = _live(samples)
        for label, part in (
            ("first", times[: len(times) // _LATE]),
            ("last", times[-len(times) // _LATE :]),
        ):
            rows.append(
                Row(
                    group=GROUP,
                    name=f"one evaluation, {label} tenth of that, {name}",
                    cpu=stat(part),
                    limit_cpu=limits.RULES_LIVE_CPU,
                    note=f"longest {max(part) * 1000:.2f} ms",
                )
            )
    return rows


def _live(samples: list[TelemetrySnapshot]) -> list[float]:
    """Return the CPU time of each evaluation that had a frame to look at, every 5 s of the run."""
    evaluator = Evaluator()
    for event in _events():
        evaluator.event(event)
    times: list[float] = []
    for begin in range(0, len(samples), 5):
        began = time.thread_time()
        for sample in samples[begin : begin + 5]:
            evaluator.sample(sample)
        evaluator.evaluate()
        times.append(time.thread_time() - began)
    return times


def _events() -> list[e.Event]:
    now = START_MS * 1_000_000
    host = {"cpu_count": 16, "usable_cpus": 16, "memory_total_mb": 64_000}
    return [
        e.RunStarted(time_unix_nano=now, run_id="run", pipeline="benchmark"),
        e.ParamsLogged(time_unix_nano=now, host=host),
        e.StepStarted(
            time_unix_nano=now,
            step_id="train",
            span_id="0000000000000001",
            total=100.0 * DAY,
            baseline_rate=110.0,
        ),
    ]


def _sample(second: int, *, wrong: bool) -> TelemetrySnapshot:
    noise = second * 7919 % 100 / 100
    device = GpuSample(
        index=0,
        util_percent=10.0 if wrong else 95.0,
        mem_used_mb=4000.0 + (0.5 * second if wrong else 0.0),
        run_mem_used_mb=4000.0,
        mem_total_mb=81_000.0 if second == 0 else None,
        temperature_c=60.0,
        throttle_reasons=["hw_thermal_slowdown"] if wrong else ["sw_power_cap"],
    )
    return TelemetrySnapshot(
        timestamp_ms=START_MS + second * 1000,
        step_id="train",
        progress_done=second * (50.0 if wrong else 100.0),
        progress_total=100.0 * DAY,
        cpu_percent_process=(96.0 if wrong else 60.0) + noise,
        cpu_cores_process=(15.4 if wrong else 9.6) + noise / 10,
        cpu_percent_system=(98.0 if wrong else 65.0) + noise,
        memory_rss_mb=1000.0 + (0.3 * second if wrong else 0.0) + noise,
        memory_available_mb=500.0 if wrong else 40_000.0,
        swap_used_mb=500.0 if wrong else 0.0,
        disk_read_mb_s=2.0,
        disk_write_mb_s=2.0,
        disk_free_mb=500.0 if wrong else 100_000.0,
        cpu_pressure=80.0 if wrong else 5.0,
        io_pressure=50.0 if wrong else 0.0,
        memory_pressure=60.0 if wrong else 0.0,
        cpu_throttled_percent=50.0 if wrong else 0.0,
        gpu_util_percent=device.util_percent,
        gpu_mem_used_mb=device.mem_used_mb,
        gpus=[device],
    )
