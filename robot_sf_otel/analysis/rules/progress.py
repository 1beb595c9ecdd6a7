"""Rules of progress: below its baseline, no baseline, standing still, longer than usual."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from robot_sf_otel.analysis.rules.base import MAX_STEPS, RANK, Finding, Rule, Thresholds
from robot_sf_otel.analysis.rules.cpu import faster_run
from robot_sf_otel.manifest.formats import coarse_duration, number

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity


class ThroughputDropThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `throughput_drop`."""

    warning_percent: Annotated[
        float, Meta(ge=1, le=100, description="Below the baseline: warning, in %.")
    ] = 25.0
    critical_percent: Annotated[
        float, Meta(ge=1, le=100, description="Below the baseline: critical, in %.")
    ] = 50.0
    seconds: Annotated[
        float, Meta(ge=1, le=86_400, description="How long it must last while the step runs.")
    ] = 120.0
    shortest_seconds: Annotated[
        float, Meta(ge=0.5, le=86_400, description="Least that is judged when a step ends.")
    ] = 10.0


class ThroughputDrop(Rule[ThroughputDropThresholds]):
    """A step is slower than its documented or historical baseline."""

    id = "throughput_drop"
    needs = ("progress",)
    fires = (
        "The rate of a step's progress is {warning_percent} % or more below its declared "
        "`baseline_rate`, else below the median of comparable runs: warning; {critical_percent} % "
        "or more: critical. While it runs by the median rate over {seconds} s, at its end by the "
        "mean. The first 30 s (the first fifth of a short step) and the first unit do not count."
    )
    reason = "It says that something is wrong whatever the cause is."
    source = "The product's contract; robust statistics: an evaluation between units is no drop"
    blind = (
        "Steps without progress, or with less than {shortest_seconds} s of it after the warm-up; "
        "units that take longer as the work goes on; a baseline that another parameter gave."
    )
    thresholds = ThroughputDropThresholds

    def __init__(self, limits: ThroughputDropThresholds) -> None:
        super().__init__(limits)
        self._due = 0.0
        self.said: dict[str, Finding] = {}

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        if frame.end < self._due or not scene.running:
            return ()
        self._due = frame.end + self.limits.seconds / 8
        found: list[Finding] = []
        for step in scene.running.values():
            recent, start, end = step.recent_rates(self.limits.seconds, 8)
            if end - start >= self.limits.seconds * 0.8:
                found += self._judge(step, median(recent), (start, end, len(recent)), scene)
        return found

    def on_step_end(self, step: Step, scene: Scene) -> Iterable[Finding]:
        overall = step.overall_rate(self.limits.shortest_seconds)
        if overall is None:
            return ()
        rate, *window = overall
        return self._judge(step, rate, (window[0], window[1], window[2]), scene)

    def _judge(
        self, step: Step, rate: float, window: tuple[float, float, int], scene: Scene
    ) -> Iterable[Finding]:
        found = baseline(step, scene)
        if found is None:
            return ()
        usual, basis, runs = found
        below = (1 - rate / usual) * 100
        if below < self.limits.warning_percent:
            return ()
        severity: Severity = "critical" if below >= self.limits.critical_percent else "warning"
        known = self.said.get(step.step_id)
        if known is not None and RANK[severity] <= RANK[known.severity]:
            return ()
        if known is None and len(self.said) >= MAX_STEPS:
            return ()
        finding = self._finding(step, rate, window, severity, (usual, basis, runs), scene)
        self.said[step.step_id] = finding
        scene.slow_steps.add(step.step_id)
        return (finding,)

    def _finding(
        self,
        step: Step,
        rate: float,
        window: tuple[float, float, int],
        severity: Severity,
        against: tuple[float, str, int],
        scene: Scene,
    ) -> Finding:
        usual, basis, runs = against
        below = (1 - rate / usual) * 100
        limit = self.limits
        percent = limit.critical_percent if severity == "critical" else limit.warning_percent
        unit = f"{step.unit}/s"
        actions = ["See what else was found in this run: the CPU, memory, disk and GPU rules say why"]
        more: dict[str, object] = {"baseline": round(usual, 3), "basis": basis}
        faster = faster_run(step, scene)
        if faster is not None:
            actions.insert(0, faster[0])
            more |= faster[1]
        else:
            actions.append(
                "`robot-sf-otel compare` shows parameters and step durations of two runs side by "
                "side; a smaller baseline_rate if it no longer holds"
            )
        whose = "declared baseline" if basis == "declared" else f"median of {runs} earlier runs"
        return Finding(
            severity=severity,
            step=step,
            message=(
                f"In step {step.step_id} the rate was {number(rate)} {unit}, {below:.0f} % below "
                f"the {whose} of {number(usual)} {unit}"
            ),
            actions=tuple(actions),
            evidence={
                "metric": "steps_per_sec",
                "value": round(rate, 3),
                "threshold": round(usual * (1 - percent / 100), 3),
                "unit": unit,
                "window_start": window[0],
                "window_end": window[1],
                "samples": window[2],
                "below_percent": round(below, 1),
                **more,
            },
        )


