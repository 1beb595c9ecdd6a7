"""Rules of a GPU's use: held but idle, waiting for data, its memory filling, held back."""

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
    cpus,
    of_step,
)
from robot_sf_otel.analysis.rules.memory import amount
from robot_sf_otel.analysis.trend import Trend
from robot_sf_otel.manifest.formats import coarse_duration

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity

_NVML = "NVML API reference, nvmlDeviceGetUtilizationRates"
_HARMFUL: Final = frozenset(
    {"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"}
)
"""Reasons that cost speed which was paid for; a power cap at full load is how a GPU works."""


class GpuUnusedThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `gpu_unused`."""

    util_percent: Annotated[
        float, Meta(ge=0, le=100, description="Utilization below which it is unused, in %.")
    ] = 1.0
    held_mb: Annotated[
        float, Meta(ge=1, description="GPU memory from which the run holds the device, in MiB.")
    ] = 200.0
    cpu_percent: Annotated[
        float, Meta(ge=0, le=100, description="CPU load from which a free GPU is told of, in %.")
    ] = 80.0
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 180.0


class GpuUnused(SustainedRule[GpuUnusedThresholds]):
    """A GPU is held and idle, or free while the CPUs are full."""

    id = "gpu_unused"
    needs = ("gpu_util_percent", "gpus")
    metric, unit = "gpu_util_percent", "%"
    fires = (
        "The GPUs are used less than {util_percent} % for {seconds} s: a warning where the run "
        "holds {held_mb} MiB of their memory or more, info where it holds none while its CPUs are "
        "{cpu_percent} % busy."
    )
    reason = (
        "A held GPU is nobody else's, and an idle one computes nothing. Work on the CPU by mistake "
        "(a library without CUDA) looks like a full CPU beside a free GPU."
    )
    source = _NVML
    blind = (
        "Whose memory it is where the driver does not say (most containers): what was added since "
        "the run began counts as the run's. Other kinds of GPU, and MIG."
    )
    thresholds = GpuUnusedThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.util_percent

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        util = frame.gpu_util_percent
        if util is None or util >= self.limits.util_percent:
            return None
        held = scene.gpu_held_mb(frame)
        cpu = frame.cpu_percent_process or 0.0
        if held < self.limits.held_mb and cpu < self.limits.cpu_percent:
            return None
        return util, held, cpu

    def severity(self, means: tuple[float, ...], scene: Scene) -> Severity:
        del scene
        return "warning" if means[1] >= self.limits.held_mb else "info"

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        util, held, cpu = means
        name = next(iter(scene.gpu_names.values()), "GPU")
        if held >= self.limits.held_mb:
            return Said(
                message=(
                    f"{of_step(step)} the run held {amount(held)} of GPU memory and used the GPU "
                    f"{util:.1f} % of the time"
                ),
                actions=(
                    "Give the GPU back before long work on the CPU (end the process, or start it "
                    "for the GPU steps only), or move that work to the GPU",
                ),
                more={"held_mb": round(held)},
            )
        return Said(
            message=(
                f"{of_step(step)} the {name} was not used while the run kept its CPUs "
                f"{cpu:.0f} % busy"
            ),
            actions=(
                "Check that the library sees it (`torch.cuda.is_available()`, `jax.devices()`) and "
                "that model and data are moved to it; ROBOT_SF_OTEL_GPU=off if it is not meant to "
                "be used",
            ),
            more={"cpu_percent": round(cpu, 1)},
        )


class GpuStarvedThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `gpu_starved`."""

    low_percent: Annotated[
        float, Meta(ge=0, le=100, description="Utilization below which it is unused, in %.")
    ] = 1.0
    util_percent: Annotated[
        float, Meta(ge=0, le=100, description="Utilization below which it is starved, in %.")
    ] = 35.0
    held_mb: Annotated[
        float, Meta(ge=1, description="GPU memory from which the run holds the device, in MiB.")
    ] = 200.0
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 120.0


