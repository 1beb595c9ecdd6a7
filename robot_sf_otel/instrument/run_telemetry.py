"""What the monitor thread takes from a run: samples with its progress; in a child, its progress."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from robot_sf_otel import guard
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import clip, metric_value
from robot_sf_otel.manifest.samples import OnlyChanges, put_progress

if TYPE_CHECKING:
    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.manifest.schema import MetricValue, StepSample, TelemetrySnapshot

MAX_NAME = 200
"""Characters of a metric's name that are kept."""


class RunTelemetry:
    """The metrics of a run as a whole, and its samples.

    Args:
        run: The run.

    Attributes:
        taken: Samples so far.
    """

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._metrics: dict[str, MetricValue] = {}
        self.shown: dict[str, MetricValue] = {}
        """The last value of each name, those too that a child process has written down already."""
        self._said = OnlyChanges()
        # Re-entrant, because a signal handler of the application may end the run inside a sample.
        self._sampling = threading.RLock()
        self._over = False
        self.taken = 0

    def log_metric(self, name: str, value: float) -> None:
        """Keep the last value of each name."""
        try:
            key = clip(str(name), MAX_NAME)
            self._metrics[key] = self.shown[key] = metric_value(value)
        except (TypeError, ValueError, OverflowError) as error:
            guard.warn_once(f"metric:{name}", f"metric {name!r} is left out: {error}")

    def sample(self, reading: TelemetrySnapshot, *, last: bool = False) -> None:
        """Append a telemetry sample: a reading of the machine with this run's progress.

        Args:
            reading: What the sensors say.
            last: Whether the run closes: what another thread has read meanwhile comes too late
                for the figures of its record.
        """
        with self._sampling:
            if not self._over:
                self._over = last
                self._append(reading)
                self.taken += 1

    def _append(self, reading: TelemetrySnapshot) -> None:
        now = self._run.runtime.clock.monotonic()
        snapshot = msgspec.structs.replace(reading, metrics={})
        samples: list[StepSample] = []
        for step in self._run.running_steps():
            samples.append(step.measure(now))
            snapshot.metrics.update(step.metrics)
            step.observe(reading)
        snapshot.metrics.update(self._metrics)
        fps = snapshot.metrics.get("fps")
        snapshot.fps = fps if isinstance(fps, float) else None
        put_progress(snapshot, samples)
        self._said.apply(snapshot)
        self._run.recorder.sample(snapshot)

    def report(self) -> None:
        """Write what this child process knows to its journal: progress, metrics, faults."""
        run = self._run
        now = run.runtime.clock.monotonic()
        found: list[e.Event] = [*self.faults(), *self.take_metrics()]
        if found:
            run.recorder.record(*found, sync=False)
        for step in run.running_steps():
            if step.measure(now).rate:
                run.recorder.record(
                    e.StepProgress(
                        time_unix_nano=run.runtime.clock.time_ns(),
                        trace_id=run.trace_id,
                        span_id=step.span_id,
                        progress=step.progress(now),
                    ),
                    sync=False,
                )

    def take_metrics(self) -> list[e.Event]:
        """Return the metrics as an event, if there are any, and forget them."""
        metrics, self._metrics = self._metrics, {}
        return [e.MetricLogged(metrics=metrics, **self._run.ids())] if metrics else []

    def faults(self) -> list[e.Event]:
        """Return telemetry's faults since the last time as events."""
        return [
            e.TelemetryFault(where=where, message=message, count=count, **self._run.ids())
            for where, message, count in guard.drain()
        ]
