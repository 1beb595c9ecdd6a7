"""A recorded run's telemetry as points of the instruments that it has live, with its own times.

Two points of one series never lie in one millisecond: Prometheus has no finer times, and refuses a
whole request for a second value.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.interop.batches import BYTES, POINT_BYTES, Histogram, Measured
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.manifest.points import METRIC, MILLISECOND, MachinePoints, Series, name_of
from robot_sf_otel.manifest.schema import PerformanceRecommendation, StepSample
from robot_sf_otel.semconv import metrics
from robot_sf_otel.semconv.instruments import RUN_DURATION, RUN_ERRORS, RUN_FINDINGS, STEP_DURATION
from robot_sf_otel.semconv.spans import error_type

if TYPE_CHECKING:
    from robot_sf_otel.interop.run_spans import Telling
    from robot_sf_otel.interop.story import Story
    from robot_sf_otel.manifest.execution import Execution
    from robot_sf_otel.manifest.points import Labels, Points
    from robot_sf_otel.manifest.schema import MetricValue, TelemetrySnapshot
    from robot_sf_otel.redaction.outgoing import Outgoing

POINTS: Final = BYTES // POINT_BYTES
"""Points in one batch, about: as many samples as make so many, by the first of them."""

_ELAPSED: Final = name_of("run_elapsed")
_INFO: Final = name_of("run_info")
_MEMBER: Final = name_of("run_member")
_ACTIVE: Final = name_of("active_runs")
_COMPLETED: Final = name_of("steps_completed")
_PLANNED: Final = name_of("steps_planned")
_STEP_ELAPSED: Final = name_of("step_elapsed")
_DONE: Final = name_of("progress_done")
_TOTAL: Final = name_of("progress_total")
_RATE: Final = name_of("progress_rate")


class Measuring:
    """Makes the points of one run.

    Args:
        story: The run.
        telling: Knows the resources.
        outgoing: Decides what may leave the machine.
    """

    def __init__(self, story: Story, telling: Telling, outgoing: Outgoing) -> None:
        self._story = story
        self._telling = telling
        self._outgoing = outgoing
        self._labels: dict[Labels, Labels] = {}
        self._machines: dict[str | None, MachinePoints] = {}
        self._executions: dict[str, list[Execution]] = {}
        for run in story.executions:
            self._executions.setdefault(run.step_id, []).append(run)
        self._ends = sorted(
            run.ended_ns or 0 for run in story.fold.top_level() if run.status == "completed"
        )
        self._planned = story.fold.plan.total
        self._pipeline = story.pipeline
        self._of_run = self._out(metrics.of_run(self._pipeline))
        self._member = self._out(metrics.run_member(story.run_id))
        self._custom = story.fold.metrics
        self._over = story.ended.time_unix_nano if story.ended is not None else None

    def batches(self, snapshots: Iterable[TelemetrySnapshot]) -> Iterator[list[Measured]]:
        """Yield the points of samples, so many at a time, then those of the ends.

        What an end says wins over a sample of the same millisecond.
        """
        outcomes, told = self._outcomes()
        rest = self._one_a_moment(snapshots)
        for first in rest:
            made: dict[str | None, Series] = {}
            self._add_to(made, first)
            points = sum(len(held) for series in made.values() for held in series.values())
            for snapshot in islice(rest, max(0, POINTS // max(1, points) - 1)):
                self._add_to(made, snapshot)
            for process, series in made.items():
                _leave_out(series, told.get(process, {}))
            yield [self._measured(process, series) for process, series in made.items()]
        yield outcomes

    def _one_a_moment(self, snapshots: Iterable[TelemetrySnapshot]) -> Iterator[TelemetrySnapshot]:
        newest: dict[str | None, int] = {}
        for snapshot in snapshots:
            process = self._process_of(snapshot)
            if newest.get(process) != snapshot.timestamp_ms:
                newest[process] = snapshot.timestamp_ms
                yield snapshot

    def _process_of(self, snapshot: TelemetrySnapshot) -> str | None:
        if snapshot.process is not None:
            return snapshot.process
        return self._story.session_at(snapshot.timestamp_ms * MILLISECOND).process

    def _add_to(self, made: dict[str | None, Series], snapshot: TelemetrySnapshot) -> None:
        process = self._process_of(snapshot)
        self._add(snapshot, made.setdefault(process, {}), process)

    def _measured(self, process: str | None, series: Series) -> Measured:
        return Measured(self._telling.resource(process), series)

    def _out(self, told: metrics.Attributes) -> Labels:
        """Return labels as they may leave."""
        labels = tuple(told.items())
        known = self._labels.get(labels)
        if known is None:
            known = self._labels[labels] = tuple(self._outgoing.attributes({**told}).items())
        return known

    def _add(self, snapshot: TelemetrySnapshot, series: Series, process: str | None) -> None:
        now = snapshot.timestamp_ms * MILLISECOND
        self._machines.setdefault(process, MachinePoints()).add(snapshot, series)
        _put(series, _MEMBER, self._member, now, 1)
        if snapshot.process is None:
            if self._over is None or now <= self._over:  # it ran no more in a later one
                self._add_run(now, series, "running")
            self._add_steps(snapshot, now, series)

    def _add_run(self, now: int, series: Series, status: str) -> None:
        story = self._story
        of_run = self._of_run
        elapsed = story.fold.sessions.ran_until(now) or 0.0
        _put(series, _ELAPSED, of_run, now, elapsed)
        _put(series, _COMPLETED, of_run, now, bisect_right(self._ends, now))
        if self._planned:
            _put(series, _PLANNED, of_run, now, self._planned)
        _put(series, _INFO, self._info(status), now, 1)
        if status != "running":
            _put(series, _INFO, self._info("running"), now, 0)
        states = {metrics.EXECUTING: int(status == "running"), metrics.FINALIZING: 0}
        for state, count in states.items():
            which = self._out(metrics.run_active(self._pipeline, state))
            _put(series, _ACTIVE, which, now, count)

    def _info(self, status: str) -> Labels:
        story = self._story
        told = metrics.run_info(
            self._pipeline, story.run_id, story.trace_id, status, story.fold.scenario
        )
        return self._out(told)

    def _add_steps(self, snapshot: TelemetrySnapshot, now: int, series: Series) -> None:
        steps = snapshot.steps
        if not steps and snapshot.step_id is not None:
            steps = [
                StepSample(
                    step_id=snapshot.step_id,
                    done=snapshot.progress_done or 0,
                    total=snapshot.progress_total,
                    rate=snapshot.steps_per_sec,
                )
            ]
        for step in steps:
            which = self._out(metrics.of_step(self._pipeline, step.step_id))
            run = self._at(step, now)
            since = run.started_ns if run is not None else now
            _put(series, _STEP_ELAPSED, which, now, max(0, now - since) / NANOSECONDS)
            if step.total is not None or step.done:
                _put(series, _DONE, which, now, float(step.done))
            if step.total is not None:
                _put(series, _TOTAL, which, now, float(step.total))
            if step.rate is not None:
                _put(series, _RATE, which, now, float(step.rate))
        names = [step.step_id for step in steps]
        for name, value in snapshot.metrics.items():
            _put_metric(series, self._owner(name, names), now, value)

    def _at(self, step: StepSample, now: int) -> Execution | None:
        """Return the execution that a sample shows: by its span, else the last that had begun."""
        found = self._executions.get(step.step_id, [])
        begun = [run for run in found if run.started_ns <= now]
        by_span = (run for run in begun if run.span_id == step.span_id)
        return next(by_span, begun[-1] if begun else None)

    def _owner(self, name: str, running: list[str]) -> Labels:
        """Return the labels of whose metric it is: of a running step that logged it, or the run."""
        logged = (
            step_id
            for step_id in reversed(running)
            if any(name in run.metrics for run in self._executions.get(step_id, ()))
        )
        of_run = name in self._custom or not running
        owner = next(logged, None if of_run else running[-1])
        return self._out(metrics.of_metric(self._pipeline, owner, name))

    def _outcomes(self) -> tuple[list[Measured], dict[str | None, Series]]:
        """Return what is known only at ends: last values, durations, errors, findings, ETAs.

        Returns:
            All of it, and the points among it by process.
        """
        story = self._story
        made: dict[str | None, Series] = {}
        histograms: dict[str | None, list[Histogram]] = {}
        ends: dict[str | None, int] = {}
        for run in story.executions:
            if run.ended_ns is None:
                continue
            process = run.process or story.session_at(run.started_ns).process
            series = made.setdefault(process, {})
            ends[process] = max(ends.get(process, 0), run.ended_ns)
            for name, value in run.metrics.items():
                which = self._out(metrics.of_metric(self._pipeline, run.step_id, name))
                _put_metric(series, which, run.ended_ns, value)
            histograms.setdefault(process, []).append(self._duration(run))
        for process, ended in ends.items():
            if process not in self._machines:  # its samples tell nothing: there are none
                _put(made[process], _MEMBER, self._member, ended, 1)
        self._add_etas(made)
        end = story.ended
        if end is not None:
            process = story.sessions[-1].process
            series = made.setdefault(process, {})
            self._add_end(series, end.time_unix_nano, end.status)
            failed = error_type(end.result, end.error.type if end.error is not None else None)
            histograms.setdefault(process, []).append(self._of_run_ended(end, failed))
            if failed is not None and end.status == "failed":
                which = self._out(metrics.run_error(self._pipeline, failed))
                _put(series, RUN_ERRORS, which, end.time_unix_nano, 1, story.sessions[0].begun_ns)
        for series in made.values():
            series.update({key: _last_of_each(points) for key, points in series.items()})
        outcomes = [
            Measured(
                self._telling.resource(process),
                made.get(process, {}),
                _merged(histograms.get(process, ())),
            )
            for process in dict.fromkeys([*made, *histograms])
        ]
        return outcomes, made

    def _add_etas(self, made: dict[str | None, Series]) -> None:
        for now, eta in self._story.etas:
            series = made.setdefault(self._story.session_at(now).process, {})
            for reading, value in (
                ("eta_remaining", eta.remaining_seconds),
                ("eta_low", eta.low_seconds),
                ("eta_high", eta.high_seconds),
            ):
                if value is not None:
                    _put(series, name_of(reading), self._of_run, now, float(value))

    def _add_end(self, series: Series, now: int, status: str) -> None:
        self._add_run(now, series, status)
        _put(series, _MEMBER, self._member, now, 1)
        for name, value in self._custom.items():
            if isinstance(value, float | int):
                which = self._out(metrics.of_metric(self._pipeline, None, name))
                _put_metric(series, which, now, float(value))
        counts: dict[Labels, int] = {}
        for one in (found.one for found in self._story.findings):
            recommended = isinstance(one, PerformanceRecommendation)
            kind = "recommendation" if recommended else "anomaly"
            told = metrics.finding(self._pipeline, one.trigger, one.step_id, one.severity, kind)
            which = self._out(told)
            counts[which] = counts.get(which, 0) + 1
        for which, count in counts.items():
            _put(series, RUN_FINDINGS, which, now, count, self._story.sessions[0].begun_ns)

    def _duration(self, run: Execution) -> Histogram:
        begun = self._story.session_at(run.started_ns).begun_ns
        result = run.result or ("success" if run.status == "completed" else "error")
        labels = self._out(metrics.step_duration(self._pipeline, run.step_id, result))
        return Histogram(
            STEP_DURATION, dict(labels), begun, run.ended_ns or 0, [run.duration or 0.0]
        )

    def _of_run_ended(self, end: Any, failed: str | None) -> Histogram:  # noqa: ANN401 - either end
        story = self._story
        labels = self._out(metrics.run_duration(self._pipeline, str(end.result), failed))
        seconds = story.fold.sessions.duration() or 0.0
        begun = story.sessions[-1].begun_ns
        return Histogram(RUN_DURATION, dict(labels), begun, end.time_unix_nano, [seconds])


def _merged(histograms: Iterable[Histogram]) -> list[Histogram]:
    """Return one histogram a series: executions of a step add to the one that it has."""
    found: dict[tuple[str, tuple[tuple[str, Any], ...]], Histogram] = {}
    for one in histograms:
        key = one.name, tuple(one.attributes.items())
        known = found.setdefault(key, one)
        if known is not one:
            known.values += one.values
            known.start_ns = min(known.start_ns, one.start_ns)
            known.time_ns = max(known.time_ns, one.time_ns)
    return list(found.values())


def _last_of_each(points: Points) -> Points:
    """Return the last point of each millisecond, in order of time."""
    in_order = sorted(points, key=lambda point: point[1])
    return list(
        {now // MILLISECOND: (start, now, value) for start, now, value in in_order}.values()
    )


def _leave_out(series: Series, told: Series) -> None:
    """Take out of series what lies in a millisecond of which another point is told."""
    for key in series.keys() & told.keys():
        moments = {now // MILLISECOND for _, now, _ in told[key]}
        series[key] = [point for point in series[key] if point[1] // MILLISECOND not in moments]
        if not series[key]:
            del series[key]


def _put(  # noqa: PLR0917 - what a point has, in the order of a point
    series: Series, name: str, labels: Labels, now: int, value: float, start: int = 0
) -> None:
    """Add a point; of several of one moment, as executions of one step at a time have, the last."""
    points = series.setdefault((name, labels), [])
    if points and points[-1][1] == now:
        points.pop()
    points.append((start, now, value))


def _put_metric(series: Series, labels: Labels, now: int, value: MetricValue) -> None:
    """Add a logged metric that is a finite number; OTLP's JSON has no others."""
    if isinstance(value, float | int):
        _put(series, METRIC, labels, now, float(value))
