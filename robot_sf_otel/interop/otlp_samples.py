"""Points of metrics as the samples of the runs that they belong to, in bounded memory.

Which process a point is of tells its resource, which run its time: a process runs one at a time.
What belongs to a run goes to files of a temporary folder, for points come in any order.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel import semconv
from robot_sf_otel.interop.otlp_runs import name_of_nested
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import decode_snapshot, encode_snapshot
from robot_sf_otel.manifest.from_points import Growth, gather
from robot_sf_otel.manifest.from_spans import process_of
from robot_sf_otel.manifest.samples import OnlyChanges
from robot_sf_otel.store.lines import iter_lines

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.interop.otlp_runs import FoundRun
    from robot_sf_otel.manifest.from_points import Gathered
    from robot_sf_otel.manifest.points import MetricPoint
    from robot_sf_otel.manifest.schema import MetricValue, StepSample, TelemetrySnapshot
    from robot_sf_otel.redaction import Redactor

WAITING: Final = 256
"""Moments of one process whose points may still be incomplete: exporters split what they send."""
MAX_HELD: Final = 1_000_000
"""Points that wait, of all processes: a small packed file may hold millions of one moment."""
BEFORE_NS: Final = 1_000_000_000
"""How long before the start of a run its first sample may be taken."""
AFTER_NS: Final = 5_000_000_000
"""How long after its end a sample still belongs to it: readers collect at exit."""
_BUFFER: Final = 64 * 1024
MAX_MOMENTS: Final = 5_000_000
"""Samples of one process in one run."""


@dataclass(frozen=True, slots=True)
class _Span:
    start_ns: int
    end_ns: int
    span_id: str


@dataclass(slots=True)
class RunSamples:
    """The samples of one run.

    Args:
        run: The run.
        folder: Where they wait.
    """

    run: FoundRun
    folder: Path
    metrics: dict[str | None, dict[str, float]] = field(
        default_factory=dict[str | None, dict[str, float]]
    )
    """The last value of each logged metric, by the span of its step."""
    begun_ns: int = 0
    ended_ns: int = 0
    _buffers: dict[str | None, bytearray] = field(default_factory=dict[str | None, bytearray])
    _files: dict[str | None, Path] = field(default_factory=dict["str | None", "Path"])
    _seen: dict[str | None, set[int]] = field(default_factory=dict[str | None, set[int]])
    _only: dict[str | None, OnlyChanges] = field(default_factory=dict[str | None, OnlyChanges])
    _steps: dict[str, list[_Span]] = field(default_factory=dict[str, list[_Span]])

    def __post_init__(self) -> None:
        """Learn when it ran, and when each of its steps did."""
        self.begun_ns, self.ended_ns = self.run.begun_ns, self.run.ended_ns
        nested = {span.span_id for span in self.run.nested}
        for span in sorted(self.run.spans, key=lambda one: one.start_ns):
            name = span.attributes.get(semconv.TASK_NAME) or span.name
            if span.span_id in nested:
                name = name_of_nested(span)
            place = _Span(span.start_ns, span.end_ns, span.span_id)
            self._steps.setdefault(str(name), []).append(place)
        for log in self.run.logs:  # steps whose end did not arrive
            name = log.attributes.get(semconv.TASK_NAME)
            known = {one.span_id for one in self._steps.get(str(name), ())}
            if log.event_name == semconv.STEP_STARTED and log.span_id not in known:
                place = _Span(log.time_ns, 1 << 62, log.span_id)
                self._steps.setdefault(str(name), []).append(place)
                self.ended_ns = 1 << 62  # it has none, and goes on as long as it is heard of

    def add(self, found: Gathered, process: str | None) -> None:
        """Add what points of one moment say; `process` is None for the run's own."""
        for task, name, value in found.logged:
            span = None if task is None else self._at(task, found.newest_ns)
            if task is None or span is not None:
                of = span.span_id if span is not None else None
                self.metrics.setdefault(of, {})[name] = value
        moments = self._seen.setdefault(process, set())
        moment = found.newest_ns // 1_000_000
        if not found.complete or moment in moments or len(moments) >= MAX_MOMENTS:
            return
        moments.add(moment)
        snapshot = found.snapshot(self._running(found))
        snapshot.process = process
        self._only.setdefault(process, OnlyChanges()).apply(snapshot)
        buffer = self._buffers.setdefault(process, bytearray())
        buffer += encode_snapshot(snapshot)
        if len(buffer) >= _BUFFER:
            self._flush(process)

    def _at(self, task: str, now: int) -> _Span | None:
        """Return the last execution of a step that had begun by then."""
        spans = self._steps.get(task, [])
        index = bisect_right([span.start_ns for span in spans], now)
        return spans[index - 1] if index else None

    def _running(self, found: Gathered) -> list[StepSample]:
        """Return the steps of a moment that ran then, in the order in which they began."""
        begun: list[tuple[int, StepSample]] = []
        for step in found.steps():
            span = self._at(step.step_id, found.newest_ns)
            # A sample is read before its time is taken: the step may have ended in between.
            runs = "elapsed" in found.running.get(step.step_id, ())
            if span is not None and (runs or found.newest_ns <= span.end_ns):
                step.span_id = span.span_id
                begun.append((span.start_ns, step))
        return [step for _, step in sorted(begun, key=lambda pair: pair[0])]

    def _flush(self, process: str | None) -> None:
        path = self._files.setdefault(process, self.folder / f"{id(self)}-{len(self._files)}")
        with path.open("ab") as file:
            file.write(self._buffers.pop(process, b""))

    def snapshots(self) -> Iterator[TelemetrySnapshot]:
        """Yield the samples of all processes in order of time."""
        for process in list(self._buffers):
            self._flush(process)
        streams = [_read(path) for path in self._files.values()]
        yield from heapq.merge(*streams, key=lambda snapshot: snapshot.timestamp_ms)

    def events(self) -> list[e.Event]:
        """Return the metrics of steps and run as events; they were logged before each end."""
        ends = {span.span_id: span.end_ns for span in self.run.spans}
        own = {span.span_id for span in self.run.sessions}
        made: list[e.Event] = []
        for span_id, metrics in self.metrics.items():
            values: dict[str, MetricValue] = dict(metrics)
            of = None if span_id in own else span_id
            now = ends.get(span_id or "", self.run.ended_ns)
            made.append(e.MetricLogged(time_unix_nano=now, span_id=of, metrics=values))
        return made


