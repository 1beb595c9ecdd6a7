"""Runs of the original tracker as events and samples of ours, so that history is not lost.

Nothing is made up: what it did not record (host, commit, exit codes, why a run failed) stays
unknown, and figures that mean something else here get another name. Its predictions are left out:
they are sums of declared durations.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from robot_sf_otel.interop import robot_sf_findings as findings
from robot_sf_otel.interop.robot_sf_times import (
    JUMP_SECONDS,
    our_samples,
    seconds_of,
    usual_interval,
)
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import jsonable
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.manifest.schema import Artifact, ErrorInfo, PlanStep
from robot_sf_otel.redaction import Redactor
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.legacy import OLD_FORMAT, read_old
from robot_sf_otel.store.telemetry import iter_snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_sf_otel.manifest.events import Event
    from robot_sf_otel.manifest.schema import TelemetrySnapshot
    from robot_sf_otel.store.legacy import OldRun, OldStep

AnyEvent = TypeVar("AnyEvent", bound="Event")

PIPELINE: Final = "imitation"
"""What its runs count for where nobody says otherwise: it tracked this one pipeline."""
LIVE_SECONDS: Final = 60.0
"""A run that says `running` and was written to within this time is left alone: its tracker writes
every five seconds."""
NO_REASON: Final = "the original tracker recorded no reason; it calls an interrupted run failed too"
UNKNOWN_CAUSE: Final = (
    "the original tracker left it running: the process ended without a word, and the cause is "
    "unknown"
)
_ENDED: Final = {"completed": "success", "failed": "failure", "cancelled": "cancellation"}


class NotImportable(ValueError):  # noqa: N818 - said to people as it is
    """A folder holds no run that can be imported now; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A run of the original tracker in our terms, the same whenever it is read.

    Attributes:
        run_id: What the original tracker called it.
        events: Its journal, in order.
        samples: Its telemetry, in order.
        problems: What could not be read or had to be put right; events say so too.
    """

    run_id: str
    events: list[Event]
    samples: list[TelemetrySnapshot]
    problems: list[str]


def read_history(
    run_dir: Path,
    *,
    pipeline: str = PIPELINE,
    redact: Redactor | None = None,
    now: float | None = None,
) -> History:
    """Return a run of the original tracker as events and samples of ours; nothing is written.

    Args:
        run_dir: Its directory.
        pipeline: The pipeline that it counts for.
        redact: Masks secrets in its command line and summary.
        now: Unix seconds; tells whether it may still be running.

    Raises:
        NotImportable: The folder holds no such run, or it is still running.
    """
    old = read_old(run_dir)
    if old is None:
        raise NotImportable(f"{run_dir} holds no run of the original {OLD_FORMAT} tracker")
    age = _age(run_dir, time.time() if now is None else now)
    if old.status in {"running", "pending"} and age is not None and age < LIVE_SECONDS:
        raise NotImportable(
            f"{run_dir} was written to {age:.0f} s ago and seems to run: import it later"
        )
    return _Translation(old, pipeline, redact or Redactor()).history()


def _age(run_dir: Path, now: float) -> float | None:
    try:
        return max(0.0, now - RunPaths(run_dir).journal.stat().st_mtime)
    except OSError:
        return None


@dataclass(slots=True)
class _Timed:
    """A step on a clock that only goes forward."""

    step: OldStep
    started_ns: int
    seconds: float | None = None

    @property
    def ended_ns(self) -> int:
        """When it ended, Unix nanoseconds; of one that did not, when it began."""
        return self.started_ns + round((self.seconds or 0.0) * NANOSECONDS)


@dataclass(slots=True)
class _Translation:
    """One run on its way from one format to the other."""

    old: OldRun
    pipeline: str
    redact: Redactor
    problems: list[str] = field(default_factory=list[str])
    trace_id: str = ""

    def history(self) -> History:
        """Return the run in our terms."""
        old = self.old
        self.problems = list(old.problems)
        self.trace_id = _digest(old.recorded_id, str(old.facts.get("created_at")))[:32]
        recorded = list(iter_snapshots(RunPaths(old.run_dir).telemetry))
        if not recorded:
            self.problems.append("telemetry.jsonl is missing, empty or damaged")
        samples = list(our_samples(recorded))
        began = self._began(recorded)
        steps = self._timed(began, recorded)
        last_ns = max([began, *(timed.ended_ns for timed in steps)])
        end = self._end(began, last_ns, samples)
        events = [
            *self._opening(began),
            *(event for timed in steps for event in self._step(timed)),
            *self._beside(last_ns),
            end,
        ]
        return History(
            run_id=old.recorded_id, events=events, samples=samples, problems=self.problems
        )

    def _began(self, recorded: Sequence[TelemetrySnapshot]) -> int:
        began = self.old.time_ns("created_at")
        if began is not None:
            return began
        self.problems.append("when it began is not recorded: its first step or sample tells")
        times = [step.started_ns for step in self.old.steps if step.started_ns is not None]
        times += [sample.timestamp_ms * 1_000_000 for sample in recorded[:1]]
        return min(times, default=0)

    def _timed(self, began: int, recorded: Sequence[TelemetrySnapshot]) -> list[_Timed]:
        """Put the steps one after the other, as they ran; a clock that was set back does not."""
        interval = usual_interval(recorded)
        cursor = began
        found: list[_Timed] = []
        for step in self.old.steps:
            if step.status in {"pending", "skipped"}:
                continue
            timed = _Timed(step, max(step.started_ns or cursor, cursor))
            if step.status != "running":
                timed.seconds, problem = seconds_of(step, recorded, interval)
                self.problems += [problem] if problem else []
                cursor = timed.ended_ns
            found.append(timed)
        return found

    def _of(self, event: AnyEvent, step_id: str | None = None) -> AnyEvent:
        """Give an event its ids: those of a step, or of the run."""
        event.trace_id = self.trace_id
        event.span_id = self._span(step_id)
        return event

    def _span(self, step_id: str | None = None) -> str:
        return _digest(self.trace_id, step_id or "")[:16]

    def _opening(self, began: int) -> Iterator[Event]:
        old = self.old
        initiator = old.text("initiator")
        titles = {step.step_id: step.title for step in old.steps}
        planned = dict.fromkeys([*titles, *old.enabled_steps])
        started = e.RunStarted(
            time_unix_nano=began,
            run_id=old.recorded_id,
            pipeline=self.pipeline,
            initiator=None if initiator is None else self._masked(initiator),
            argv=self.redact.argv(_words(initiator or "")),
            scenario_config_path=old.text("scenario_config_path"),
            tags=[OLD_FORMAT],
            plan=[PlanStep(step_id=one, display_name=titles.get(one)) for one in planned],
        )
        yield self._of(started)
        summary = old.facts.get("summary")
        if isinstance(summary, dict):
            shown = jsonable(self.redact.mapping(cast("dict[str, Any]", summary)))
            yield self._of(e.ParamsLogged(time_unix_nano=began, summary=shown))
        for step in old.steps:
            if step.status == "skipped":
                when = max(began, step.started_ns or began)
                yield self._of(e.StepSkipped(time_unix_nano=when, step_id=step.step_id))

    def _masked(self, command: str) -> str:
        """Return a command line without secrets; one after a flag (`--password x`) is no text's."""
        words = _words(command)
        masked = self.redact.argv(words)
        return self.redact.text(command if masked == words else " ".join(masked))

    def _step(self, timed: _Timed) -> Iterator[Event]:
        step = timed.step
        started = e.StepStarted(
            time_unix_nano=timed.started_ns,
            step_id=step.step_id,
            display_name=step.title,
            parent_span_id=self._span(),
        )
        yield self._of(started, step.step_id)
        for path in map(self.redact.text, step.artifacts):
            artifact = Artifact(path=path, name=Path(path).name, step_id=step.step_id)
            logged = e.ArtifactLogged(time_unix_nano=timed.ended_ns, artifact=artifact)
            yield self._of(logged, step.step_id)
        if step.status == "running":
            return
        failed = step.status == "failed"
        finished = e.StepFinished(
            time_unix_nano=timed.ended_ns,
            status=step.status,
            result="failure" if failed else "success",
            duration_seconds=timed.seconds or 0.0,
            error=ErrorInfo(type="unknown", message=NO_REASON) if failed else None,
        )
        yield self._of(finished, step.step_id)

    def _beside(self, last_ns: int) -> Iterator[Event]:
        old = self.old
        made = findings.recommendations(old.recommendations, last_ns // 1_000_000)
        for recommendation in made:
            added = e.RecommendationAdded(time_unix_nano=last_ns, recommendation=recommendation)
            yield self._of(added)
        results = list(findings.perf_tests(old.perf_tests))
        if missing := len(old.perf_tests) - len(results):
            self.problems.append(f"{missing} performance tests have no result and are left out")
        for result in results:
            yield self._of(e.PerfTestRecorded(time_unix_nano=last_ns, result=result))
        for problem in self.problems:
            fault = e.TelemetryFault(time_unix_nano=last_ns, where="import", message=problem)
            yield self._of(fault)

    def _end(
        self, began: int, last_ns: int, samples: Sequence[TelemetrySnapshot]
    ) -> e.RunFinished | e.RunRecovered:
        old = self.old
        if old.status is None or old.status not in _ENDED:
            ended = max([last_ns, *(one.timestamp_ms * 1_000_000 for one in samples[-1:])])
            said = f"the original tracker recorded no status that is known ({old.text('status')!r})"
            recovered = e.RunRecovered(
                time_unix_nano=ended,
                status="failed",
                result="error",
                reason=UNKNOWN_CAUSE if old.status else said,
                duration_seconds=(ended - began) / NANOSECONDS,
            )
            return self._of(recovered)
        completed = old.time_ns("completed_at") or last_ns
        if completed < last_ns - JUMP_SECONDS * NANOSECONDS:
            self.problems.append("the clock was set back: the run ends with its last step")
        ended = max(last_ns, completed)
        finished = e.RunFinished(
            time_unix_nano=ended,
            status=old.status,
            result=_ENDED[old.status],
            duration_seconds=(ended - began) / NANOSECONDS,
            reason=NO_REASON if old.status == "failed" else None,
        )
        return self._of(finished)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote that is not closed
        return command.split()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()