def baseline(step: Step, scene: Scene) -> tuple[float, str, int] | None:
    """Return the baseline rate of a step, where it comes from, and of how many runs."""
    if step.baseline_rate:
        return step.baseline_rate, "declared", 0
    usual = scene.past.usual_rate(step.step_id, step.unit)
    return None if usual is None else (usual.median, "history", usual.runs)


class BaselineMissingThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `baseline_missing`."""

    shortest_seconds: Annotated[
        float, Meta(ge=0.5, le=86_400, description="Progress that is worth a baseline, in s.")
    ] = 10.0


class BaselineMissing(Rule[BaselineMissingThresholds]):
    """A step reports progress and there is nothing to compare it with."""

    id = "baseline_missing"
    needs = ("progress",)
    fires = (
        "A top-level step has ended after {shortest_seconds} s or more of progress, and neither "
        "is a `baseline_rate` declared nor a comparable run known. Info."
    )
    reason = "Without a baseline nobody notices that it got slower; a guess would be worse."
    source = "The product's contract"
    blind = "Runs under another artifact root."
    thresholds = BaselineMissingThresholds

    def __init__(self, limits: BaselineMissingThresholds) -> None:
        super().__init__(limits)
        self._said: set[str] = set()

    def on_step_end(self, step: Step, scene: Scene) -> Iterable[Finding]:
        overall = step.overall_rate(self.limits.shortest_seconds)
        if overall is None or not step.top_level or baseline(step, scene) is not None:
            return ()
        if step.step_id in self._said or len(self._said) >= MAX_STEPS:
            return ()
        self._said.add(step.step_id)
        rate, start, end, count = overall
        unit = f"{step.unit}/s"
        return (
            Finding(
                severity="info",
                step=step,
                message=(
                    f"Step {step.step_id} made {number(rate)} {unit}; there is no baseline to "
                    "compare that with"
                ),
                actions=(
                    f"Declare one: step({step.step_id!r}, baseline_rate={number(rate)}); the next "
                    "run is compared with this one in any case",
                ),
                evidence={
                    "metric": "steps_per_sec",
                    "value": round(rate, 3),
                    "threshold": None,
                    "unit": unit,
                    "window_start": start,
                    "window_end": end,
                    "samples": count,
                },
            ),
        )


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
    idle_cores: Annotated[
        float, Meta(ge=0, description="CPUs below which the run is idle.")
    ] = 0.1
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
                    "See where it is: `py-spy dump --pid PID`, or `faulthandler.register"
                    "(signal.SIGUSR1)` in the program and `kill -USR1 PID`",
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
                    "`robot-sf-otel compare` shows this run beside an earlier one: parameters, "
                    "usage and versions that differ",
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


RULES = (ThroughputDrop, BaselineMissing, Stalled, StepSlowerThanHistory)
