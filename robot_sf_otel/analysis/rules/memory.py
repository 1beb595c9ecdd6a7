"""Rules of memory: nearly none left, growing until there is none, swapping."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from robot_sf_otel.analysis.rules.base import (
    MAX_STEPS,
    Finding,
    Rule,
    Said,
    SustainedRule,
    Thresholds,
    of_step,
)
from robot_sf_otel.analysis.trend import Trend
from robot_sf_otel.manifest.formats import coarse_duration

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity


def total_mb(frame: Frame, scene: Scene) -> float | None:
    """Return the memory that the run may use: of its container, else of the host."""
    if frame.memory_limit_mb is not None and scene.memory_total_mb is not None:
        return min(frame.memory_limit_mb, scene.memory_total_mb)
    return frame.memory_limit_mb or scene.memory_total_mb


def amount(mebibytes: float) -> str:
    """Return `512 MiB` or `3.2 GiB`."""
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"  # noqa: PLR2004 - MiB in a GiB


class MemoryPressureThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `memory_pressure`."""

    available_percent: Annotated[
        float, Meta(ge=0.1, le=100, description="Memory left, in % of what the run may use.")
    ] = 10.0
    available_mb: Annotated[
        float, Meta(ge=1, description="Memory left, in MiB: 10 % of a large machine is plenty.")
    ] = 8192.0
    critical_percent: Annotated[
        float, Meta(ge=0.1, le=100, description="Memory left that is critical, in %.")
    ] = 4.0
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 30.0


class MemoryPressure(SustainedRule[MemoryPressureThresholds]):
    """Nearly no memory is left to the run."""

    id = "memory_pressure"
    needs = ("memory_available_mb",)
    metric, unit = "memory_available_percent", "%"
    fires = (
        "Less than {available_percent} % of the memory that the run may use, and less than "
        "{available_mb} MiB, is available for {seconds} s. Warning; below {critical_percent} % "
        "critical."
    )
    reason = "The next allocation may end the run: the kernel kills what exceeds the limit."
    source = (
        "Linux, Documentation/filesystems/proc.rst (`MemAvailable`); cgroup-v2.rst (`memory.max`)"
    )
    blind = (
        "Who holds the memory, on a host without a container's limit; memory that could be given "
        "back but is not (caches of the program)."
    )
    thresholds = MemoryPressureThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.available_percent

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        available, total = frame.memory_available_mb, total_mb(frame, scene)
        if available is None or not total or available > self.limits.available_mb:
            return None
        percent = available / total * 100
        if percent >= self.limits.available_percent:
            return None
        return percent, available, total, frame.memory_rss_mb or 0.0

    def severity(self, means: tuple[float, ...], scene: Scene) -> Severity:
        del scene
        return "critical" if means[0] < self.limits.critical_percent else "warning"

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        percent, available, total, rss = means
        own = rss >= total / 2
        actions = [
            "Lower what is held at once: batch size, replay buffer, number of environment workers, "
            "prefetched data"
            if own
            else f"The run itself holds {amount(rss)}: see what else fills the memory (`top -o "
            "%MEM`), files on tmpfs included",
            (
                f"Or give the run more than {amount(total)}: another machine, or "
                "a higher limit of its "
                "container"
            ),
        ]
        return Said(
            message=(
                f"{of_step(step)} {amount(available)} of {amount(total)} ({percent:.1f} %) were "
                "available"
            ),
            actions=tuple(actions),
            more={"available_mb": round(available), "total_mb": round(total), "rss_mb": round(rss)},
        )


class MemoryGrowthThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `memory_growth`."""

    window_seconds: Annotated[
        float, Meta(ge=4, le=86_400, description="How long it must have kept rising.")
    ] = 120.0
    warm_up_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="Start of a step in which growth is normal.")
    ] = 60.0
    growth_percent: Annotated[
        float, Meta(ge=0.1, le=100, description="Growth in the window, in % of the memory.")
    ] = 2.0
    horizon_seconds: Annotated[
        float, Meta(ge=60, description="Taken as the rest of the run where nothing predicts it.")
    ] = 1800.0
    critical_seconds: Annotated[
        float, Meta(ge=0, description="Time to the limit that is critical.")
    ] = 300.0


class MemoryGrowth(Rule[MemoryGrowthThresholds]):
    """Memory grows and will reach the limit before the run ends."""

    id = "memory_growth"
    needs = ("memory_rss_mb", "memory_available_mb")
    metric = "memory_rss_mb"
    fires = (
        "The tree's memory rose in each quarter of {window_seconds} s, by {growth_percent} % of "
        "the memory or more, and at the rate of the second half takes what is available before "
        "the predicted end of what runs (within {horizon_seconds} s where nothing predicts it). "
        "The first {warm_up_seconds} s of a step do not count. Warning; with less than "
        "{critical_seconds} s to the limit critical."
    )
    reason = "A leak ends a run after hours, when most of its work is done."
    source = "Least that a trend must show; the kernel's OOM killer, Linux mm/oom_kill.c"
    blind = (
        "What stops growing by itself later, such as a replay buffer that is not full yet; leaks "
        "that would need longer than the run lasts."
    )
    thresholds = MemoryGrowthThresholds

    def __init__(self, limits: MemoryGrowthThresholds) -> None:
        super().__init__(limits)
        self._trend = Trend(limits.window_seconds)
        self._left = Trend(limits.window_seconds)
        self._of: Step | None = None
        self._due = 0.0
        self._said: dict[str | None, Severity] = {}

    def on_break(self) -> None:
        self._trend.clear()
        self._left.clear()

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        rss, available = frame.memory_rss_mb, frame.memory_available_mb
        if rss is None or available is None:
            return ()
        step = scene.sole
        if step is not self._of:
            self.on_break()
            self._of = step
        begun = step.started if step is not None else scene.started
        if frame.end < begun + self.limits.warm_up_seconds:
            return ()
        self._trend.add(frame.end, rss)
        if frame.end < self._due:
            return ()
        self._due = frame.end + self.limits.window_seconds / 8
        return self._judge(frame, scene, rss, available)

    def _judge(self, frame: Frame, scene: Scene, rss: float, available: float) -> Iterable[Finding]:
        total, rise = total_mb(frame, scene), self._trend.rise()
        limits = self.limits
        if rise is None or not total or rise[0] < total * limits.growth_percent / 100:
            return ()
        growth, slope, start, end = rise
        left = available / slope
        predicted = scene.remaining_seconds()
        rest = limits.horizon_seconds if predicted is None else predicted
        if left >= rest:
            return ()
        severity: Severity = "critical" if left < limits.critical_seconds else "warning"
        step = scene.sole
        key = step.step_id if step is not None else None
        said = self._said.get(key)
        if said in {severity, "critical"} or (said is None and len(self._said) >= MAX_STEPS):
            return ()
        self._said[key] = severity
        until = (
            f"its predicted end in {coarse_duration(rest)}"
            if predicted is not None
            else f"the next {coarse_duration(rest)} are over"
        )
        return (
            Finding(
                severity=severity,
                step=step,
                message=(
                    f"{of_step(step)} memory grows by {amount(slope * 60)} a minute and takes the "
                    f"remaining {amount(available)} in {coarse_duration(left)}, before {until}"
                ),
                actions=(
                    (
                        "Look for what is kept by every iteration: lists of "
                        "results or frames, tensors "
                        "with their graph (use .item() or .detach()), unclosed environments "
                        "(`tracemalloc` shows where it is allocated)"
                    ),
                    f"Save a checkpoint now: about {coarse_duration(left)} are left",
                ),
                evidence={
                    "metric": self.metric,
                    "value": round(rss, 1),
                    "threshold": round(rss + available, 1),
                    "unit": "MiB",
                    "window_start": start,
                    "window_end": end,
                    "samples": max(frame.samples, round(limits.window_seconds / frame.seconds)),
                    "growth_mb": round(growth, 1),
                    "mb_per_minute": round(slope * 60, 1),
                    "seconds_to_limit": round(left),
                    "seconds_to_end": None if predicted is None else round(predicted),
                },
            ),
        )


class SwapThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `swap_thrashing`."""

    pressure_percent: Annotated[
        float, Meta(ge=1, le=100, description="Memory pressure (PSI), in %.")
    ] = 20.0
    critical_percent: Annotated[
        float, Meta(ge=1, le=100, description="Memory pressure that is critical, in %.")
    ] = 50.0
    used_mb: Annotated[float, Meta(ge=1, description="Swap in use, in MiB.")] = 64.0
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 30.0


class SwapThrashing(SustainedRule[SwapThresholds]):
    """Tasks wait for memory that was swapped out."""

    id = "swap_thrashing"
    needs = ("memory_pressure", "swap_used_mb")
    metric, unit = "memory_pressure", "%"
    fires = (
        "Tasks waited for memory at least {pressure_percent} % of the time for {seconds} s, with "
        "at least {used_mb} MiB of swap in use. Warning; from {critical_percent} % on critical."
    )
    reason = "Memory on a disk is a thousand times slower: what fits no more stands nearly still."
    source = "Linux, Documentation/accounting/psi.rst"
    blind = "Whose memory it is: pressure and swap are the host's. Without PSI it says nothing."
    thresholds = SwapThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.pressure_percent

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        del scene
        pressure, swap = frame.memory_pressure, frame.swap_used_mb
        if pressure is None or pressure < self.limits.pressure_percent:
            return None
        if swap is None or swap < self.limits.used_mb:
            return None
        return pressure, swap, frame.memory_rss_mb or 0.0

    def severity(self, means: tuple[float, ...], scene: Scene) -> Severity:
        del scene
        return "critical" if means[0] >= self.limits.critical_percent else "warning"

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        pressure, swap, rss = means
        return Said(
            message=(
                f"{of_step(step)} tasks waited for memory {pressure:.0f} % of the time, with "
                f"{amount(swap)} swapped out"
            ),
            actions=(
                (
                    f"Make the run smaller than its {amount(rss)}: batch size, "
                    "replay buffer, number "
                    "of environment workers"
                ),
                "Or end what else fills the host's memory",
            ),
            more={"swap_used_mb": round(swap), "rss_mb": round(rss)},
        )


RULES = (MemoryPressure, MemoryGrowth, SwapThrashing)