class GpuStarved(SustainedRule[GpuStarvedThresholds]):
    """The GPU waits for what feeds it."""

    id = "gpu_starved"
    needs = ("gpu_util_percent", "gpus")
    metric, unit = "gpu_util_percent", "%"
    fires = (
        "The GPUs that the run holds ({held_mb} MiB or more) are used between {low_percent} and "
        "{util_percent} % for {seconds} s. Info; warning where what feeds them is at its limit: "
        "one CPU full while others are free, all CPUs full, or the disk."
    )
    reason = (
        "The GPU is the dearest part and computes a fraction of the time. Reinforcement learning "
        "with simulation on the CPU is often meant to be so: without a visible limit it is info."
    )
    source = _NVML
    blind = "How much of the GPU a kernel uses: one small kernel all the time reads 100 %. MIG."
    thresholds = GpuStarvedThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.util_percent

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        util = frame.gpu_util_percent
        if util is None or not self.limits.low_percent <= util < self.limits.util_percent:
            return None
        if scene.gpu_held_mb(frame) < self.limits.held_mb:
            return None
        busy = scene.busy_percent(frame) or 0.0
        return util, frame.cpu_cores_process or 0.0, busy, frame.io_pressure or 0.0

    def severity(self, means: tuple[float, ...], scene: Scene) -> Severity:
        return "info" if self._limit(means, scene) is None else "warning"

    @staticmethod
    def _limit(means: tuple[float, ...], scene: Scene) -> tuple[str, str] | None:
        _, cores, busy, io = means
        usable = scene.usable_cpus or 0.0
        if busy >= 90:  # noqa: PLR2004 - as `cpu_saturation`
            return (
                "all usable CPUs were busy",
                "Move preprocessing or simulation to the GPU, or take a machine with more CPUs",
            )
        if io >= 40:  # noqa: PLR2004 - as `io_bound`
            return (
                f"tasks waited for the disk {io:.0f} % of the time",
                "Read ahead in workers (DataLoader num_workers, prefetch), or keep the data on a "
                "local disk",
            )
        if 0.85 <= cores <= 1.15 and usable >= 2:  # noqa: PLR2004 - as `single_core_bound`
            return (
                f"one of {cpus(usable)} was busy",
                f"Feed it from more processes: the run may use {cpus(usable)} and used "
                f"{cores:.1f} (DataLoader num_workers, number of environment workers)",
            )
        return None

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        util, cores, busy, io = means
        limit = self._limit(means, scene)
        because = f" while {limit[0]}" if limit is not None else ""
        return Said(
            message=f"{of_step(step)} the GPU was used {util:.0f} % of the time{because}",
            actions=(
                limit[1]
                if limit is not None
                else "Measure how long an iteration waits for data or for the simulation: more "
                "environments, larger batches or pinned memory keep the GPU busier",
            ),
            more={
                "cpu_cores": round(cores, 2),
                "busy_percent": round(busy, 1),
                "io_pressure": round(io, 1),
            },
        )


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
        evidence = {"unit": "MiB", "gpu": index, "total_mb": round(total)}
        since = self._full_since.get(index, frame.end)
        severity: Severity = "info"
        if rise is not None and rise[0] >= total * limits.growth_percent / 100:
            growth, slope, start, _ = rise
            left = max(0.0, total - used) / slope
            predicted = scene.remaining_seconds()
            if left < (limits.horizon_seconds if predicted is None else predicted):
                severity, since = "warning", start
                evidence |= {"growth_mb": round(growth), "seconds_to_limit": round(left)}
        if severity == "info" and frame.end - since < limits.window_seconds:
            return None
        step = scene.sole
        key = step.step_id if step is not None else None
        if self._said.get(key) in {severity, "warning"}:
            return None
        self._said[key] = severity
        message = f"{of_step(step)} {amount(used)} of {amount(total)} of GPU memory are in use"
        if severity == "warning":
            left = float(evidence["seconds_to_limit"])
            message += f" and it grows: full in {coarse_duration(left)}"
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
                "Look after its cooling (fans, air flow, dust, neighbours in the rack) and its "
                "power cables; `nvidia-smi -q -d PERFORMANCE,TEMPERATURE` tells which it is",
            ),
            more={"temperature_c": temperature or None},
        )


RULES = (GpuUnused, GpuStarved, GpuMemoryPressure, GpuThrottled)
