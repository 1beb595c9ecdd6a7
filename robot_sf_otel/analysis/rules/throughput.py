"""Rules of a step's rate: below its baseline, or without any."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from robot_sf_otel.analysis.rules.base import MAX_STEPS, RANK, Finding, Rule, Thresholds
from robot_sf_otel.analysis.rules.cpu import faster_run
from robot_sf_otel.manifest.formats import number

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity


_MARKS: Final = 8
"""Rates whose median says something."""


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
        "mean and the median, whichever is more. The first 30 s (the first fifth of a short "
        "step) and the first unit do not count."
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
            recent, start, end = step.recent_rates(self.limits.seconds, _MARKS)
            if end - start >= self.limits.seconds * 0.8:
                found += self._judge(step, median(recent), (start, end, len(recent)), scene)
        return found

    def on_step_end(self, step: Step, scene: Scene) -> Iterable[Finding]:
        overall = step.overall_rate(self.limits.shortest_seconds)
        if overall is None:
            return ()
        rate, start, end, count = overall
        recent, _, _ = step.recent_rates(inf, _MARKS)
        if len(recent) >= _MARKS:
            rate = max(rate, median(recent))  # an evaluation between units is no drop
        return self._judge(step, rate, (start, end, count), scene)

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

    def _finding(  # noqa: PLR0917 - what a finding is made of
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
        actions = [
            "See what else was found in this run: the CPU, memory, disk and GPU rules say why"
        ]
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
                    (
                        f"Declare one: step({step.step_id!r}, "
                        f"baseline_rate={number(rate)}); the next "
                        "run is compared with this one in any case"
                    ),
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


RULES = (ThroughputDrop, BaselineMissing)
