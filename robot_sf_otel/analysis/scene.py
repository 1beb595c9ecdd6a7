"""What the rules look at besides readings: running steps, their progress, the machine."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from robot_sf_otel.analysis.past import NO_PAST, Past
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.events import NANOSECONDS

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.manifest.schema import SelfCost, StepStatus, TelemetrySnapshot

SPACING: Final = 5.0
"""Seconds between two marks of progress: at a sample a second a rate over them is 20 % right."""
WARM_UP: Final = 6
"""Spacings at the start of a step that say nothing of its rate: 30 s."""
_MARKS: Final = 128
_EARLY: Final = 60
_EARLY_SPACING: Final = 0.5
MAX_STEPS: Final = 1_000
"""Running steps that are followed; more are those of a program that never ends them."""

Mark = tuple[float, float]
"""Unix seconds and the units done by then, at a moment when a unit had just been completed."""


class Pause(NamedTuple):
    """A time in which a step made no progress; Unix seconds."""

    start: float
    end: float
    longest_before: float
    done: float
    changes: int


@dataclass(slots=True, eq=False)
class Step:
    """An execution of a step as the rules see it; times are Unix seconds."""

    step_id: str
    title: str
    span_id: str | None
    parent_span_id: str | None
    started: float
    process: str | None = None
    unit: str = "it"
    total: float | None = None
    baseline_rate: float | None = None
    top_level: bool = True
    done: float = 0
    changes: int = 0
    """How often progress was seen to have grown."""
    first_change: float = 0.0
    last_change: float = 0.0
    longest_gap: float = 0.0
    """Longest time between two changes so far, in seconds."""
    ended: float | None = None
    status: StepStatus = "running"
    duration: float | None = None
    early: list[Mark] = field(default_factory=list[Mark])
    marks: deque[Mark] = field(default_factory=lambda: deque[Mark](maxlen=_MARKS))
    warm: Mark | None = None
    """The first mark after the warm-up."""
    spacing: float = SPACING
    fell: bool = False
    """Whether the last report was of less than the one before it."""
    pause: Pause | None = None
    """The last pause that was longer than any before it."""

    def advance(self, now: float, done: float, total: float | None) -> None:
        """Note how far the step is; `now` is Unix seconds."""
        if total is not None:
            self.total = total
        if done < self.done and not self.fell:
            self.fell = True  # a late report, perhaps: the next one tells
            return
        fell, self.fell = self.fell, False
        if done == self.done:
            return
        if done < self.done and fell:  # it counts from the beginning again
            self.early.clear()
            self.marks.clear()
            self.warm = None
            self.changes = 0
        before, self.done = self.done, done
        if self.changes == 0:
            self.first_change = now
        else:
            gap = now - self.last_change
            if gap > self.longest_gap:
                self.pause = Pause(self.last_change, now, self.longest_gap, before, self.changes)
                self.longest_gap = gap
        self.changes += 1
        self.last_change = now
        if len(self.early) < _EARLY and (
            not self.early or now - self.early[-1][0] >= _EARLY_SPACING
        ):
            self.early.append((now, done))
        if not self.marks or now - self.marks[-1][0] >= self.spacing:
            self.marks.append((now, done))
        if self.warm is None and now >= self.started + WARM_UP * self.spacing:
            self.warm = (now, done)

    def recent_rates(self, seconds: float, count: int) -> tuple[list[float], float, float]:
        """Return the rates between the last marks, after the warm-up, and from when to when.

        As many as reach back `seconds` and are at least `count`; fewer where there are not.
        """
        if self.warm is None:
            return [], 0.0, 0.0
        marks = [mark for mark in self.marks if mark[0] >= self.warm[0]]
        first = len(marks) - 1
        while first > 0 and (
            marks[-1][0] - marks[first][0] < seconds or len(marks) - 1 - first < count
        ):
            first -= 1
        used = marks[first:]
        if len(used) < 2:  # noqa: PLR2004 - a rate takes two
            return [], 0.0, 0.0
        return rates(used), used[0][0], used[-1][0]

    def overall_rate(self, shortest: float) -> tuple[float, float, float, int] | None:
        """Return the mean rate without warm-up and first unit, from when to when, and the marks.

        Without the first 30 s; of a step that is too short for that without its first fifth.
        None where less than `shortest` seconds are left, or less than three changes.
        """
        if self.changes < 3:  # noqa: PLR2004 - said above
            return None
        last = (self.last_change, self.done)
        if self.warm is not None and last[0] - self.warm[0] >= 2 * shortest:
            first, count = self.warm, len(self.marks)
        else:
            begin = self.started + (last[0] - self.started) / 5
            first = next((mark for mark in self.early if mark[0] >= begin), last)
            count = len(self.early)
        seconds = last[0] - first[0]
        if seconds < shortest or last[1] <= first[1]:
            return None
        return (last[1] - first[1]) / seconds, first[0], last[0], count

    def remaining_seconds(self) -> float | None:
        """Return how long its rest will take at its present rate, None where unknown."""
        if self.total is None or self.done >= self.total or len(self.marks) < 3:  # noqa: PLR2004 - two rates
            return None
        found, _, _ = self.recent_rates(60.0, 4)
        rate = median(found or rates(list(self.marks)))
        return (self.total - self.done) / rate if rate > 0 else None


def rates(marks: list[Mark]) -> list[float]:
    """Return the units a second between each two marks."""
    return [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise(marks)]


class Scene:
    """What is known at a moment, kept up to date by the events of the run.

    Args:
        past: Earlier runs.
        spacing: Seconds between two marks of a step's progress.
    """

    def __init__(self, past: Past = NO_PAST, spacing: float = SPACING) -> None:
        self.past = past
        self._spacing = spacing
        self.now = 0.0
        """Unix seconds of the last sample or event."""
        self.started = 0.0
        self.running: dict[str, Step] = {}
        self.sole: Step | None = None
        """The only running top-level step; None where none runs or several."""
        self.cpu_count: float | None = None
        """CPUs of the host."""
        self.usable_cpus: float | None = None
        """CPUs that the run may use."""
        self.memory_total_mb: float | None = None
        self.gpu_total_mb: dict[int, float] = {}
        self.gpu_names: dict[int, str] = {}
        self.gpu_first_used_mb: dict[int, float] = {}
        """What was in use when the run began, by whomever."""
        self.cost: SelfCost | None = None
        self.had_steps = False
        self.slow_steps: set[str] = set()
        """Steps of which `throughput_drop` has spoken."""
        self._predicted_end: float | None = None

    def apply(self, event: e.Event) -> Step | None:  # noqa: C901 - one case an event, nothing else
        """Take an event in; return the step that it ended."""
        now = event.time_unix_nano / NANOSECONDS
        match event:
            case e.RunStarted():
                self.started = self.started or now
            case e.StepStarted():
                self._start(event, now)
            case e.StepProgress():
                step = self.running.get(event.span_id or "")
                if step is not None:
                    step.advance(now, event.progress.done, event.progress.total)
            case e.StepFinished():
                return self._finish(event, now)
            case e.ParamsLogged():
                self.learn(event.host)
            case e.WorkerLost():
                self._forget(event.process)
            case e.RunResumed():
                self._forget(None)
            case e.EtaShown():
                remaining = event.eta.remaining_seconds
                self._predicted_end = None if remaining is None else now + remaining
            case e.RunFinished():
                self.cost = event.self_cost or self.cost
            case _:
                pass
        return None

    def _start(self, event: e.StepStarted, now: float) -> None:
        if len(self.running) >= MAX_STEPS:
            return
        key = event.span_id or f"{event.step_id}@{event.time_unix_nano}"
        self.had_steps = True
        self.running[key] = Step(
            step_id=event.step_id,
            title=event.display_name or event.step_id,
            span_id=event.span_id,
            parent_span_id=event.parent_span_id,
            started=now,
            process=event.process,
            unit=event.unit,
            total=event.total,
            baseline_rate=event.baseline_rate,
            spacing=self._spacing,
            top_level=(event.parent_span_id or "") not in self.running,
        )
        self._find_sole()

    def _finish(self, event: e.StepFinished, now: float) -> Step | None:
        step = self.running.pop(event.span_id or "", None)
        if step is None:
            return None
        if event.progress is not None:
            step.advance(now, event.progress.done, event.progress.total)
            step.unit = event.progress.unit
        step.ended = now
        step.status = event.status
        step.duration = event.duration_seconds
        self._find_sole()
        return step

    def _forget(self, process: str | None) -> None:
        """Let go of the steps of a process that is gone; of all where None is given."""
        self.running = {
            key: step
            for key, step in self.running.items()
            if process is not None and step.process != process
        }
        self._find_sole()

    def _find_sole(self) -> None:
        top = [step for step in self.running.values() if step.top_level]
        self.sole = top[0] if len(top) == 1 else None

    def learn(self, host: dict[str, Any]) -> None:
        """Take in the facts of the host, as the record has them."""
        self.cpu_count = _number(host.get("cpu_count")) or self.cpu_count
        self.usable_cpus = _number(host.get("usable_cpus")) or self.usable_cpus
        self.memory_total_mb = _number(host.get("memory_total_mb")) or self.memory_total_mb

    def progress(self, sample: TelemetrySnapshot) -> None:
        """Take the progress of the running steps from a sample."""
        self.now = now = sample.timestamp_ms / 1000
        if sample.steps:
            for one in sample.steps:
                step = self.running.get(one.span_id or "")
                if step is not None:
                    step.advance(now, one.done, one.total)
        elif sample.progress_done is not None:
            step = next(
                (one for one in self.running.values() if one.step_id == sample.step_id), None
            )
            if step is not None:
                step.advance(now, sample.progress_done, sample.progress_total)

    def observe(self, frame: Frame) -> None:
        """Learn what follows from a frame: how many CPUs the run may use, what GPUs there are."""
        cores, share = frame.cpu_cores_process, frame.cpu_percent_process
        if cores is not None and share is not None and 5 <= share < 99.9:  # noqa: PLR2004 - above it is capped, below it is rounded
            usable = min(cores / share * 100, self.cpu_count or inf)
            if self.usable_cpus is None or abs(usable / self.usable_cpus - 1) > 0.1:  # noqa: PLR2004 - affinity or quota changed
                self.usable_cpus = round(usable, 2)
        for gpus in frame.gpus:
            for gpu in gpus:
                if gpu.mem_total_mb is not None:
                    self.gpu_total_mb[gpu.index] = gpu.mem_total_mb
                if gpu.name is not None:
                    self.gpu_names[gpu.index] = gpu.name
                if gpu.mem_used_mb is not None:
                    self.gpu_first_used_mb.setdefault(gpu.index, gpu.mem_used_mb)

    @property
    def sees_all_cpus(self) -> bool:
        """Whether the run may use every CPU of the host, so that the host's load is its own."""
        if self.cpu_count is None or self.usable_cpus is None:
            return False
        return self.usable_cpus >= self.cpu_count * 0.98

    def busy_percent(self, frame: Frame) -> float | None:
        """Return how busy the CPUs are that the run may use: by all who share them, if known."""
        if self.sees_all_cpus and frame.cpu_percent_system is not None:
            return max(frame.cpu_percent_system, frame.cpu_percent_process or 0.0)
        return frame.cpu_percent_process

    def gpu_held_mb(self, frame: Frame) -> float:
        """Return the GPU memory that the run holds, as far as it can be told, in MiB.

        As the driver says; in containers, where it does not, what was added since the run began.
        """
        if not frame.gpus:
            return 0.0
        return sum(
            gpu.run_mem_used_mb
            if gpu.run_mem_used_mb is not None
            else max(0.0, (gpu.mem_used_mb or 0.0) - self.gpu_first_used_mb.get(gpu.index, 0.0))
            for gpu in frame.gpus[-1]
        )

    def remaining_seconds(self) -> float | None:
        """Return the time to the predicted end of what runs now, None where unknown.

        By the progress of the running step, else by the run's ETA as it was last shown.
        """
        found = [step.remaining_seconds() for step in self.running.values()]
        known = [seconds for seconds in found if seconds is not None]
        if known:
            return max(known)
        return None if self._predicted_end is None else max(0.0, self._predicted_end - self.now)

    def works(self) -> bool | None:
        """Return whether a step made progress in the last half minute, None if none reports any."""
        counted = [step for step in self.running.values() if step.changes]
        if not counted:
            return None
        return any(self.now - step.last_change <= 30 for step in counted)  # noqa: PLR2004 - said above


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    return None
