"""Helpers for tests of instrumented code: a captured run, a clock that stands still, known ids."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robot_sf_otel.bootstrap import configure, shutdown
from robot_sf_otel.instrument import context
from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.reader import load_run

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    from robot_sf_otel.instrument.runtime import Clock
    from robot_sf_otel.manifest.schema import PipelineRunRecord


class FakeClock:
    """A clock that only moves when it is told to.

    Args:
        start_ns: Unix time in nanoseconds at which it starts.
    """

    def __init__(self, start_ns: int = 1_767_225_600_000_000_000) -> None:
        """Start at 2026-01-01T00:00:00Z unless told otherwise."""
        self._start_ns = start_ns
        self._elapsed = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass, in seconds."""
        self._elapsed += seconds

    def time_ns(self) -> int:
        """Return Unix time in nanoseconds."""
        return self._start_ns + round(self._elapsed * 1e9)

    def monotonic(self) -> float:
        """Return the seconds that have passed."""
        return self._elapsed


class SequentialIds:
    """Trace and span ids 1, 2, 3, …, so that whole records can be compared with a snapshot."""

    def __init__(self) -> None:
        """Start at 1."""
        self._last = 0

    def generate_span_id(self) -> int:
        """Return the next id."""
        self._last += 1
        return self._last

    def generate_trace_id(self) -> int:
        """Return the next id."""
        return self.generate_span_id()

    def is_trace_id_random(self) -> bool:
        """Return that these ids are not random."""
        return False


@dataclass(frozen=True, slots=True)
class CapturedRuns:
    """What was recorded so far under `artifact_root`, and the spans that ended."""

    artifact_root: Path
    exporter: InMemorySpanExporter

    @property
    def run_dirs(self) -> list[Path]:
        """Directories of the runs, oldest first."""
        return sorted(find_runs([self.artifact_root]))

    @property
    def record(self) -> PipelineRunRecord:
        """The record of the only run.

        Raises:
            AssertionError: There is none, or there are several.
        """
        found = self.run_dirs
        if len(found) != 1:
            msg = f"expected one run, found {len(found)}"
            raise AssertionError(msg)
        return load_run(found[0]).record

    @property
    def events(self) -> list[dict[str, Any]]:
        """The journal events of all runs, in order."""
        return [event for run in self.run_dirs for event in load_run(run).journal()]

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that ended, in the order in which they did."""
        return self.exporter.get_finished_spans()


@contextmanager
def capture_run(
    artifact_root: Path,
    *,
    clock: Clock | None = None,
    ids: IdGenerator | SequentialIds | None = None,
    **settings: Any,  # noqa: ANN401 - whatever configure() takes
) -> Generator[CapturedRuns]:
    """Record the runs of the block under `artifact_root`, then switch off again.

    Args:
        artifact_root: An empty folder, such as pytest's `tmp_path`.
        clock: Replaces the machine's clock, such as a `FakeClock`.
        ids: Replaces the id generator, such as `SequentialIds()`.
        **settings: Further arguments of `configure()`.
    """
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    shutdown()
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings.setdefault("console", "off")
    settings.setdefault("watchdog", False)
    settings.setdefault("gpu", "off")
    configure(artifact_root=artifact_root, tracer_provider=provider, **settings)
    runtime = context.process.runtime
    if runtime is not None and clock is not None:
        runtime.clock = clock
    if runtime is not None and ids is not None:
        tracer: Any = runtime.tracer
        tracer.id_generator = ids
    try:
        yield CapturedRuns(artifact_root, exporter)
    finally:
        shutdown()
        provider.shutdown()
