"""Rules of the disk: waiting for it, and running out of space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from robot_sf_otel.analysis.rules.base import Said, SustainedRule, Thresholds, of_step
from robot_sf_otel.analysis.rules.memory import amount

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity


class IoBoundThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `io_bound`."""

    pressure_percent: Annotated[
        float, Meta(ge=1, le=100, description="I/O pressure (PSI), in %.")
    ] = 25.0
    disk_mb_s: Annotated[
        float, Meta(ge=0.001, description="What the run itself reads and writes, in MiB/s.")
    ] = 1.0
    idle_cores: Annotated[
        float, Meta(ge=0, description="CPUs that the run may keep busy meanwhile …")
    ] = 0.75
    idle_share: Annotated[
        float, Meta(ge=0, le=1, description="… or this share of those that it may use.")
    ] = 0.4
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 60.0


class IoBound(SustainedRule[IoBoundThresholds]):
    """The run waits for a disk."""

    id = "io_bound"
    needs = ("io_pressure", "disk_read_mb_s", "cpu_cores_process")
    metric, unit = "io_pressure", "%"
    fires = (
        "Tasks waited for I/O at least {pressure_percent} % of the time for {seconds} s while the "
        "run moved {disk_mb_s} MiB/s or more and kept at most {idle_cores} CPUs, or {idle_share} "
        "of those that it may use, busy. Warning."
    )
    reason = "While it waits the run computes nothing; reading ahead or a faster disk is cheap."
    source = "Linux, Documentation/accounting/psi.rst"
    blind = (
        "Waiting for a network file system that the kernel does not count as I/O, and disk caches "
        "that are read at the speed of memory. Without PSI it says nothing."
    )
    thresholds = IoBoundThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.pressure_percent

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        pressure, moved, cores = frame.io_pressure, frame.disk_mb_s, frame.cpu_cores_process
        limits = self.limits
        if pressure is None or pressure < limits.pressure_percent:
            return None
        if moved is None or moved < limits.disk_mb_s or cores is None:
            return None
        if cores > max(limits.idle_cores, limits.idle_share * (scene.usable_cpus or 0.0)):
            return None
        return pressure, frame.disk_read_mb_s or 0.0, frame.disk_write_mb_s or 0.0, cores

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        pressure, read, written, cores = means
        if read >= written:
            first = (
                "Read ahead in workers of their own (DataLoader num_workers, prefetch), or keep "
                "the data in memory or on a local disk"
            )
        else:
            first = (
                "Write less often or in larger pieces, without a sync each time; write checkpoints "
                "and logs in a thread of their own"
            )
        return Said(
            message=(
                f"{of_step(step)} tasks waited for the disk {pressure:.0f} % of the time: "
                f"{read:.1f} MiB/s read, {written:.1f} MiB/s written, {cores:.1f} CPUs busy"
            ),
            actions=(first, "Or put the files on a faster disk"),
            more={
                "disk_read_mb_s": round(read, 2),
                "disk_write_mb_s": round(written, 2),
                "cpu_cores": round(cores, 2),
            },
        )


class DiskSpaceThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `disk_space_low`."""

    free_mb: Annotated[float, Meta(ge=1, description="Free space, in MiB.")] = 1024.0
    critical_mb: Annotated[float, Meta(ge=1, description="Free space that is critical.")] = 256.0
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 10.0


class DiskSpaceLow(SustainedRule[DiskSpaceThresholds]):
    """The disk of the artifact root is nearly full."""

    id = "disk_space_low"
    needs = ("disk_free_mb",)
    metric, unit = "disk_free_mb", "MiB"
    fires = (
        "Less than {free_mb} MiB are free on the artifact root's file system for {seconds} s. "
        "Warning; below {critical_mb} MiB critical."
    )
    reason = "A checkpoint that does not fit is lost, often at the end of the run."
    source = "Size of the checkpoints of a policy network and of a day of telemetry"
    blind = "Other file systems, quotas of a user, and how large the next checkpoint will be."
    thresholds = DiskSpaceThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.free_mb

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        del scene
        free = frame.disk_free_mb
        return None if free is None or free >= self.limits.free_mb else (free,)

    def severity(self, means: tuple[float, ...], scene: Scene) -> Severity:
        del scene
        return "critical" if means[0] < self.limits.critical_mb else "warning"

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        return Said(
            message=f"{of_step(step)} {amount(means[0])} were free on the artifact root's disk",
            actions=(
                (
                    "Make room: `robot-sf-otel prune --keep 20` deletes old "
                    "runs; old checkpoints and "
                    "data sets are usually larger"
                ),
                "Or set ROBOT_SF_ARTIFACT_ROOT to a larger disk for the next run",
            ),
        )


RULES = (IoBound, DiskSpaceLow)
