"""One small training under one tracker, which prints what the tracker's own calls took.

Usage: `python -m benchmarks.tracked TOOL FOLDER REPEATS`. The work is the same whatever the tool
is: three steps of 500 units; progress at each unit, a metric at every tenth. Printed as JSON:
seconds by the wall clock to import and open, of a step's start and end, of a unit's report, to
close; and the bytes in FOLDER at the end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

STEPS: Final = ("collect", "clone", "finetune")
UNITS: Final = 500
METRIC_EVERY: Final = 10


class Tracker(Protocol):
    """How one tracker is told of a run; everything here is what its users write."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """Mark one step."""
        ...

    def advance(self) -> None:
        """Tell that a unit is done."""
        ...

    def metric(self, value: float) -> None:
        """Report a value."""
        ...

    def close(self) -> None:
        """End the run."""
        ...


class _Nothing:
    """The training alone."""

    def __init__(self, folder: Path) -> None:
        del folder

    def step(self, name: str) -> AbstractContextManager[object]:
        return nullcontext(name)

    def advance(self) -> None:
        return

    def metric(self, value: float) -> None:
        del value

    def close(self) -> None:
        return


def _before_a_step() -> None:
    raise AssertionError("no step has begun")


class _Ours:
    """This package, with its defaults."""

    def __init__(self, folder: Path) -> None:
        from robot_sf_otel import configure, pipeline, step

        configure(artifact_root=folder)
        self._step = step
        self._run = pipeline("benchmark", steps=list(STEPS)).start()
        self.advance: Callable[[], None] = _before_a_step  # then the step's own, as users call it

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        with self._step(name, total=UNITS) as this:
            self.advance, self.log = this.advance, this.log_metric
            yield

    def metric(self, value: float) -> None:
        self.log("loss", value)

    def close(self) -> None:
        self._run.finish()


class _Tqdm:
    """A bar a step; it keeps nothing."""

    def __init__(self, folder: Path) -> None:
        del folder
        self._tqdm: Any = import_module("tqdm").tqdm

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        with self._tqdm(total=UNITS, desc=name) as bar:
            self._bar = bar
            yield

    def advance(self) -> None:
        self._bar.update()

    def metric(self, value: float) -> None:
        self._bar.set_postfix(loss=value, refresh=False)

    def close(self) -> None:
        return


class _OTel:
    """Spans and metrics of the SDK to files, and the system-metrics instrumentation."""

    def __init__(self, folder: Path) -> None:
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import (
            ConsoleMetricExporter,
            PeriodicExportingMetricReader,
        )
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

        files = self._files = ExitStack()
        spans = files.enter_context((folder / "spans.json").open("w"))
        points = files.enter_context((folder / "metrics.json").open("w"))
        self._traces = TracerProvider(shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=spans)))
        trace.set_tracer_provider(self._traces)
        reader = PeriodicExportingMetricReader(ConsoleMetricExporter(out=points), 1000)
        self._metrics = MeterProvider([reader], shutdown_on_exit=False)
        metrics.set_meter_provider(self._metrics)
        module: Any = import_module("opentelemetry.instrumentation.system_metrics")
        module.SystemMetricsInstrumentor().instrument()
        self._tracer = trace.get_tracer("benchmark")
        meter = metrics.get_meter("benchmark")
        self._done = meter.create_counter("done")
        self._loss = meter.create_gauge("loss")
        self._run = self._tracer.start_as_current_span("benchmark")
        self._run.__enter__()

    def step(self, name: str) -> AbstractContextManager[object]:
        return self._tracer.start_as_current_span(name)

    def advance(self) -> None:
        self._done.add(1)

    def metric(self, value: float) -> None:
        self._loss.set(value)

    def close(self) -> None:
        self._run.__exit__(None, None, None)
        self._traces.shutdown()
        self._metrics.shutdown()
        self._files.close()


class _MLflow:
    """A run with a child run a step, in SQLite, with system metrics each second."""

    def __init__(self, folder: Path) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        mlflow = self._mlflow = import_module("mlflow")
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        mlflow.set_system_metrics_sampling_interval(1)
        mlflow.set_system_metrics_samples_before_logging(1)
        mlflow.start_run(log_system_metrics=True)

    def step(self, name: str) -> AbstractContextManager[object]:
        self._number = 0
        child: AbstractContextManager[object] = self._mlflow.start_run(
            run_name=name, nested=True, log_system_metrics=False
        )
        return child

    def advance(self) -> None:
        self._number += 1

    def metric(self, value: float) -> None:
        self._mlflow.log_metric("loss", value, step=self._number)

    def close(self) -> None:
        self._mlflow.end_run()


class _Wandb:
    """An offline run; a step is a prefix of the metric, as there are no steps."""

    def __init__(self, folder: Path) -> None:
        os.environ.update(WANDB_MODE="offline", WANDB_ERROR_REPORTING="false", WANDB_SILENT="true")
        wandb = import_module("wandb")
        settings = wandb.Settings(x_stats_sampling_interval=1.0)
        self._run: Any = wandb.init(project="benchmark", dir=str(folder), settings=settings)

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        self._name = f"{name}/loss"
        yield

    def advance(self) -> None:
        return

    def metric(self, value: float) -> None:
        self._run.log({self._name: value})

    def close(self) -> None:
        self._run.finish()


TOOLS: Final[dict[str, Callable[[Path], Tracker]]] = {
    "nothing": _Nothing,
    "robot_sf_otel": _Ours,
    "tqdm": _Tqdm,
    "OTel SDK and system-metrics instrumentation": _OTel,
    "MLflow, SQLite": _MLflow,
    "W&B, offline": _Wandb,
}


def train(tool: str, folder: Path, repeats: int) -> dict[str, float]:
    """Do the work under one tool; return what its calls took, in seconds, and `bytes`."""
    clock = time.perf_counter
    began = clock()
    tracker = TOOLS[tool](folder)
    taken = {"open": clock() - began, "step": 0.0, "unit": 0.0}
    for name in STEPS:
        began = clock()
        with tracker.step(name):
            taken["step"] += clock() - began
            for number in range(UNITS):
                total = 0.0
                for value in range(repeats):
                    total += value * 0.5
                began = clock()
                tracker.advance()
                if number % METRIC_EVERY == 0:
                    tracker.metric(total)
                taken["unit"] += clock() - began
            began = clock()
        taken["step"] += clock() - began
    began = clock()
    tracker.close()
    taken["close"] = clock() - began
    taken["step"] /= len(STEPS)
    taken["unit"] /= len(STEPS) * UNITS
    kept = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {**taken, "bytes": float(kept)}


if __name__ == "__main__":
    print(json.dumps(train(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
