"""Reading a run: the fold over its journals, with what is wrong with them said beside."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from robot_sf_otel.manifest.codec import decode_document
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import (
    SCHEMA_VERSION,
    TERMINAL_RUN,
    PipelineRunRecord,
    RunStatus,
    StepExecutionEntry,
)
from robot_sf_otel.store.journal import JournalTail, iter_raw
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lock import owner_state
from robot_sf_otel.store.telemetry import iter_snapshots, summarise

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import TelemetrySnapshot

LOST: Final = "the process that ran it is gone and did not close the record"
OLD_FORMAT: Final = "robot_sf"
"""Pipeline name and tag under which runs of the original tracker are listed."""


class UnreadableRun(ValueError):  # noqa: N818 - a state of the run, not of the caller
    """A directory holds no run that can be read; the message says why."""


class LoadedRun:
    """A run as it was when it was loaded; `problems` says what could not be read.

    Every field of its record is an attribute here too, but for `telemetry`, which is a method that
    yields the samples; `record.telemetry` holds their summary.
    """

    def __init__(self, run_dir: Path, record: PipelineRunRecord, problems: list[str]) -> None:
        """Keep what was read."""
        self.run_dir = run_dir
        self.record = record
        self.problems = problems

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the type of the record's field
        """Return a field of the record.

        Raises:
            AttributeError: The record has no such field.
        """
        if name == "record":  # not set yet: while a copy is being made
            raise AttributeError(name)
        return getattr(self.record, name)

    def telemetry(self) -> Iterator[TelemetrySnapshot]:
        """Yield the samples, oldest first."""
        return iter_snapshots(RunPaths(self.run_dir).telemetry)

    def journal(self) -> Iterator[dict[str, Any]]:
        """Yield the events of all journals in order of time, with every field that they have."""
        paths = RunPaths(self.run_dir)
        journals = [iter_raw(path) for path in (paths.journal, *worker_journals(self.run_dir))]
        return heapq.merge(*journals, key=_time_of)


def _time_of(raw: dict[str, Any]) -> int:
    value = raw.get("time_unix_nano")
    return value if isinstance(value, int) else 0


def worker_journals(run_dir: Path) -> list[Path]:
    """Return the journals of child processes, links left out, in a fixed order."""
    try:
        found = sorted(RunPaths(run_dir).workers.iterdir())
    except OSError:
        return []
    return [path for path in found if path.suffix == ".jsonl" and not path.is_symlink()]


def fold_run(run_dir: Path) -> tuple[RunFold, list[str]]:
    """Fold all journals of a run; return the fold and what could not be read."""
    fold = RunFold()
    problems: list[str] = []
    for path in (RunPaths(run_dir).journal, *worker_journals(run_dir)):
        tail = JournalTail(path)
        for event in tail.read():
            fold.apply(event)
        if tail.bad_lines:
            problems.append(f"{path.name}: {tail.bad_lines} lines are damaged and were skipped")
        if tail.torn:
            problems.append(f"{path.name}: the last line is incomplete and was ignored")
    return fold, problems


def load_run(run_dir: Path) -> LoadedRun:
    """Read a run, whatever state it is in; nothing is written.

    A run whose process is gone without a closing event is shown as `failed`.

    Raises:
        UnreadableRun: The directory holds no run.
    """
    written = _written_record(run_dir)
    if written is not None and _is_final(run_dir, written):
        return LoadedRun(run_dir, written, _version_problem(written))
    fold, problems = fold_run(run_dir)
    if fold.started is None:
        old = _old_format(run_dir)
        if old is None:
            raise UnreadableRun(f"{run_dir} holds no run: no readable start in manifest.jsonl")
        return LoadedRun(run_dir, old, [f"recorded by the original {OLD_FORMAT} tracker"])
    figures = written.telemetry if written is not None else summarise(RunPaths(run_dir).telemetry)
    cost = written.self_cost if written is not None else None
    record = fold.record(telemetry=figures, self_cost=cost)
    if record.status == "running" and owner_state(run_dir, time.time()) == "dead":
        _mark_lost(record)
    return LoadedRun(run_dir, record, problems)


def _written_record(run_dir: Path) -> PipelineRunRecord | None:
    try:
        return decode_document(RunPaths(run_dir).record.read_bytes(), PipelineRunRecord)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError):
        return None


def _is_final(run_dir: Path, record: PipelineRunRecord) -> bool:
    """Return whether manifest.json is terminal and no journal was written after it."""
    if record.status not in TERMINAL_RUN:
        return False
    paths = RunPaths(run_dir)
    try:
        written = paths.record.stat().st_mtime_ns
        journals = [paths.journal, *worker_journals(run_dir)]
        return all(path.stat().st_mtime_ns <= written for path in journals)
    except OSError:
        return False


def _version_problem(record: PipelineRunRecord) -> list[str]:
    if record.schema_version <= SCHEMA_VERSION:
        return []
    return [f"written by a newer version (schema {record.schema_version}); parts may be missing"]


def _mark_lost(record: PipelineRunRecord) -> None:
    record.status = "failed"
    record.status_reason = LOST
    for entry in record.steps:
        if entry.status == "running":
            entry.status = "failed"
    record.summary.running_steps = []


_OLD_STATUS: Final[dict[object, RunStatus]] = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


def _old_format(run_dir: Path) -> PipelineRunRecord | None:
    """Return a record of the original tracker, whose journal repeats the whole run each time."""
    last: dict[str, Any] | None = None
    for raw in iter_raw(RunPaths(run_dir).journal):
        if "event" not in raw and isinstance(raw.get("run_id"), str):
            last = raw
    if last is None:
        return None
    steps: list[StepExecutionEntry] = []
    snapshots: list[object] = last.get("steps") or []
    for raw in snapshots:
        try:
            steps.append(msgspec.convert(raw, StepExecutionEntry))
        except msgspec.ValidationError:
            continue
    status = _OLD_STATUS.get(last.get("status"), "failed")
    created, completed = last.get("created_at"), last.get("completed_at")
    return PipelineRunRecord(
        run_id=run_dir.name,
        pipeline=OLD_FORMAT,
        tags=[OLD_FORMAT],
        status=status,
        created_at=created if isinstance(created, str) else None,
        completed_at=completed if isinstance(completed, str) else None,
        artifact_dir=str(run_dir),
        steps=steps,
    )
