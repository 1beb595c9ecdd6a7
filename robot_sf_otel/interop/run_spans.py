"""A recorded run as spans and log records, equal to those that it sends live. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel import semconv
from robot_sf_otel.manifest.schema import PerformanceRecommendation
from robot_sf_otel.manifest.spans import ERROR, SERVER, UNSET, RecordedLog, RecordedSpan, SpanEvent
from robot_sf_otel.semconv import logs, spans

if TYPE_CHECKING:
    from robot_sf_otel.interop.story import Finding, Session, Story
    from robot_sf_otel.manifest.execution import Execution
    from robot_sf_otel.manifest.schema import ErrorInfo
    from robot_sf_otel.redaction.outgoing import Outgoing
    from robot_sf_otel.semconv.logs import LogEvent

_RESULTS: Final[Mapping[str, str]] = {
    "completed": "success",
    "skipped": "skip",
    "cancelled": "cancellation",
}


class Telling:
    """Makes the spans and log records of one run.

    Args:
        story: The run.
        outgoing: Decides what may leave the machine.
    """

    def __init__(self, story: Story, outgoing: Outgoing) -> None:
        self._story = story
        self._outgoing = outgoing
        self._resources: dict[str | None, Mapping[str, Any]] = {}
        self._processes = {run.span_id: run.process for run in story.executions}

    def resource(self, process: str | None) -> Mapping[str, Any]:
        """Return the resource of a process; the same object each time."""
        if process not in self._resources:
            told = self._outgoing.attributes(self._story.resource(process))
            self._resources[process] = told
        return self._resources[process]

    def spans(self) -> Iterator[RecordedSpan]:
        """Yield the spans of what has ended: steps in the order of their start, then the run."""
        for run in self._story.executions:
            if run.ended_ns is not None:
                yield self._step(run)
        for session in self._story.sessions:
            if session.end is not None:
                yield self._root(session)

    def logs(self) -> Iterator[RecordedLog]:
        """Yield the log records: beginnings, so that open steps are known, and findings."""
        story = self._story
        first = story.sessions[0]
        begun = logs.run_started(story.pipeline, story.run_id, story.url, story.fold.scenario)
        yield self._log(begun, first.begun_ns, first.span_id, first.process)
        for run in story.executions:
            name = logs.step_started(story.pipeline, story.run_id, run.step_id, run.span_id or "")
            yield self._log(name, run.started_ns, run.span_id or "", self._process(run))
        for found in story.findings:
            one = found.one
            actions = one.suggested_actions if isinstance(one, PerformanceRecommendation) else None
            event = logs.finding(
                anomaly=actions is None,
                identity=one.id,
                severity=one.severity,
                message=one.message,
                pipeline=story.pipeline,
                run_id=story.run_id,
                step_id=one.step_id,
                actions=actions or (),
            )
            process = story.session_at(found.found_ns).process
            yield self._log(event, found.time_ns, self._span_of(found), process)

    def _span_of(self, found: Finding) -> str:
        """Return the span of a finding: of its step while it ran, else of the run."""
        if found.span_id is not None and found.span_id in self._processes:
            return found.span_id
        return self._story.session_at(found.found_ns).span_id

    def _findings(self, span_id: str) -> tuple[SpanEvent, ...]:
        """Return the findings of a span as its events."""
        return tuple(
            SpanEvent(
                semconv.RECOMMENDATION
                if isinstance(found.one, PerformanceRecommendation)
                else semconv.ANOMALY,
                found.time_ns,
                self._outgoing.attributes(
                    spans.finding(found.one.id, found.one.severity, found.one.message)
                ),
            )
            for found in self._story.findings
            if self._span_of(found) == span_id
        )

    def _process(self, run: Execution) -> str | None:
        return run.process or self._story.session_at(run.started_ns).process

    def _step(self, run: Execution) -> RecordedSpan:
        story, progress = self._story, run.progress
        process = self._process(run)
        kind = run.error.type if run.error is not None else None
        result = run.result or _RESULTS.get(run.status, "error" if kind == "lost" else "failure")
        attributes: dict[str, Any] = {
            **spans.step_started(
                run.step_id,
                story.pipeline,
                story.run_id,
                story.url,
                title=run.display_name if run.display_name != run.step_id else None,
                unit=progress.unit,
            ),
            semconv.TASK_RUN_ID: run.span_id or "",
            **spans.step_ended(
                result,
                kind,
                done=progress.done,
                total=progress.total,
                skip_reason=run.skip_reason,
            ),
        }
        session = story.session_at(run.started_ns)
        parent = run.parent_span_id or session.span_id
        return RecordedSpan(
            trace_id=story.trace_id,
            span_id=run.span_id or "",
            parent_span_id=parent,
            is_local_root=self._processes.get(parent, session.process) != run.process,
            name=self._outgoing.text(run.step_id),
            start_ns=run.started_ns,
            end_ns=run.ended_ns or run.started_ns,
            resource=self.resource(process),
            scope=semconv.SCOPE,
            **self._ending(
                run.span_id or "",
                attributes,
                run.status,
                result,
                run.error,
                _reason(run.error),
                run.ended_ns or 0,
            ),
        )

    def _root(self, session: Session) -> RecordedSpan:
        story, end = self._story, session.end
        assert end is not None  # noqa: S101 - for the types; the caller looked
        kind = end.error.type if end.error is not None else None
        attributes = {
            **spans.run_started(
                story.pipeline,
                story.run_id,
                story.url,
                story.fold.scenario,
                story.fold.tags,
            ),
            **spans.run_ended(end.result, kind),
        }
        first = session is story.sessions[0]
        parent = story.started.parent_span_id if first else None
        link = ((story.trace_id, session.previous),) if session.previous is not None else ()
        return RecordedSpan(
            trace_id=story.trace_id,
            span_id=session.span_id,
            parent_span_id=parent,
            is_local_root=True,
            name=self._outgoing.text(spans.run_name(story.pipeline)),
            kind=SERVER,
            start_ns=session.begun_ns,
            end_ns=end.time_unix_nano,
            links=link,
            resource=self.resource(session.process),
            scope=semconv.SCOPE,
            **self._ending(
                session.span_id,
                attributes,
                end.status,
                end.result,
                end.error,
                end.reason,
                end.time_unix_nano,
            ),
        )

    def _ending(  # noqa: PLR0917 - what an end has, called twice here
        self,
        span_id: str,
        attributes: Mapping[str, Any],
        status: str,
        result: str,
        error: ErrorInfo | None,
        reason: str | None,
        ended_ns: int,
    ) -> dict[str, Any]:
        """Return attributes, status and events of a span, as the end of it sets them live."""
        told: dict[str, Any] = {
            "attributes": self._outgoing.attributes(attributes),
            "events": self._findings(span_id),
        }
        if status in {"completed", "skipped"}:
            return {**told, "status": UNSET}
        kind = error.type if error is not None else result
        told["status"] = ERROR
        told["status_message"] = self._outgoing.detail(reason or result, kind)
        if error is not None:
            facts = spans.exception(error.type, error.message, error.stacktrace)
            event = SpanEvent(spans.EXCEPTION, ended_ns, self._outgoing.attributes(facts))
            told["events"] = (*told["events"], event)
        return told

    def _log(self, event: LogEvent, time_ns: int, span_id: str, process: str | None) -> RecordedLog:
        return RecordedLog(
            time_ns=time_ns,
            event_name=event.name,
            body=self._outgoing.body(event.name, event.body),
            severity=event.severity,
            severity_text=event.severity_text,
            attributes=self._outgoing.attributes(event.attributes),
            trace_id=self._story.trace_id,
            span_id=span_id,
            resource=self.resource(process),
            scope=semconv.SCOPE,
        )


def _reason(error: ErrorInfo | None) -> str | None:
    return f"{error.type}: {error.message}".rstrip(": ") if error is not None else None