def _read(path: Path) -> Iterator[TelemetrySnapshot]:
    for line in iter_lines(path):
        snapshot = decode_snapshot(line)
        if snapshot is not None:
            yield snapshot


class Router:
    """Takes points of all processes and hands the samples to the runs.

    Args:
        runs: All of them.
        redact: Masks what looks secret in attributes.
    """

    def __init__(self, runs: list[RunSamples], redact: Redactor) -> None:
        self._redact = redact
        self._runs: dict[str, list[tuple[RunSamples, str | None]]] = {}
        self._waiting: dict[str, dict[int, list[MetricPoint]]] = {}
        self._growth: dict[str, Growth] = {}
        self._held = 0
        self.lost = 0
        """Points of processes or times that no run is known of."""
        for samples in sorted(runs, key=lambda one: one.begun_ns):
            own = process_key(samples.run.resource)
            resources = [one.resource for one in samples.run.spans]
            resources += [one.resource for one in samples.run.logs]
            owners = {process_key(one.resource) for one in samples.run.sessions} | {own}
            for key, resource in {process_key(one): one for one in resources}.items():
                if key is not None:
                    name = None if key in owners else process_of(resource) or key
                    self._runs.setdefault(key, []).append((samples, name))

    def add(self, resource: Mapping[str, Any], point: MetricPoint) -> None:
        """Take a point in."""
        key = process_key(resource)
        if key is None or key not in self._runs:
            self.lost += 1
            return
        moments = self._waiting.setdefault(key, {})
        moments.setdefault(point.time_ns // 1_000_000, []).append(point)
        self._held += 1
        if len(moments) > WAITING:
            self._hand_over(key, len(moments) - WAITING // 2)
        elif self._held > MAX_HELD:
            for each, waiting in self._waiting.items():
                self._hand_over(each, (len(waiting) + 1) // 2)

    def finish(self) -> None:
        """Hand over what waits."""
        for key, moments in self._waiting.items():
            self._hand_over(key, len(moments))

    def _hand_over(self, key: str, number: int) -> None:
        moments = self._waiting[key]
        growth = self._growth.setdefault(key, Growth())
        for moment in sorted(moments)[:number]:
            points = moments.pop(moment)
            self._held -= len(points)
            found = gather(points, self._redact, growth)
            place = self._place(key, found.newest_ns)
            if place is None:
                self.lost += 1
            else:
                place[0].add(found, place[1])

    def _place(self, key: str, now: int) -> tuple[RunSamples, str | None] | None:
        """Return the run of a process at a time: one that ran, else one that had just ended."""
        places = self._runs[key]
        within = (one for one in places if one[0].begun_ns <= now <= one[0].ended_ns)
        near = (
            one
            for one in reversed(places)
            if one[0].begun_ns - BEFORE_NS <= now <= one[0].ended_ns + AFTER_NS
        )
        return next(within, None) or next(near, None)


def process_key(resource: Mapping[str, Any]) -> str | None:
    """Return what tells a process apart from all others, None where the resource does not."""
    instance = resource.get(semconv.SERVICE_INSTANCE_ID)
    if isinstance(instance, str) and instance:
        return instance
    service = resource.get(semconv.SERVICE_NAME_KEY)
    return process_of(resource) or (str(service) if service else None)
