"""A run directory made of what was recorded elsewhere: written whole, once, beside all others."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from robot_sf_otel.manifest.codec import encode_event, encode_snapshot
from robot_sf_otel.manifest.events import (
    Event,
    RunFinished,
    RunRecovered,
    RunResumed,
    RunStarted,
    rfc3339,
)
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import TERMINAL_RUN, ImportInfo
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.directories import first_line
from robot_sf_otel.store.files import replace_atomically
from robot_sf_otel.store.layout import TRACKER_DIR, RunPaths, check_run_name, make_folder, slug
from robot_sf_otel.store.telemetry import summarise, summarise_workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord, TelemetrySnapshot

UNFINISHED: Final = "the end of the run is not in what was imported"
_HIDDEN: Final = ".import-"
"""What the folder of an import that goes on is called; readers pass it over."""
_DAY_NS: Final = 24 * 3600 * 1_000_000_000
MAX_NAMES: Final = 1_000
"""Names that are tried for one run: it, it-2, it-3, …."""


class Written(NamedTuple):
    """What became of a run that was to be imported."""

    run_dir: Path
    is_new: bool
    """Whether it was written now; False where the same data had been imported before."""
    record: PipelineRunRecord | None = None
    """Of a run that was written now."""


def write_imported(
    root: Path,
    *,
    run_id: str,
    events: Sequence[Event],
    snapshots: Iterable[TelemetrySnapshot],
    format: str,  # noqa: A002 - as in the record
    sources: Sequence[str],
    now_ns: int,
) -> Written:
    """Write the directory of a run that was recorded elsewhere, or recognise that it is here.

    No directory that exists is touched: a name that is taken gets `-2`, `-3`, …, and the directory
    is shown to nobody before all of it is written. A run whose end is not known is closed at its
    last sign of life.

    Args:
        root: The artifact root.
        run_id: What the run is called; a name that no directory can have is made one.
        events: What happened, in any order, exactly one `RunStarted` among it.
        snapshots: Its samples in order of time; they are read once, as they come.
        format: What it was read from, `otlp` or `robot_sf`.
        sources: The files that it was read from, for people.
        now_ns: Unix nanoseconds, for the record.

    Raises:
        ValueError: There is no start of the run among the events, or more than one.
        OSError: It cannot be written; nothing of it is left.
    """
    started, ordered = _in_order(events)
    tracker = root / TRACKER_DIR
    make_folder(tracker)
    _sweep(tracker, now_ns)
    hidden = tracker / f"{_HIDDEN}{os.urandom(8).hex()}"
    hidden.mkdir()
    try:
        digest, last_ms = _write_samples(RunPaths(hidden).telemetry, ordered, started, snapshots)
        info = ImportInfo(
            format=format, sources=list(sources), digest=digest, imported_at=rfc3339(now_ns)
        )
        begun = msgspec.structs.replace(started, imported=info)
        return _show(hidden, _name(run_id), [begun, *ordered], last_ms, digest)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _show(hidden: Path, name: str, events: Sequence[Event], last_ms: int, digest: str) -> Written:
    """Fill the hidden directory and give it the first name that is free, in one step.

    Raises:
        OSError: It cannot be written, or no name is free.
    """
    for candidate in _names(name):
        run_dir = hidden.parent / candidate
        if not os.path.lexists(run_dir):
            record = _fill(hidden, run_dir, events, last_ms)
            if _move(hidden, run_dir):
                return Written(run_dir, is_new=True, record=record)
        if _holds(run_dir, digest):
            return Written(run_dir, is_new=False)
    raise FileExistsError(f"{MAX_NAMES} runs are called {name} already")


def _move(hidden: Path, run_dir: Path) -> bool:
    """Rename the folder of an import unless the name is taken by now; return whether it was free.

    Raises:
        OSError: It cannot be renamed.
    """
    try:
        run_dir.mkdir()  # exclusive; then renaming replaces an empty folder of our own
    except FileExistsError:
        return False
    try:
        hidden.rename(run_dir)
    except OSError:
        run_dir.rmdir()
        raise
    return True


def _sweep(tracker: Path, now_ns: int) -> None:
    """Remove what imports left that were killed a day ago or earlier."""
    for left in tracker.glob(f"{_HIDDEN}*"):
        with suppress(OSError):
            if now_ns - left.lstat().st_mtime_ns > _DAY_NS:
                shutil.rmtree(left)


def _in_order(events: Sequence[Event]) -> tuple[RunStarted, list[Event]]:
    started = [event for event in events if isinstance(event, RunStarted)]
    if len(started) != 1:
        raise ValueError(f"a run begins once: {len(started)} starts are among its events")
    rest: list[Event] = [event for event in events if not isinstance(event, RunStarted)]
    rest.sort(key=lambda event: event.time_unix_nano)
    # Clocks of other hosts may be ahead: a step that ended by then has an end nevertheless.
    last = next(
        (event for event in reversed(rest) if isinstance(event, RunFinished | RunRecovered)), None
    )
    if last is not None and not any(
        isinstance(event, RunResumed) for event in rest[rest.index(last) :]
    ):
        rest.remove(last)
        rest.append(last)
    return started[0], rest


def _name(run_id: str) -> str:
    try:
        return check_run_name(run_id)
    except ValueError:
        return slug(run_id)


def _write_samples(
    path: Path,
    events: Iterable[Event],
    started: RunStarted,
    snapshots: Iterable[TelemetrySnapshot],
) -> tuple[str, int]:
    """Write the samples; return a digest of all that is imported, and the time of the last one."""
    digest = hashlib.sha256()
    same = msgspec.structs.replace(started, run_id="", artifact_dir=None, imported=None)
    for event in (same, *events):
        digest.update(encode_event(event))
    last_ms = 0
    with path.open("xb") as file:
        for snapshot in snapshots:
            line = encode_snapshot(snapshot)
            digest.update(line)
            file.write(line)
            last_ms = max(last_ms, snapshot.timestamp_ms)
        if not last_ms:
            path.unlink()
    return digest.hexdigest(), last_ms


def _names(name: str) -> Iterable[str]:
    yield name
    yield from (f"{name}-{number}" for number in range(2, MAX_NAMES))


def _holds(run_dir: Path, digest: str) -> bool:
    told: Any = first_line(run_dir).get("imported")
    imported = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    return bool(imported.get("digest") == digest)


def _fill(hidden: Path, run_dir: Path, events: Sequence[Event], last_ms: int) -> PipelineRunRecord:
    """Write everything of a run that will lie in `run_dir`."""
    told = list(events)
    started = told[0]
    if isinstance(started, RunStarted):
        told[0] = msgspec.structs.replace(
            started, run_id=run_dir.name, artifact_dir=str(run_dir.absolute())
        )
    fold = RunFold()
    for event in told:
        fold.apply(event)
    if fold.status not in TERMINAL_RUN:
        last_ns = max(*(event.time_unix_nano for event in told), last_ms * 1_000_000)
        told.append(
            RunRecovered(
                time_unix_nano=last_ns,
                trace_id=started.trace_id,
                span_id=fold.sessions.span_id,
                status="failed",
                result="error",
                reason=UNFINISHED,
                duration_seconds=fold.sessions.ran_until(last_ns),
            )
        )
        fold.apply(told[-1])
    paths = RunPaths(hidden)
    record = fold.record(
        telemetry=summarise(paths.telemetry), worker_telemetry=summarise_workers(paths.telemetry)
    )
    replace_atomically(paths.journal, b"".join(map(encode_event, told)), sync=True)
    write_derived(hidden, record)
    return record
