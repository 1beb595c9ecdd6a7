"""What a killed pipeline said, and what its record must therefore hold.

The pipeline says before each API call which events it will write, and afterwards that the call has
returned. So each journal must hold all events of the calls that returned, in order, and beyond
those at most a part of what the call under way writes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator

from robot_sf_otel.manifest.codec import decode_document
from robot_sf_otel.manifest.schema import FieldSummary, PipelineRunRecord
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.reader import fold_run, load_run, worker_journals
from robot_sf_otel.store.tail import iter_raw
from robot_sf_otel.store.telemetry import iter_snapshots, summarise
from tests.torture.victim import Said

SCHEMA: Final = Path(__file__).parents[2] / "docs" / "schema" / "pipeline_run_record.json"
_THREAD: Final = "probe-"
"""Steps of the pipeline's second thread are called like this."""
_TOP_LEVEL: Final = frozenset({"prepare", "collect", "train", "compare"})
_ENDS: Final = ("run_finished", "run_recovered")

Lane = tuple[int, str]
"""A process and one of its threads: what it reports has an order."""


@dataclass(slots=True)
class _Calls:
    """The events of one thread: those of calls that returned, and those of the one under way."""

    done: list[Said] = field(default_factory=list[Said])
    about: list[Said] = field(default_factory=list[Said])


@dataclass(slots=True)
class Told:
    """All that a pipeline and its child processes reported."""

    owner: int
    lanes: dict[Lane, _Calls] = field(default_factory=dict[Lane, _Calls])
    sampled: list[int] = field(default_factory=list[int])
    sampling: list[int] = field(default_factory=list[int])
    watchdog: int | None = None
    child: int | None = None
    joined: int | None = None
    calls: int = 0
    derived: int = 0

    def take(self, line: bytes) -> dict[str, Any]:
        """Take in one line of the pipe, and return it."""
        said: dict[str, Any] = json.loads(line)
        lane = self.lanes.setdefault((said["pid"], said.get("lane", "main")), _Calls())
        match said:
            case {"about": events}:
                lane.about = [(kind, name) for kind, name in events]
            case {"done": True}:
                lane.done += lane.about
                lane.about = []
                self.calls += 1
            case {"sampling": time_ms}:
                self.sampling.append(time_ms)
            case {"sampled": time_ms}:
                self.sampled.append(time_ms)
                self.sampling.remove(time_ms)
            case {"left_out": time_ms}:
                self.sampling.remove(time_ms)
            case {"deriving": _}:
                self.derived += 1
            case {"watchdog": pids}:
                self.watchdog = pids[0] if pids else None
            case {"child": pid}:
                self.child = pid
            case {"joined": code}:
                self.joined = code
            case _:
                pass
        return said

    def of(self, lane: Lane) -> _Calls:
        """Return the calls of a thread, none where it said nothing."""
        return self.lanes.get(lane, _Calls())

    @property
    def started(self) -> bool:
        """Whether the call that opens the run returned."""
        return ("run_started", "torture") in self.of((self.owner, "main")).done

    @property
    def opening(self) -> bool:
        """Whether the call that opens the run had begun."""
        lane = self.of((self.owner, "main"))
        return bool(lane.done) or ("run_started", "torture") in lane.about

    @property
    def finished(self) -> bool:
        """Whether the call that ends the run returned."""
        return ("run_finished", "completed") in self.of((self.owner, "main")).done

    @property
    def promised(self) -> int:
        """How many events and samples must be on the disk."""
        return sum(len(calls.done) for calls in self.lanes.values()) + len(self.sampled)


def on_disk(journal: Path) -> list[Said]:
    """Return the events of a journal that the pipeline reports, as it names them."""
    steps: dict[str, str] = {}
    found: list[Said] = []
    for raw in iter_raw(journal):
        kind = str(raw["event"])
        if kind == "step_started":
            steps[raw["span_id"]] = raw["step_id"]
        name = _name(kind, raw, steps)
        if name is not None:
            found.append((kind, name))
    return found


