"""Rules of a GPU's limits: its memory filling up, its clock held back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from robot_sf_otel.analysis.rules.base import (
    Finding,
    Rule,
    Said,
    SustainedRule,
    Thresholds,
    of_step,
)
from robot_sf_otel.analysis.rules.memory import amount
from robot_sf_otel.analysis.trend import Trend
from robot_sf_otel.manifest.formats import coarse_duration

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity

_HARMFUL: Final = frozenset(
    {"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"}
)
"""Reasons that cost speed which was paid for; a power cap at full load is how a GPU works."""


class GpuMemoryThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `gpu_memory_pressure`."""

    used_percent: Annotated[
        float, Meta(ge=1, le=100, description="GPU memory in use that is told of, in %.")
    ] = 97.0
    growth_percent: Annotated[
        float, Meta(ge=0.1, le=100, description="Growth in the window, in % of the memory.")
    ] = 3.0
    window_seconds: Annotated[
        float, Meta(ge=4, le=86_400, description="How long it must have kept rising.")
    ] = 120.0
    horizon_seconds: Annotated[
        float, Meta(ge=10, description="Taken as the rest of the run where nothing predicts it.")
    ] = 1800.0


class GpuMemoryPressure(Rule[GpuMemoryThresholds]):
    """GPU memory fills up."""

    id = "gpu_memory_pressure"
    needs = ("gpus",)
    fires = (
        "The memory of a GPU rose in each quarter of {window_seconds} s, by {growth_percent} % or "
        "more, and is full before the predicted end of what runs (within {horizon_seconds} s where "
        "nothing predicts it): warning. More than {used_percent} % in use for {window_seconds} s: "
        "info."
    )
    reason = (
        "A GPU has no swap: the next allocation fails. Allocators that take all memory at the "
        "start are common, so full alone is info."
    )
    source = "CUDA C++ Programming Guide, device memory; PyTorch notes, caching allocator"
    blind = "How much of what a caching allocator holds is in use; whose memory it is."
    thresholds = GpuMemoryThresholds

    def __init__(self, limits: GpuMemoryThresholds) -> None:
        super().__init__(limits)
        self._trends: dict[int, Trend] = {}
        self._full_since: dict[int, float] = {}
        self._of: Step | None = None
        self._due = 0.0
        self._said: dict[str | None, Severity] = {}

    def on_break(self) -> None:
        self._trends.clear()
        self._full_since.clear()

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        if not frame.gpus:
            return ()
        if scene.sole is not self._of:
            self.on_break()
            self._of = scene.sole
        judge = frame.end >= self._due
        if judge:
            self._due = frame.end + self.limits.window_seconds / 8
        findings: list[Finding] = []
        for gpu in frame.gpus[-1]:
            total = scene.gpu_total_mb.get(gpu.index)
            if gpu.mem_used_mb is None or not total:
                continue
            trend = self._trends.setdefault(gpu.index, Trend(self.limits.window_seconds))
            trend.add(frame.end, gpu.mem_used_mb)
            if gpu.mem_used_mb < total * self.limits.used_percent / 100:
                self._full_since.pop(gpu.index, None)
            else:
                self._full_since.setdefault(gpu.index, frame.start)
            if judge:
                found = self._judge(gpu.index, gpu.mem_used_mb, total, frame, scene)
                if found is not None:
                    findings.append(found)
        return findings

    def _judge(
        self, index: int, used: float, total: float, frame: Frame, scene: Scene
    ) -> Finding | None:
        limits, rise = self.limits, self._trends[index].rise()
        evidence: dict[str, object] = {"unit": "MiB", "gpu": index, "total_mb": round(total)}
        since = self._full_since.get(index, frame.end)
        severity: Severity = "info"
        growing = ""
        if rise is not None and rise[0] >= total * limits.growth_percent / 100:
            growth, slope, start, _ = rise
            left = max(0.0, total - used) / slope
            predicted = scene.remaining_seconds()
            if left < (limits.horizon_seconds if predicted is None else predicted):
                severity, since = "warning", start
                growing = f" and it grows: full in {coarse_duration(left)}"
                evidence |= {"growth_mb": round(growth), "seconds_to_limit": round(left)}
        if severity == "info" and frame.end - since < limits.window_seconds:
            return None
        step = scene.sole
        key = step.step_id if step is not None else None
        if self._said.get(key) in {severity, "warning"}:
            return None
        self._said[key] = severity
        message = (
            f"{of_step(step)} {amount(used)} of {amount(total)} of GPU memory are in use{growing}"
        )
        return Finding(
            severity=severity,
            step=step,
            message=message,
            actions=(
                "Look for tensors that are kept by every iteration (losses with their graph: use "
                ".item() or .detach()), or lower batch size or sequence length"
                if severity == "warning"
                else "Nothing where the framework takes all memory at its start; else lower batch "
                "size or sequence length",
            ),
            evidence={
                "metric": "gpu_mem_used_mb",
                "value": round(used),
                "threshold": round(total * limits.used_percent / 100),
                "window_start": since,
                "window_end": frame.end,
                "samples": max(frame.samples, round((frame.end - since) / frame.seconds)),
                **evidence,
            },
        )


class GpuThrottledThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `gpu_throttled`."""

    share: Annotated[
        float, Meta(ge=0.01, le=1, description="Part of the samples in which it is held back.")
    ] = 0.5
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 60.0


class GpuThrottled(SustainedRule[GpuThrottledThresholds]):
    """A GPU lowers its clock because of heat or of its power supply."""

    id = "gpu_throttled"
    needs = ("gpus",)
    metric, unit = "gpu_throttled_share", "1"
    fires = (
        "In {share} of the samples of {seconds} s or more a GPU lowers its clock because of heat "
        "or the power brake. Warning. The power cap of a GPU at full load is normal and says "
        "nothing."
    )
    reason = "The GPU computes slower than it could, and gets damaged in the long run."
    source = "NVML API reference, nvmlClocksEventReasons"
    blind = "A power cap that somebody set too low, and clocks that were locked on purpose."
    thresholds = GpuThrottledThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.share

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        del scene
        if not frame.gpus:
            return None
        held = [
            gpu
            for gpus in frame.gpus
            for gpu in gpus
            if gpu.throttle_reasons and not _HARMFUL.isdisjoint(gpu.throttle_reasons)
        ]
        devices = max(1, len({gpu.index for gpu in held}))
        share = len(held) / devices / len(frame.gpus)
        if share < self.limits.share:
            return None
        return share, max((gpu.temperature_c or 0.0 for gpu in held), default=0.0)

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        share, temperature = means
        hot = f" at {temperature:.0f} °C" if temperature else ""
        return Said(
            message=(
                f"{of_step(step)} a GPU was held back by heat or its power supply{hot} in "
                f"{share * 100:.0f} % of the samples"
            ),
            actions=(
                (
                    "Look after its cooling (fans, air flow, dust, neighbours in the rack) and its "
                    "power cables; `nvidia-smi -q -d PERFORMANCE,TEMPERATURE` tells which it is"
                ),
            ),
            more={"temperature_c": temperature or None},
        )


RULES = (GpuMemoryPressure, GpuThrottled)
