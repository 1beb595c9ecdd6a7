"""Which spans of a trace are one run: over processes and hosts, sessions and missing parents. Pure.

A run span of another process below a run, or beside it at the same time, is a step of it: what is
one trace over several hosts becomes one record. Runs of one process stay apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from robot_sf_otel import semconv
from robot_sf_otel.interop.otlp_read import is_ours
from robot_sf_otel.manifest.from_spans import pipeline_of, process_of, text_of
from robot_sf_otel.manifest.spans import NO_ATTRIBUTES, RecordedLog, RecordedSpan

NO_RANK: Final = 1 << 30


@dataclass(slots=True)
class Trace:
    """The spans and the log records of one trace, each once."""

    spans: dict[str, RecordedSpan] = field(default_factory=dict[str, RecordedSpan])
    logs: list[RecordedLog] = field(default_factory=list[RecordedLog])

    def ancestors(self, span: RecordedSpan) -> Iterator[RecordedSpan]:
        """Yield the spans above one, the nearest first, as far as they are known."""
        seen = {span.span_id}
        above = self.spans.get(span.parent_span_id or "")
        while above is not None and above.span_id not in seen:
            seen.add(above.span_id)
            yield above
            above = self.spans.get(above.parent_span_id or "")


@dataclass(slots=True)
class FoundRun:
    """A run in a trace.

    Attributes:
        run_id: What it was called, None where nothing says.
        sessions: Its root spans, the oldest first; none where they did not arrive.
        steps: Its steps, their parents being steps or roots of the run.
        nested: Run spans of other processes that are steps of this one.
        logs: What it told of itself.
    """

    run_id: str | None
    sessions: list[RecordedSpan] = field(default_factory=list[RecordedSpan])
    steps: list[RecordedSpan] = field(default_factory=list[RecordedSpan])
    nested: list[RecordedSpan] = field(default_factory=list[RecordedSpan])
    logs: list[RecordedLog] = field(default_factory=list[RecordedLog])

    @property
    def spans(self) -> list[RecordedSpan]:
        """All of them."""
        return [*self.sessions, *self.steps, *self.nested]

    @property
    def begun_ns(self) -> int:
        """When it began, as far as is known."""
        times = [one.start_ns for one in self.sessions or self.spans]
        return min(times + [log.time_ns for log in self.logs if log.time_ns], default=0)

    @property
    def ended_ns(self) -> int:
        """When the last of it ended."""
        return max([one.end_ns for one in self.spans] + [log.time_ns for log in self.logs])

    @property
    def resource(self) -> Mapping[str, Any]:
        """The resource of its own process."""
        known: Iterable[RecordedSpan | RecordedLog] = [*self.sessions, *self.logs, *self.steps]
        return next((one.resource for one in known), NO_ATTRIBUTES)

    def order(self) -> tuple[int, int, str]:
        """Return what decides which of several runs side by side the others are steps of."""
        rank = self.resource.get(semconv.WORKER_RANK)
        return (rank if isinstance(rank, int) else NO_RANK, self.begun_ns, self.run_id or "")


def runs_of(trace: Trace) -> list[FoundRun]:
    """Return the runs of a trace, the oldest first."""
    own = [span for span in trace.spans.values() if is_ours(span)]
    told = [log for log in trace.logs if is_ours(log)]
    if not own and not told:
        return _foreign(trace)
    roots = {span.span_id: span for span in own if is_run(span)}
    found: dict[str | None, FoundRun] = {}
    inner: list[tuple[RecordedSpan, RecordedSpan]] = []
    for root in sorted(roots.values(), key=lambda span: span.start_ns):
        outer = next((one for one in trace.ancestors(root) if one.span_id in roots), None)
        if outer is None:
            run_id = text_of(root, semconv.PIPELINE_RUN_ID)
            found.setdefault(run_id, FoundRun(run_id)).sessions.append(root)
        else:
            inner.append((root, outer))
    run_of = {root.span_id: run for run in found.values() for root in run.sessions}
    by_id = dict(found)
    for root, outer in inner:  # by their start: an outer one comes before those in it
        run = run_of.get(outer.span_id)
        if run is not None:
            run.nested.append(_below(trace, root))
            run_of[root.span_id] = run
            by_id.setdefault(text_of(root, semconv.PIPELINE_RUN_ID), run)
    for step in own:
        if step.span_id not in roots:
            above = (run_of.get(one.span_id) for one in trace.ancestors(step))
            run = next((one for one in above if one is not None), None)
            run_id = text_of(step, semconv.PIPELINE_RUN_ID)
            run = run or by_id.get(run_id) or by_id.setdefault(run_id, FoundRun(run_id))
            run.steps.append(_below(trace, step))
    for log in told:
        run_id = str(log.attributes.get(semconv.PIPELINE_RUN_ID) or "") or None
        (by_id.get(run_id) or by_id.setdefault(run_id, FoundRun(run_id))).logs.append(log)
    return _joined({id(run): run for run in by_id.values()}.values())


def is_run(span: RecordedSpan) -> bool:
    """Return whether a span of ours is that of a run, not of a step."""
    return semconv.PIPELINE_RUN_ID in span.attributes and semconv.TASK_NAME not in span.attributes


def _below(trace: Trace, span: RecordedSpan) -> RecordedSpan:
    """Return a span whose parent is the nearest one of ours; spans of others are no steps."""
    nearest = next((one for one in trace.ancestors(span) if is_ours(one)), None)
    return span if nearest is None else replace(span, parent_span_id=nearest.span_id)


def _joined(runs: Iterable[FoundRun]) -> list[FoundRun]:
    """Return runs with those that ran beside them in other processes as steps of them."""
    first: list[FoundRun] = []
    for run in sorted(runs, key=lambda one: one.order()):
        host = next((one for one in first if _beside(one, run)), None)
        if host is None:
            first.append(run)
            continue
        host.nested += [*run.sessions, *run.nested]
        host.steps += run.steps
        host.logs += run.logs
    return sorted(first, key=lambda one: one.begun_ns)


def _beside(one: FoundRun, other: FoundRun) -> bool:
    first, second = process_of(one.resource), process_of(other.resource)
    if first is None or second is None or first == second:
        return False
    return one.begun_ns <= other.ended_ns and other.begun_ns <= one.ended_ns


def _foreign(trace: Trace) -> list[FoundRun]:
    """Return the run of a trace of another program: its root, and all below and beside it."""
    tops = [span for span in trace.spans.values() if span.parent_span_id not in trace.spans]
    if not tops:  # parents in a circle, or no spans
        return [FoundRun(None, steps=list(trace.spans.values()))] if trace.spans else []
    key: Callable[[RecordedSpan], Any] = lambda span: (  # noqa: E731 - used once, below
        span.parent_span_id is not None,
        span.start_ns,
    )
    root = min(tops, key=key)
    steps = [span for span in trace.spans.values() if span is not root]
    return [FoundRun(None, sessions=[root], steps=steps)]


def name_of_nested(span: RecordedSpan) -> str:
    """Return what a run of another process is called as a step: pipeline and rank or host."""
    rank, host = (span.resource.get(key) for key in (semconv.WORKER_RANK, semconv.HOST_NAME))
    where = f"rank {rank}" if isinstance(rank, int) else host
    return f"{pipeline_of(span)} @ {where}" if where else pipeline_of(span)