def _name(kind: str, raw: dict[str, Any], steps: dict[str, str]) -> str | None:  # noqa: PLR0911 - one case an event
    match kind:
        case "run_started":
            return str(raw["pipeline"])
        case "step_started" | "step_skipped":
            return str(raw["step_id"])
        case "step_finished":
            return steps.get(raw["span_id"], "?")
        case "plan_changed":
            return ",".join(step["step_id"] for step in raw["plan"])
        case "artifact_logged":
            # Its digest comes later, from the owner's own thread: nobody reported that.
            return None if raw["artifact"].get("sha256") else str(raw["artifact"]["name"])
        case "metric_logged":
            return f"{steps.get(raw['span_id'], '?')}: {raw['metrics'].get('reward')}"
        case "params_logged":
            number = raw.get("params", {}).get("number")
            return None if number is None else str(number)
        case "run_finished":
            return str(raw["status"])
        case _:
            return None


def lost_events(run_dir: Path | None, told: Told) -> list[str]:
    """Return which events are missing, out of order, or there without having been reported."""
    problems: list[str] = []
    for (pid, lane), calls in told.lanes.items():
        journal = _journal(run_dir, told, pid)
        found = on_disk(journal) if journal is not None else []
        mine = [said for said in found if said[1].startswith(_THREAD) == (lane == "thread")]
        extra = mine[len(calls.done) :]
        if mine[: len(calls.done)] != calls.done or extra != calls.about[: len(extra)]:
            problems.append(
                f"journal of {pid} {lane}: reported {calls.done[-3:]} + {calls.about}, "
                f"{len(calls.done)} in all; found {len(mine)}: … {mine[-5:]}"
            )
    return problems


def _journal(run_dir: Path | None, told: Told, pid: int) -> Path | None:
    if run_dir is None:
        return None
    if pid == told.owner:
        return RunPaths(run_dir).journal
    return next((path for path in worker_journals(run_dir) if f"-{pid}-" in path.name), None)


def lost_samples(run_dir: Path | None, told: Told) -> list[str]:
    """Return what is wrong with the samples: all that were written, but for the one under way."""
    path = None if run_dir is None else RunPaths(run_dir).telemetry
    found = [] if path is None else [sample.timestamp_ms for sample in iter_snapshots(path)]
    # The monitor and the end of the run sample in two threads.
    missing = Counter(told.sampled) - Counter(found)
    added = Counter(found) - Counter(told.sampled) - Counter(told.sampling)
    return _differences({"samples lost": (missing, Counter()), "added": (added, Counter())})


def ends_of(run_dir: Path) -> list[str]:
    """Return the kinds of the events that ended the run."""
    kinds = (str(raw["event"]) for raw in iter_raw(RunPaths(run_dir).journal))
    return [kind for kind in kinds if kind in _ENDS]


def wrong_record(run_dir: Path, told: Told, *, child_killed: bool) -> list[str]:
    """Return what is wrong with the record of a run that was closed.

    Args:
        run_dir: Where it lies.
        told: What was reported.
        child_killed: Whether the child process was killed in a step, and the pipeline was not.
    """
    record = load_run(run_dir).record
    journal = on_disk(RunPaths(run_dir).journal)
    completed = ("run_finished", "completed") in journal
    status = "completed" if completed else "failed"
    problems = _differences(
        {
            "ends": (ends_of(run_dir), ["run_finished" if completed else "run_recovered"]),
            "status": (record.status, status),
            "completed_at": (record.completed_at is not None, True),
            "last completed step": (record.summary.last_completed_step, _last_completed(journal)),
            "running steps": (record.summary.running_steps, []),
            "artifacts": (
                [artifact.name for artifact in record.artifacts],
                [name for kind, name in journal if kind == "artifact_logged"],
            ),
            "run id": (record.run_id, run_dir.name),
        }
    )
    if told.finished and not completed:
        problems.append("the end was reported, and is not in the journal")
    problems += _wrong_steps(record, run_dir, journal, child_killed=child_killed)
    # Killed between its last event and the file: whoever reads the run folds the journal.
    between = completed and not told.finished
    return problems + _wrong_documents(run_dir, record, may_lag=between)


