"""Rules of a step's time: standing still, and longer than ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from robot_sf_otel.analysis.rules.base import MAX_STEPS, Finding, Rule, Thresholds
from robot_sf_otel.manifest.formats import coarse_duration, number

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity


class StalledThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `stalled`."""

    seconds: Annotated[
        float, Meta(ge=1, description="Without progress and idle, at least this long.")
    ] = 60.0
    times: Annotated[
        float, Meta(ge=1, description="And so many times the longest pause of the step so far.")
    ] = 10.0
    busy_seconds: Annotated[
        float, Meta(ge=1, description="Without progress while something is computed.")
    ] = 900.0
    idle_cores: Annotated[float, Meta(ge=0, description="CPUs below which the run is idle.")] = 0.1
    critical_seconds: Annotated[
        float, Meta(ge=1, description="Idle without progress: critical.")
    ] = 1800.0
    changes: Annotated[
        int, Meta(ge=2, description="Times that progress must have grown before.")
    ] = 5


class Stalled(Rule[StalledThresholds]):
    """A step that knows how much it has to do makes no progress any more."""

    id = "stalled"
    needs = ("progress", "cpu_cores_process")
    fires = (
        "A step with a total, whose progress had grown {changes} times, is idle (below "
        "{idle_cores} CPUs, no GPU, no disk) and makes none for {seconds} s and {times} times its "
        "longest pause so far; or for {busy_seconds} s while something is computed. Warning; idle "
        "for {critical_seconds} s critical."
    )
    reason = "A deadlock or a lost worker holds the machine until somebody looks."
    source = "The pauses of the step itself; an evaluation computes, a deadlock does not"
    blind = (
        "Steps without a total (they may wait for work by design), a step that never began to "
        "make progress, and busy waiting, until it lasts."
    )
    thresholds = StalledThresholds

    def __init__(self, limits: StalledThresholds) -> None:
        super().__init__(limits)
        self._said: dict[str, Severity] = {}
        self._idle_since: float | None = None

    def on_break(self) -> None:
        self._idle_since = None

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        if not scene.running:
            self._idle_since = None
            return ()
        cores = frame.cpu_cores_process
        idle = (
            cores is not None
            and cores < self.limits.idle_cores
            and (frame.gpu_util_percent or 0.0) < 5  # noqa: PLR2004 - a flicker
            and (frame.disk_mb_s or 0.0) < 1
        )
        if not idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = frame.start
        found: list[Finding] = []
        for step in scene.running.values():
            # What stands so briefly is not looked at further: nearly always.
            if frame.end - step.last_change >= self.limits.seconds:
                found += self._judge(step, frame, cores)
        return found

    def _judge(self, step: Step, frame: Frame, cores: float | None) -> Iterable[Finding]:
        limits = self.limits
        if step.changes < limits.changes or step.total is None or step.done >= step.total:
            return ()
        pause = frame.end - step.last_change
        idle = 0.0 if self._idle_since is None else frame.end - self._idle_since
        needed = max(limits.seconds, limits.times * step.longest_gap)
        # Some of the pause may be work that came before: the last unit's, a checkpoint's.
        stands = idle >= min(pause, needed) * 0.9 and pause >= needed
        turns = pause >= max(limits.busy_seconds, limits.times * step.longest_gap)
        if not stands and not turns:
            return ()
        threshold = needed if stands else limits.busy_seconds
        worst = stands and pause >= limits.critical_seconds
        severity: Severity = "critical" if worst else "warning"
        said = self._said.get(step.step_id)
        if said in {severity, "critical"} or (said is None and len(self._said) >= MAX_STEPS):
            return ()
        self._said[step.step_id] = severity
        doing = "nothing is computed" if stands else f"{cores or 0.0:.1f} CPUs are busy"
        return (
            Finding(
                severity=severity,
                step=step,
                message=(
                    f"Step {step.step_id} stands at {number(step.done)} of {number(step.total)} "
                    f"{step.unit} for {coarse_duration(pause)}, its longest pause was "
                    f"{coarse_duration(step.longest_gap)}; {doing}"
                ),
                actions=(
                    (
                        "See where it is: `py-spy dump --pid PID`, or `faulthandler.register"
                        "(signal.SIGUSR1)` in the program and `kill -USR1 PID`"
                    ),
                    "A lost worker, a full queue, a lock and a network that does not answer are "
                    "the usual causes; `robot-sf-otel stop` ends the run"
                    if stands
                    else "If long units are meant, report progress within them",
                ),
                evidence={
                    "metric": "seconds_without_progress",
                    "value": round(pause, 1),
                    "threshold": round(threshold, 1),
                    "unit": "s",
                    "window_start": step.last_change,
                    "window_end": frame.end,
                    "samples": max(frame.samples, round(pause / frame.seconds * frame.samples)),
                    "done": step.done,
                    "longest_pause_seconds": round(step.longest_gap, 1),
                    "cpu_cores": None if cores is None else round(cores, 2),
                },
            ),
        )


class SlowerThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `step_slower_than_history`."""

    runs: Annotated[int, Meta(ge=2, description="Comparable runs that there must be.")] = 3
    percent: Annotated[float, Meta(ge=1, description="Longer than their median, in %.")] = 50.0
    spreads: Annotated[
        float, Meta(ge=1, description="And so many robust standard deviations longer.")
    ] = 4.0
    seconds: Annotated[float, Meta(ge=0, description="And so many seconds longer.")] = 30.0


class StepSlowerThanHistory(Rule[SlowerThresholds]):
    """A step takes longer than it ever did."""

    id = "step_slower_than_history"
    needs = ()
    fires = (
        "A top-level step takes {percent} %, {spreads} robust standard deviations and {seconds} s "
        "longer than the median of at least {runs} comparable runs with as much to do. Warning, "
        "as soon as it does; none where `throughput_drop` says it already."
    )
    reason = "Steps without progress have no rate; their duration tells the same."
    source = "Median and MAD: Hampel, “The influence curve”, 1974; factor 1.4826 for normal values"
    blind = "Work that grew without a total or a parameter that says so."
    thresholds = SlowerThresholds

    def __init__(self, limits: SlowerThresholds) -> None:
        super().__init__(limits)
        self._said: set[str] = set()
        self._limit_of: dict[str, tuple[float, float, int] | None] = {}

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        found: list[Finding] = []
        for step in scene.running.values():
            if step.top_level:
                found += self._judge(step, frame.end - step.started, frame.end, scene)
        return found

    def on_step_end(self, step: Step, scene: Scene) -> Iterable[Finding]:
        if not step.top_level or step.duration is None:
            return ()
        return self._judge(step, step.duration, step.ended or scene.now, scene)

    def _judge(self, step: Step, taken: float, now: float, scene: Scene) -> Iterable[Finding]:
        if taken < self.limits.seconds or step.step_id in self._said:
            return ()
        key = f"{step.step_id} {step.total}"
        if key not in self._limit_of:
            if len(self._limit_of) >= MAX_STEPS:
                return ()
            self._limit_of[key] = self._limit(step, scene)
        limit = self._limit_of[key]
        if limit is None or taken < limit[0] or step.step_id in scene.slow_steps:
            return ()
        self._said.add(step.step_id)
        threshold, usual, runs = limit
        return (
            Finding(
                severity="warning",
                step=step,
                message=(
                    f"Step {step.step_id} took {coarse_duration(taken)} "
                    f"{'so far' if step.ended is None else 'in all'}, the median of {runs} "
                    f"earlier runs is {coarse_duration(usual)}"
                ),
                actions=(
                    (
                        "`robot-sf-otel compare` shows this run beside an earlier one: parameters, "
                        "usage and versions that differ"
                    ),
                    "See what else was found in this run: it may say why",
                ),
                evidence={
                    "metric": "duration_seconds",
                    "value": round(taken, 1),
                    "threshold": round(threshold, 1),
                    "unit": "s",
                    "window_start": step.started,
                    "window_end": now,
                    "samples": runs,
                    "median_seconds": round(usual, 1),
                    "history_runs": runs,
                },
            ),
        )

    def _limit(self, step: Step, scene: Scene) -> tuple[float, float, int] | None:
        usual = scene.past.usual_duration(step.step_id, step.total)
        limits = self.limits
        if usual is None or usual.runs < limits.runs:
            return None
        longest = max(
            usual.median * (1 + limits.percent / 100),
            usual.median + limits.spreads * usual.spread,
            usual.median + limits.seconds,
        )
        return longest, usual.median, usual.runs


RULES = (Stalled, StepSlowerThanHistory)
