"""The original tracker's run directories: read as far as they go, and never rewritten.

Its journal repeats the whole record at every change, so the last one counts; recommendations and
performance tests stand between. `steps.json` holds the steps once more. A line that a full disk or
a kill cut off has the next one glued to it: that one is found again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from robot_sf_otel.manifest.codec import decode_raw
from robot_sf_otel.manifest.events import NANOSECONDS, rfc3339
from robot_sf_otel.manifest.schema import (
    Artifact,
    PipelineRunRecord,
    RunStatus,
    RunSummary,
    StepExecutionEntry,
    StepStatus,
)
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lines import MAX_LINE, bare, open_for_reading, read_whole
from robot_sf_otel.store.tail import YEAR_10000, is_too_deep, may_be_deep

if TYPE_CHECKING:
    from pathlib import Path

OLD_FORMAT: Final = "robot_sf"
"""Pipeline name and tag under which runs of the original tracker are listed."""
STEPS_FILE: Final = "steps.json"
"""Where it keeps the steps a second time."""

_RUN_STATUS: Final[dict[str, RunStatus]] = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
_STEP_STATUS: Final[dict[str, StepStatus]] = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "skipped": "skipped",
}
_AHEAD: Final = ("pending", "running", "skipped", "failed", "completed")
"""Of two accounts of a step the one that is further on is the later one."""
_BEGINNINGS: Final = (b'{"run_id"', b'{"recommendation"', b'{"perf_test"')
_GLUED: Final = 16
"""Records looked for in one line that cannot be read."""


@dataclass(slots=True, kw_only=True)
class OldStep:
    """A step as it was recorded; times in Unix nanoseconds by the wall clock."""

    step_id: str
    title: str
    order: int
    status: StepStatus
    started_ns: int | None = None
    ended_ns: int | None = None
    duration_seconds: float | None = None
    eta_seconds: float | None = None
    artifacts: list[str] = field(default_factory=list[str])


@dataclass(slots=True, kw_only=True)
class OldRun:
    """A run as it was recorded; `facts` is the last whole record, empty where there is none.

    Attributes:
        recorded_id: The run's id; the name of its folder where no record has one.
        status: What the record says, None where it says nothing that is known.
        problems: What could not be read, for people.
    """

    run_dir: Path
    facts: dict[str, Any]
    recorded_id: str
    status: RunStatus | None
    steps: list[OldStep]
    recommendations: list[dict[str, Any]]
    perf_tests: list[dict[str, Any]]
    problems: list[str]

    def text(self, name: str) -> str | None:
        """Return a field that is a text, None where it is none."""
        return _text(self.facts.get(name))

    def time_ns(self, name: str) -> int | None:
        """Return a field that is a time in Unix nanoseconds, None where it is none."""
        return _time_ns(self.facts.get(name))

    @property
    def enabled_steps(self) -> list[str]:
        """The ids of the steps that it was meant to run."""
        return [one for one in _list(self.facts.get("enabled_steps")) if isinstance(one, str)]

    @property
    def summary(self) -> dict[str, Any]:
        """What the pipeline itself recorded at its end."""
        return _dict(self.facts.get("summary"))


def is_old(run_dir: Path) -> bool:
    """Return whether a folder holds a run of the original tracker, without reading all of it."""
    for raw in _records(run_dir):
        if raw is not None:
            return "event" not in raw and bool(
                raw.keys() & {"run_id", "recommendation", "perf_test"}
            )
    return bool(_step_index(run_dir))


def read_old(run_dir: Path) -> OldRun | None:
    """Read a run of the original tracker, None where the folder holds none.

    Its files may be missing, empty, torn or of odd content, as long as one of them tells a run.
    """
    journal = _Journal()
    for raw in _records(run_dir):
        if raw is not None and "event" in raw:  # a journal of ours
            return None
        journal.take(raw)
    index = _step_index(run_dir)
    facts = journal.facts
    if not facts and not index:
        return None
    return OldRun(
        run_dir=run_dir,
        facts=facts,
        recorded_id=_text(facts.get("run_id")) or run_dir.name,
        status=_RUN_STATUS.get(_text(facts.get("status")) or ""),
        steps=_merged(_steps(facts.get("steps")), index or []),
        recommendations=journal.beside("recommendation"),
        perf_tests=journal.beside("perf_test"),
        problems=list(_problems(journal, has_index=index is not None)),
    )


class _Journal:
    """What was found in a journal: the last record, and what stands beside the records."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.damaged = 0
        self._beside: dict[str, list[dict[str, Any]]] = {"recommendation": [], "perf_test": []}

    def take(self, raw: dict[str, Any] | None) -> None:
        """Take a line in, None where it cannot be read."""
        if raw is None:
            self.damaged += 1
        elif isinstance(raw.get("run_id"), str):
            self.facts = raw
        else:
            for kind, found in self._beside.items():
                _add(found, raw.get(kind))

    def beside(self, kind: str) -> list[dict[str, Any]]:
        """Return all of a kind, those in the last record too."""
        found = list(self._beside[kind])
        for item in _list(self.facts.get(f"{kind}s")):
            _add(found, item)
        return found


def _problems(journal: _Journal, *, has_index: bool) -> Iterator[str]:
    if journal.damaged:
        lines = "1 line is" if journal.damaged == 1 else f"{journal.damaged} lines are"
        yield f"manifest.jsonl: {lines} torn or damaged and left out"
    if not journal.facts:
        yield f"manifest.jsonl has no readable record: the steps are those of {STEPS_FILE}"
    elif not has_index:
        yield f"{STEPS_FILE} is missing, empty or damaged"