def _differences(pairs: dict[str, tuple[object, object]]) -> list[str]:
    return [
        f"{what}: {found!r} instead of {expected!r}"
        for what, (found, expected) in pairs.items()
        if found != expected
    ]


def _last_completed(journal: Iterable[Said]) -> str | None:
    ended = [name for kind, name in journal if kind == "step_finished" and name in _TOP_LEVEL]
    return ended[-1] if ended else None


def _wrong_steps(
    record: PipelineRunRecord, run_dir: Path, journal: list[Said], *, child_killed: bool
) -> list[str]:
    """Check each execution: those that ended before the run completed, the others failed."""
    end = next(raw for raw in iter_raw(RunPaths(run_dir).journal) if raw["event"] in _ENDS)
    begun: dict[str, str] = {}
    ended: set[str] = set()
    for path in (RunPaths(run_dir).journal, *worker_journals(run_dir)):
        for raw in iter_raw(path):
            if raw["event"] == "step_started":
                begun[raw["span_id"]] = raw["step_id"]
            elif raw["event"] == "step_finished" and raw["time_unix_nano"] <= end["time_unix_nano"]:
                ended.add(raw["span_id"])
    expected = {span: "completed" if span in ended else "failed" for span in begun}
    found = {step.span_id: step.status for step in record.steps if step.span_id is not None}
    problems = _differences({"steps": (found, expected)})
    skipped = [step.step_id for step in record.steps if step.status == "skipped"]
    wanted = [name for kind, name in journal if kind == "step_skipped"]
    problems += _differences({"skipped": (skipped, wanted)})
    if child_killed:
        lost = [raw for raw in iter_raw(RunPaths(run_dir).journal) if raw["event"] == "worker_lost"]
        failed = [step for step in record.steps if step.status == "failed"]
        if len(lost) != bool(failed) or any(step.process != lost[0]["process"] for step in failed):
            problems.append(f"{len(lost)} worker_lost for {[step.step_id for step in failed]}")
    return problems


def _wrong_documents(run_dir: Path, record: PipelineRunRecord, *, may_lag: bool) -> list[str]:
    """Compare manifest.json with its schema, and with the fold of the journals."""
    paths = RunPaths(run_dir)
    document = paths.record.read_bytes()
    validator: Any = Draft202012Validator(json.loads(SCHEMA.read_bytes()))
    problems = [
        f"manifest.json, {'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in validator.iter_errors(json.loads(document))
    ]
    written = decode_document(document, PipelineRunRecord)
    fold, damage = fold_run(run_dir)
    folded = fold.record(telemetry=record.telemetry, self_cost=record.self_cost)
    problems += _unequal("the loaded record", record, folded)
    # A child process that lives on may write later than the one who closed its run.
    journals = [paths.journal, *worker_journals(run_dir)]
    lags = may_lag and written.status == "running"
    if not lags and all(
        path.stat().st_mtime_ns <= paths.record.stat().st_mtime_ns for path in journals
    ):
        folded = fold.record(telemetry=written.telemetry, self_cost=written.self_cost)
        problems += _unequal("manifest.json", written, folded)
    if record.status == "completed":
        problems += damage
    return problems + wrong_figures(paths.telemetry, written.telemetry)


def _unequal(what: str, one: PipelineRunRecord, other: PipelineRunRecord) -> list[str]:
    found: dict[str, Any] = msgspec.to_builtins(one)
    folded: dict[str, Any] = msgspec.to_builtins(other)
    return [
        f"{what} is not the fold of the journals: {name}: {found[name]!r}, {folded[name]!r}"
        for name in found
        if found[name] != folded[name]
    ]


def wrong_figures(telemetry: Path, figures: dict[str, FieldSummary]) -> list[str]:
    """Compare figures of the samples with those of the file; sums may differ in the last digit."""
    shown, exact = (
        {name: (f.count, f.maximum, f.p95, round(f.mean, 6)) for name, f in summary.items()}
        for summary in (figures, summarise(telemetry))
    )
    return _differences({f"figures of {name}": (shown.get(name), exact[name]) for name in exact})
