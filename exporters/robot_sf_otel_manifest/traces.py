"""A span exporter for any OpenTelemetry program: each trace becomes the record of a run.

Spans reach an exporter when they have ended, and a batch processor hands them over up to five
seconds later. So there are no starts here, and what SIGKILL cuts off is not told; the recorder of
instrumented pipelines has neither gap.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from robot_sf_otel import environment_variables as env
from robot_sf_otel import guard, semconv
from robot_sf_otel.config import Arguments, resolve, switched
from robot_sf_otel.manifest import from_spans
from robot_sf_otel.redaction import Redactor
from robot_sf_otel.store.layout import TRACKER_DIR, RunPaths, create_run_dir
from robot_sf_otel_manifest.readable import recorded
from robot_sf_otel_manifest.samples import desk_of
from robot_sf_otel_manifest.trace_run import ClosedRun, TraceRun, origin_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from robot_sf_otel.manifest.schema import TelemetrySnapshot
    from robot_sf_otel.manifest.spans import RecordedSpan

MAX_OPEN: Final = 64
"""Traces whose root has not ended yet; one more, and the one that was silent longest is closed."""
MAX_CLOSED: Final = 256
"""Closed runs, and traces recorded by others, that are remembered."""
EXIT_SECONDS: Final = 5.0
"""How long after the end of the only run a sample still belongs to it: readers collect at exit."""

NOT_ENDED: Final = (
    "the root span had not ended when tracing was shut down; only spans that ended are known"
)
CROWDED_OUT: Final = f"the root span had not ended when {MAX_OPEN} newer traces were open"


class ManifestSpanExporter(SpanExporter):
    """Writes a run directory for each trace: journal, manifest.json and manifest.md.

    The local root span is the run, the spans below it are its steps. The directory is made when
    the first span of a trace has ended, under the name of the service where the root is not known
    yet. A trace that the recorder of this package writes already is left alone.

    Args:
        artifact_root: Folder that holds `run-tracker/`; `ROBOT_SF_ARTIFACT_ROOT`, else `output`.
    """

    def __init__(self, artifact_root: str | Path | None = None) -> None:
        config = resolve(Arguments(artifact_root=artifact_root), os.environ, guard.warn)
        self._off = switched(os.environ, guard.warn) is False
        self._root = config.artifact_root
        self._run_name = config.run_name
        self._redact = Redactor(config.redact)
        self._origin = origin_of(self._redact, sys.orig_argv, sys.argv)
        self._desk = desk_of(self._root)
        self._desk.takers.add(self)
        self._lock = threading.RLock()
        self._open: OrderedDict[str, TraceRun] = OrderedDict()
        self._closed: OrderedDict[str, ClosedRun] = OrderedDict()
        self._elsewhere: OrderedDict[str, None] = OrderedDict()
        self._runs = 0
        self._shut = False
        _after_fork(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Record ended spans. Never raises.

        Returns:
            FAILURE where not all of them are on disk; the reason was logged once.
        """
        written = False
        with guard.shielded("span exporter"), self._lock:
            ended = [one for one in map(recorded, spans) if one is not None]
            written = self._off or (not self._shut and self._export(ended))
        return SpanExportResult.SUCCESS if written else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Retry what could not be written; runs whose root has not ended stay `running`."""
        del timeout_millis
        with guard.shielded("span exporter"), self._lock:
            # A list: each is written, whatever became of those before.
            written = [run.write() for run in self._open.values()]
            self._rewrite_closed()
            return all(written)
        return False

    def shutdown(self) -> None:
        """Close what is open: a run whose root has not ended is `failed`, and says why."""
        with guard.shielded("span exporter"), self._lock:
            self._take_samples()
            for trace, run in list(self._open.items()):
                self._close(trace, run.give_up(NOT_ENDED))
            self._rewrite_closed()
            self._shut = True

    def take_samples(self) -> None:
        """Take the samples that belong to a run of this exporter."""
        with guard.shielded("metric exporter"), self._lock:
            self._take_samples()

    # ---------------------------------------------------------------------------------------- spans

    def _export(self, spans: Sequence[RecordedSpan]) -> bool:
        traces: dict[str, list[RecordedSpan]] = {}
        for span in spans:
            traces.setdefault(span.trace_id, []).append(span)
        written = True
        for trace, members in traces.items():
            done = False
            with guard.shielded("span exporter"):
                done = self._is_recorded(trace, members) or self._export_trace(trace, members)
            written = written and done
        while len(self._open) > MAX_OPEN:
            oldest, run = next(iter(self._open.items()))
            self._close(oldest, run.give_up(CROWDED_OUT))
        self._take_samples()
        return written

    def _export_trace(self, trace: str, spans: list[RecordedSpan]) -> bool:
        """Record spans of one trace, which may hold several runs one after the other."""
        written = True
        late: dict[Path, tuple[ClosedRun, list[RecordedSpan]]] = {}
        for index, span in enumerate(spans):
            run = self._open.get(trace)
            closed = self._closed.get(trace)
            if run is None and closed is not None and closed.owns(span):
                late.setdefault(closed.run_dir, (closed, []))[1].append(span)
                continue
            if run is None:
                run = self._begin(trace, spans[index:])
            if run is None:
                written = False
                break
            if span.is_local_root:
                self._take_samples(root_ended=(run, span.end_ns))
                written = self._close(trace, run.finish(span)) and written
            else:
                run.take(span, self._origin.process)
        run = self._open.get(trace)
        if run is not None:
            run.prepare()
            written = run.write() and written
            self._open.move_to_end(trace)
        for closed, members in late.values():
            written = closed.amend(members, self._redact, self._origin.process) and written
        return written

    def _begin(self, trace: str, spans: list[RecordedSpan]) -> TraceRun | None:
        """Open the run of a trace with what is known of it; None where the disk refuses."""
        first = min(spans, key=lambda span: span.start_ns)
        root = next((span for span in spans if span.is_local_root), None)
        pipeline = from_spans.pipeline_of(root) if root else from_spans.service_of(first)
        now_ns = (root or first).start_ns
        try:
            run_dir = self._create(pipeline, now_ns)
        except OSError as error:
            guard.storage_fault(f"creating a run under {self._root}", error)
            return None
        started = from_spans.run_started(
            first,
            root=root,
            run_id=run_dir.name,
            artifact_dir=str(run_dir),
            origin=self._origin,
        )
        run = TraceRun(run_dir, started, self._redact)
        run.add(from_spans.resource_facts(first, self._redact, self._origin.hostname))
        self._open[trace] = run
        self._closed.pop(trace, None)
        self._runs += 1
        return run

    def _create(self, pipeline: str, now_ns: int) -> Path:
        name = self._run_name
        try:
            return create_run_dir(self._root, pipeline=pipeline, now_ns=now_ns, name=name)
        except ValueError as error:  # a run name from outside that no directory can have
            self._run_name = None
            guard.warn(f"{env.RUN_NAME}={name!r} is ignored: {error}")
            return create_run_dir(self._root, pipeline=pipeline, now_ns=now_ns)

    def _close(self, trace: str, outcome: tuple[ClosedRun, bool]) -> bool:
        closed, written = outcome
        self._open.pop(trace, None)
        self._closed[trace] = closed
        self._closed.move_to_end(trace)
        while len(self._closed) > MAX_CLOSED:
            self._closed.popitem(last=False)
        return written

    def _rewrite_closed(self) -> None:
        for closed in self._closed.values():
            closed.rewrite()

    # ------------------------------------------------------------------------- recorded by our own

    def _is_recorded(self, trace: str, spans: list[RecordedSpan]) -> bool:
        """Return whether the recorder of this package writes the run of this trace.

        Its spans carry the run's id. Spans of other code in the same trace may end before any of
        them; then the environment tells which run is live in this process or its parent.
        """
        if trace in self._elsewhere:
            return True
        run_dir = next(filter(None, map(self._own_run, spans)), None)
        if run_dir is None and trace not in self._open:
            run_dir = _published_run(trace)
        if run_dir is None:
            return False
        self._elsewhere[trace] = None
        while len(self._elsewhere) > MAX_CLOSED:
            self._elsewhere.popitem(last=False)
        run = self._open.get(trace)
        if run is not None:
            reason = f"the record of this trace is run {run_dir.name}"
            self._close(trace, run.give_up(reason, status="cancelled", result="cancellation"))
        return True

    def _own_run(self, span: RecordedSpan) -> Path | None:
        """Return the run directory of a span of ours, None where there is none."""
        run_id = from_spans.text_of(span, semconv.PIPELINE_RUN_ID)
        if not from_spans.is_ours(span) or run_id is None:
            return None
        url = from_spans.text_of(span, semconv.PIPELINE_RUN_URL)
        url = url or from_spans.text_of(span, semconv.TASK_RUN_URL) or ""
        places = [self._root / TRACKER_DIR / run_id, Path(unquote(urlsplit(url).path) or ".")]
        found = (place for place in places if place.name == run_id)
        return next((place for place in found if RunPaths(place).journal.exists()), None)

    # -------------------------------------------------------------------------------------- samples

    def _take_samples(self, root_ended: tuple[TraceRun, int] | None = None) -> None:
        """Hand the waiting samples to the runs that they belong to; the others go on waiting."""
        if root_ended is not None:
            root_ended[0].end_ns = root_ended[1]
        for _ in range(len(self._desk.waiting)):
            snapshot = self._desk.waiting.popleft()
            if not self._taken(snapshot):
                self._desk.waiting.append(snapshot)

    def _taken(self, snapshot: TelemetrySnapshot) -> bool:
        time_ns = snapshot.timestamp_ms * 1_000_000
        runs = [run for run in self._open.values() if run.owner and self._covers(run, time_ns)]
        if len(runs) == 1:
            runs[0].sample(snapshot)
            return True
        if runs:
            guard.warn_once(
                "sample-of-several-runs",
                "metrics are left out of the record while several traces are open: which run they "
                "belong to cannot be told",
            )
            return True
        last = next(reversed(self._closed.values()), None)
        if last is not None and self._covers(last, time_ns):
            last.add_sample(snapshot)
            return True
        return False

    def _covers(self, run: TraceRun | ClosedRun, time_ns: int) -> bool:
        grace = int(EXIT_SECONDS * 1e9) if self._runs == 1 else 0
        # A sample has whole milliseconds, a span nanoseconds.
        begun = run.start_ns - 1_000_000 <= time_ns
        return begun and (run.end_ns is None or time_ns <= run.end_ns + grace)

    # ----------------------------------------------------------------------------------------- fork

    def after_fork_in_child(self) -> None:
        """Let go of the parent's files and locks; open runs go on in journals of this process."""
        self._lock = threading.RLock()
        self._origin = origin_of(self._redact, sys.orig_argv, sys.argv)
        self._desk.waiting.clear()
        self._closed.clear()
        with guard.shielded("fork"):
            for run in self._open.values():
                run.become_worker()


def _after_fork(exporter: ManifestSpanExporter) -> None:
    reference = weakref.ref(exporter)

    def in_child() -> None:
        alive = reference()
        if alive is not None:
            alive.after_fork_in_child()

    os.register_at_fork(after_in_child=in_child)


def _published_run(trace: str) -> Path | None:
    """Return the run that this process or its parent shows its children, if this is its trace."""
    run_dir = os.environ.get(env.RUN_DIR)
    parts = os.environ.get(env.TRACEPARENT, "").split("-")
    return Path(run_dir) if run_dir and len(parts) > 1 and parts[1].lower() == trace else None
