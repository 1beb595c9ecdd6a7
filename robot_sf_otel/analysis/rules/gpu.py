"""Rules of a GPU's use: held but idle, or waiting for what feeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from robot_sf_otel.analysis.rules.base import (
    Said,
    SustainedRule,
    Thresholds,
    cpus,
    of_step,
)
from robot_sf_otel.analysis.rules.memory import amount

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity

_NVML = "NVML API reference, nvmlDeviceGetUtilizationRates"


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
        if util is None or not frame.gpus or util >= self.limits.util_percent:
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
                    (
                        "Give the GPU back before long work on the CPU (end the "
                        "process, or start it "
                        "for the GPU steps only), or move that work to the GPU"
                    ),
                ),
                more={"held_mb": round(held)},
            )
        return Said(
            message=(
                f"{of_step(step)} the {name} was not used while the run kept its CPUs "
                f"{cpu:.0f} % busy"
            ),
            actions=(
                (
                    "Check that the library sees it "
                    "(`torch.cuda.is_available()`, `jax.devices()`) and "
                    "that model and data are moved to it; ROBOT_SF_OTEL_GPU=off "
                    "if it is not meant to "
                    "be used"
                ),
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
                (
                    "Read ahead in workers (DataLoader num_workers, prefetch), "
                    "or keep the data on a "
                    "local disk"
                ),
            )
        if 0.85 <= cores <= 1.15 and usable >= 2:  # noqa: PLR2004 - as `single_core_bound`
            return (
                f"one of {cpus(usable)} was busy",
                (
                    f"Feed it from more processes: the run may use {cpus(usable)} and used "
                    f"{cores:.1f} (DataLoader num_workers, number of environment workers)"
                ),
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


RULES = (GpuUnused, GpuStarved)
