"""A run of five steps that has ended, to be written any number of times under other names."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.manifest.schema import FieldSummary, PlanStep, Progress, RunStatus, Usage
from robot_sf_otel.manifest.statistics import FIELDS
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.reader import fold_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START: Final = 1_767_225_600
"""When the first one began, Unix seconds: 2026."""
STEPS: Final = ("train_expert", "collect_expert", "clone_behaviour", "finetune_ppo", "evaluate")
_MINUTE: Final = 60


def events(
    run_id: str, pipeline: str, status: RunStatus | None, *, begun: int = START
) -> Iterator[e.Event]:
    """Yield the events of a run; without a status it has not ended, nor has its last step."""
    draw = random.Random(run_id)  # noqa: S311 - durations of a benchmark, no secret
    now = begun * NANOSECONDS
    plan = [PlanStep(step_id=name) for name in STEPS]
    params = {"learning_rate": 3e-4, "layers": [256, 256], "seed": 1}
    yield e.RunStarted(
        time_unix_nano=now, run_id=run_id, pipeline=pipeline, plan=plan, params=params
    )
    yield e.ParamsLogged(time_unix_nano=now, host={"hostname": "trainer-1", "cpus": 16})
    for index, name in enumerate(STEPS):
        span_id = f"{index:016x}"
        yield e.StepStarted(time_unix_nano=now, span_id=span_id, step_id=name)
        seconds = draw.uniform(60, 600)
        now += int(seconds * NANOSECONDS)
        if status is None and name == STEPS[-1]:
            return
        yield e.StepFinished(
            time_unix_nano=now,
            span_id=span_id,
            status="completed",
            result="success",
            duration_seconds=seconds,
            progress=Progress(done=1000, total=1000, rate=1000 / seconds),
            progress_curve=[(seconds * part / 32, 1000 * part / 32) for part in range(33)],
            usage=Usage(cpu_seconds=seconds * 3, memory_rss_peak_mb=900.5, disk_write_mb=12.5),
        )
    if status is not None:
        yield e.RunFinished(time_unix_nano=now, status=status, result="success")


def write_runs(root: Path, count: int) -> None:
    """Write runs a minute apart of ten pipelines; of each pipeline one in ten failed.

    Args:
        root: The artifact root.
        count: How many.
    """
    for number in range(count):
        begun = START + number * _MINUTE
        pipeline = f"p{number % 10}"
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(begun))
        run_dir = root / "run-tracker" / f"{stamp}-{pipeline}-{number:06x}"
        run_dir.mkdir(parents=True)
        status: RunStatus = "failed" if number // 10 % 10 == 0 else "completed"
        lines = map(encode_event, events(run_dir.name, pipeline, status, begun=begun))
        RunPaths(run_dir).journal.write_bytes(b"".join(lines))
        figure = FieldSummary(count=1800, mean=51.25, p95=93.125, maximum=99.5)
        fold, _ = fold_run(run_dir)
        write_derived(run_dir, fold.record(telemetry=dict.fromkeys(FIELDS, figure)))