def read_old_run(run_dir: Path) -> PipelineRunRecord | None:
    """Return what a list shows of a run of the original tracker, None where this is none.

    Its lock was none and its heartbeat stood in the same file, so a run that says `running` is
    shown as it says.
    """
    old = read_old(run_dir)
    if old is None or not old.facts:
        return None
    completed = [step.step_id for step in old.steps if step.status == "completed"]
    created, ended = old.time_ns("created_at"), old.time_ns("completed_at")
    seconds = None if created is None or ended is None else max(0, ended - created) / NANOSECONDS
    return PipelineRunRecord(
        run_id=run_dir.name,
        pipeline=OLD_FORMAT,
        tags=[OLD_FORMAT],
        status=old.status or "failed",
        created_at=_shown(created),
        completed_at=_shown(ended),
        duration_seconds=seconds,
        initiator=old.text("initiator"),
        scenario_config_path=old.text("scenario_config_path"),
        enabled_steps=old.enabled_steps,
        artifact_dir=str(run_dir),
        steps=[_entry(step) for step in old.steps],
        summary=RunSummary(
            total_duration_seconds=seconds,
            steps_completed=len(completed),
            steps_total=sum(step.status != "skipped" for step in old.steps),
            last_completed_step=completed[-1] if completed else None,
            running_steps=[step.step_id for step in old.steps if step.status == "running"],
        ),
    )


def _entry(step: OldStep) -> StepExecutionEntry:
    return StepExecutionEntry(
        step_id=step.step_id,
        display_name=step.title,
        order=step.order,
        status=step.status,
        started_at=_shown(step.started_ns),
        ended_at=_shown(step.ended_ns),
        duration_seconds=step.duration_seconds,
        eta_snapshot_seconds=step.eta_seconds,
        artifacts=[Artifact(path=path, step_id=step.step_id) for path in step.artifacts],
    )


def _records(run_dir: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the records of a journal, None for each line or part of one that cannot be read."""
    fd = open_for_reading(RunPaths(run_dir).journal)
    if fd is None:
        return
    with os.fdopen(fd, "rb") as file:
        while line := _next_line(file):
            line = bare(line.rstrip(b"\n"))
            if not line:
                continue
            raw = _decoded(line)
            yield raw
            if raw is None and (glued := _glued(line)) is not None:
                yield glued


def _next_line(file: Any) -> bytes:  # noqa: ANN401 - a buffered reader
    try:
        return cast("bytes", file.readline(MAX_LINE))
    except OSError:  # a bad sector, or a network file system that went away
        return b""


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        raw = decode_raw(line)
    except ValueError:  # invalid UTF-8
        return None
    return None if may_be_deep(line) and is_too_deep(raw) else raw


def _glued(line: bytes) -> dict[str, Any] | None:
    """Return the record that was written behind a torn one, None where there is none."""
    starts = sorted(start for beginning in _BEGINNINGS for start in _places(line, beginning))
    for start in starts:
        raw = _decoded(line[start:])
        if raw is not None:
            return raw
    return None


def _places(line: bytes, beginning: bytes) -> Iterator[int]:
    start = len(line)
    for _ in range(_GLUED):  # the last ones: what can be read ends with the line
        start = line.rfind(beginning, 1, start)
        if start < 1:
            return
        yield start


def _add(found: list[dict[str, Any]], item: object) -> None:
    """Take one in that is not there yet; the record repeats what stands beside it."""
    taken = _dict(item)
    if taken and taken not in found:
        found.append(taken)


def _step_index(run_dir: Path) -> list[OldStep] | None:
    """Return the steps of `steps.json`, None where it cannot be read."""
    document = read_whole(run_dir / STEPS_FILE, MAX_LINE)
    if not document:
        return None
    try:
        value: object = msgspec.json.decode(document)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return _steps(cast("object", value)) if isinstance(value, list) else None


def _merged(recorded: list[OldStep], index: list[OldStep]) -> list[OldStep]:
    """Return the steps of both accounts, of each the one that is further on."""
    steps = {step.step_id: step for step in recorded}
    for step in index:
        known = steps.get(step.step_id)
        if known is None or _AHEAD.index(step.status) > _AHEAD.index(known.status):
            steps[step.step_id] = step
    return sorted(steps.values(), key=lambda step: step.order)


def _steps(value: object) -> list[OldStep]:
    found = (_step(_dict(raw), place) for place, raw in enumerate(_list(value), start=1))
    return [step for step in found if step is not None]


def _step(raw: dict[str, Any], place: int) -> OldStep | None:
    step_id, status = _text(raw.get("step_id")), _STEP_STATUS.get(_text(raw.get("status")) or "")
    if not step_id or status is None:
        return None
    order = raw.get("order")
    return OldStep(
        step_id=step_id,
        title=_text(raw.get("display_name")) or step_id,
        order=order if isinstance(order, int) else place,
        status=status,
        started_ns=_time_ns(raw.get("started_at")),
        ended_ns=_time_ns(raw.get("ended_at")),
        duration_seconds=number(raw.get("duration_seconds")),
        eta_seconds=number(raw.get("eta_snapshot_seconds")),
        artifacts=[path for path in _list(raw.get("artifacts")) if isinstance(path, str)],
    )


def number(value: object, limit: float = YEAR_10000) -> float | None:
    """Return a number from 0 to below a limit, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < limit else None


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _dict(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _time_ns(value: object) -> int | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None or moment.tzinfo is None:
            return None
        seconds = moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return round(seconds * 1_000_000) * 1000 if 0 <= seconds < YEAR_10000 else None


def _shown(time_ns: int | None) -> str | None:
    return None if time_ns is None else rfc3339(time_ns)
