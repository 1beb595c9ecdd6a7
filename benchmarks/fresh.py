"""What a fresh interpreter measures of itself, printed as JSON: name to (wall, CPU) in seconds.

Usage: `python -m benchmarks.fresh runs ARTIFACT_ROOT` or `python -m benchmarks.fresh sdk`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

_times: dict[str, tuple[float, float]] = {}


@contextmanager
def _timed(name: str) -> Generator[None]:
    """Time a block: wall clock and CPU of all threads, since a run starts some."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    _times[name] = (time.perf_counter() - wall, time.process_time() - cpu)


def _runs(artifact_root: str) -> None:
    with _timed("import"):
        from robot_sf_otel import configure, pipeline
    with _timed("configure"):
        configure(artifact_root=artifact_root, console="off")
    # Opened twice: what the first run of a process imports, later ones find loaded.
    for prefix in ("first_", ""):
        block = pipeline("benchmark")
        with _timed(f"{prefix}start"):
            run = block.start()
        with _timed(f"{prefix}finish"):
            run.finish()


def _sdk() -> None:
    with _timed("set_up"):
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider())


if __name__ == "__main__":
    if sys.argv[1] == "runs":
        _runs(sys.argv[2])
    else:
        _sdk()
    print(json.dumps(_times))
