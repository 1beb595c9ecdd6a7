"""Files of OTLP JSON lines as runs: read twice, once for spans and once for points."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from robot_sf_otel.interop.otlp_events import events_of, id_of, id_of_log
from robot_sf_otel.interop.otlp_read import Reader
from robot_sf_otel.interop.otlp_runs import Trace, runs_of
from robot_sf_otel.interop.otlp_samples import Router, RunSamples
from robot_sf_otel.manifest.spans import RecordedSpan
from robot_sf_otel.store.imported import write_imported

if TYPE_CHECKING:
    from robot_sf_otel.interop.otlp_runs import FoundRun
    from robot_sf_otel.redaction import Redactor
    from robot_sf_otel.store.imported import Written

MAX_SPANS: Final = 200_000
"""Spans and log records of all files that are taken, so that memory stays bounded."""
MAX_BYTES: Final = 512 * 1024 * 1024
"""The same in bytes of JSON: a small packed file may hold spans of megabytes each."""


def import_files(
    paths: Sequence[Path], root: Path, now_ns: int, redact: Redactor
) -> Iterator[Written | str]:
    """Write a run directory for each run in files of OTLP JSON lines.

    Args:
        paths: One or several, their signals mixed or apart.
        root: The artifact root.
        now_ns: Unix nanoseconds, for the record.
        redact: Masks what looks secret.

    Yields:
        What became of each run, the oldest first, and in words what could not be read.

    Raises:
        ValueError: There is no OTLP in any file.
        OSError: A file cannot be read, or a run not be written.
    """
    readers = [Reader(path) for path in paths]
    traces, left_out = _traces(readers)
    nothing = [
        f"{path}: there is no line of OTLP JSON in it"
        for path, reader in zip(paths, readers, strict=True)
        if not reader.lines
    ]
    if len(nothing) == len(paths):
        raise ValueError(nothing[0])
    yield from nothing
    if left_out:
        yield (
            f"{left_out:,} spans and log records are left out: more than {MAX_SPANS:,}, or "
            f"{MAX_BYTES // 1024**2:,} MiB of them; import fewer files at a time"
        )
    found = sorted(
        (run for trace in traces.values() for run in runs_of(trace)), key=lambda run: run.begun_ns
    )
    with tempfile.TemporaryDirectory(prefix="robot-sf-otel-import-") as folder:
        samples = [RunSamples(run, Path(folder)) for run in found]
        router = Router(samples, redact)
        for reader in readers:
            for resource, point in reader.points():
                router.add(resource, point)
        router.finish()
        yield from (problem for reader in readers for problem in reader.problems())
        if router.lost:
            yield f"{router.lost:,} points of metrics belong to no run in these files"
        for one in samples:
            yield _write(one, root, now_ns, redact, [str(path) for path in paths])


def _write(
    samples: RunSamples, root: Path, now_ns: int, redact: Redactor, sources: list[str]
) -> Written:
    run = samples.run
    return write_imported(
        root,
        run_id=_named(run),
        events=[*events_of(run, redact), *samples.events()],
        snapshots=samples.snapshots(),
        format="otlp",
        sources=sources,
        now_ns=now_ns,
    )


def _named(run: FoundRun) -> str:
    return id_of(run) if run.spans or run.run_id else id_of_log(run.logs[0])


def _traces(readers: Sequence[Reader]) -> tuple[dict[str, Trace], int]:
    """Return what the files hold of each trace, each span once, and how many were left out."""
    traces: dict[str, Trace] = {}
    told: set[tuple[str, str, int, str]] = set()
    taken = left_out = held = 0
    for reader in readers:
        for one in reader.events():
            if not isinstance(one, RecordedSpan) and not (one.trace_id and one.event_name):
                continue  # a line of somebody's log
            if taken >= MAX_SPANS or held + reader.item_bytes > MAX_BYTES:
                left_out += 1
                continue
            trace = traces.setdefault(one.trace_id, Trace())
            if isinstance(one, RecordedSpan):
                is_new = trace.spans.setdefault(one.span_id, one) is one
                taken += is_new
                held += reader.item_bytes * is_new
                continue
            key = (one.event_name, one.span_id, one.time_ns, one.body)
            if key not in told:
                told.add(key)
                trace.logs.append(one)
                taken += 1
                held += reader.item_bytes
    return {trace_id: trace for trace_id, trace in traces.items() if _is_run(trace)}, left_out


def _is_run(trace: Trace) -> bool:
    """Return whether anything of a trace can be shown: log records of others alone cannot."""
    return bool(trace.spans) or any(runs_of(trace))
