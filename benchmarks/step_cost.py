"""The cost of a step whose start and end are durable, beside a plain span and bare writes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import Context
from typing import TYPE_CHECKING

import msgspec

from benchmarks import limits
from benchmarks.machine import LINE, SyncedFile
from benchmarks.results import Counts, Row, over, single
from benchmarks.timing import Times, in_turn

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

STEP = "step, start and end durable"
FRESH = "step of a fresh run"
SPAN = "OTel SDK span, batch processor"
WRITES = "two synced appends of 200 bytes"
NOTHING = "empty function"


def measure(counts: Counts, directory: Path, label: str, console: str) -> list[Row]:
    """Return the cost of a step at each number of steps that the run already holds.

    Each step has a name of its own, the costlier case: plan and manifest grow with them. Whether
    a step costs more late in a run is seen beside steps of a fresh run in the same process.

    Args:
        counts: How often to measure.
        directory: An empty folder for the run.
        label: How to call the disk that it is on.
        console: `console=` of `configure()`.
    """
    from robot_sf_otel import configure, shutdown

    configure(artifact_root=directory / "output", console=console)
    name = f"step, {label}, console {console}"
    rows: list[Row] = []
    try:
        with _plain_span() as plain, SyncedFile(directory / "bare.jsonl") as bare, _run() as step:
            recorded = 0
            others = {SPAN: plain, WRITES: lambda: _write_twice(bare), NOTHING: _nothing}
            for wanted in counts.recorded:
                rows += _fill(f"{name}, filling", step, wanted - recorded)
                times = in_turn({STEP: step, **others}, counts.steps)
                recorded = max(wanted, recorded) + counts.steps
                rows += _rows(f"{name}, from {wanted:,} recorded", times, WRITES)
            if len(counts.recorded) > 1:
                # Two live runs side by side: what disturbs the machine meanwhile slows both.
                with _run() as fresh:
                    times = in_turn({STEP: step, FRESH: fresh}, counts.steps)
                rows += _rows(f"{name}, growth over {recorded:,} steps", times, FRESH)
                growth = over(times[STEP].cpu_stat, times[FRESH].cpu_stat)
                if growth is not None:
                    rows[-2] = msgspec.structs.replace(rows[-2], note=f"CPU {growth:.3g}×")
    finally:
        shutdown()
    return rows


@contextmanager
def _run() -> Generator[Callable[[], object]]:
    """Open a run in a context of its own; the callable records one step of it."""
    from robot_sf_otel import pipeline, step

    own = Context()
    numbers = itertools.count(1)

    def one_step() -> None:
        with step(f"step-{next(numbers)}"):
            pass

    run = own.run(pipeline("benchmark").start)
    try:
        yield lambda: own.run(one_step)
    finally:
        own.run(run.finish)


def _rows(group: str, times: dict[str, Times], reference: str) -> list[Row]:
    return [
        Row(
            group=group,
            name=name,
            wall=measured.wall_stat,
            cpu=measured.cpu_stat,
            ratio=over(measured.wall_stat, times[reference].wall_stat),
            ratio_to=reference,
            limit_wall=limits.STEP_WALL if name == STEP else None,
            limit_cpu=limits.STEP_CPU if name == STEP else None,
        )
        for name, measured in times.items()
    ]


def _fill(group: str, one_step: Callable[[], object], count: int) -> list[Row]:
    """Record steps; what that costs all threads together includes the manifest's rewriting."""
    if count <= 0:
        return []
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        one_step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return [
        Row(
            group=group,
            name=f"mean of {count:,} steps, CPU of all threads",
            wall=single(wall / count, count),
            cpu=single(cpu / count, count),
        )
    ]


@contextmanager
def _plain_span() -> Generator[Callable[[], None]]:
    """Set the SDK up as its users do; the callable opens and ends one span."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Discarding(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - its port
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Discarding()))
    tracer = provider.get_tracer("benchmark")

    def span() -> None:
        with tracer.start_as_current_span("step"):
            pass

    try:
        yield span
    finally:
        provider.shutdown()


def _write_twice(file: SyncedFile) -> None:
    file.append(LINE)
    file.append(LINE)


def _nothing() -> None:
    return
