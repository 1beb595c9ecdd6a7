"""Rules of the CPUs: all busy, one of many busy, stopped by a quota, taken by others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from robot_sf_otel.analysis.rules.base import Said, SustainedRule, Thresholds, cpus, of_step

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity

_USE = "Brendan Gregg, “Thinking Methodically about Performance”, 2012 (the USE method)"


class CpuSaturationThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `cpu_saturation`."""

    busy_percent: Annotated[
        float, Meta(ge=1, le=100, description="How busy the usable CPUs are, in %.")
    ] = 90.0
    own_share: Annotated[
        float, Meta(ge=0, le=1, description="Part of that which the run itself must cause.")
    ] = 0.5
    waiting_percent: Annotated[
        float, Meta(ge=1, le=100, description="CPU pressure from which fewer workers are advised.")
    ] = 60.0
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 30.0


class CpuSaturation(SustainedRule[CpuSaturationThresholds]):
    """All CPUs that the run may use are busy, mostly with the run."""

    id = "cpu_saturation"
    needs = ("cpu_percent_process",)
    metric, unit = "cpu_percent", "%"
    fires = (
        "The CPUs that the run may use are at least {busy_percent} % busy for {seconds} s, at "
        "least {own_share} of that by the run. Info. From {waiting_percent} % of CPU pressure on "
        "it advises fewer workers instead of more CPUs."
    )
    reason = (
        "More workers will not help, and what else runs here slows the run. Full use is what a "
        "machine is for, and one task more than there are CPUs looks like ten: info, not a warning."
    )
    source = f"{_USE}; Linux, Documentation/accounting/psi.rst"
    blind = (
        "Whether the work is useful: busy waiting looks the same. On a part of the host's CPUs "
        "only the run's own load is known."
    )
    thresholds = CpuSaturationThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.busy_percent

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        own = frame.cpu_percent_process
        if own is None:
            return None
        busy = scene.busy_percent(frame)
        if busy is None or busy < self.limits.busy_percent or own < busy * self.limits.own_share:
            return None
        # A quota that stops the run makes tasks wait too: that is `cpu_throttled`.
        pressure = 0.0 if frame.cpu_throttled_percent else frame.cpu_pressure or 0.0
        return busy, own, pressure

    def severity(self, means: tuple[float, ...], scene: Scene) -> Severity:
        return "info"

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        busy, own, pressure = means
        usable = scene.usable_cpus
        many = "the CPUs" if usable is None else f"the {cpus(usable)}"
        message = (
            f"{of_step(step)} {many} that the run may use were {busy:.0f} % busy, "
            f"{own:.0f} % with the run: CPU time is what limits it"
        )
        if pressure >= self.limits.waiting_percent:
            action = (
                f"Tasks waited for a CPU {pressure:.0f} % of the time: if there are more workers "
                "or threads than CPUs, start fewer (OMP_NUM_THREADS, torch.set_num_threads, "
                "number of environments)"
            )
        else:
            action = (
                "Profile the step, or move it to a machine with more CPUs; more workers on this "
                "one will not make it faster"
            )
        return Said(
            message=message,
            actions=(action,),
            more={
                "own_percent": round(own, 1),
                "usable_cpus": usable,
                "cpu_pressure": round(pressure, 1),
            },
        )


class SingleCoreThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `single_core_bound`."""

    low_cores: Annotated[float, Meta(ge=0.1, le=1, description="CPUs busy, at least.")] = 0.9
    high_cores: Annotated[float, Meta(ge=1, le=2, description="CPUs busy, at most.")] = 1.15
    usable_cpus: Annotated[float, Meta(ge=1.5, description="CPUs that there must be.")] = 2.0
    gpu_percent: Annotated[
        float, Meta(ge=0, le=100, description="GPU utilization from which it is silent, in %.")
    ] = 50.0
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 120.0


class SingleCoreBound(SustainedRule[SingleCoreThresholds]):
    """One CPU is busy all the time and the others are not used."""

    id = "single_core_bound"
    needs = ("cpu_cores_process", "cpu_percent_process")
    metric, unit = "cpu_cores_process", "CPUs"
    fires = (
        "The run keeps {low_cores} to {high_cores} CPUs busy for {seconds} s while it may use "
        "{usable_cpus} or more and others are free; progress, where it is reported, goes on, and "
        "the GPU is used less than {gpu_percent} %. Info."
    )
    reason = (
        "One Python thread cannot use more than one CPU. Whether the work can be spread is the "
        "author's to know, and many programs are meant to be so: info, never a warning."
    )
    source = "Amdahl, “Validity of the single processor approach”, 1967; the GIL of CPython"
    blind = "Several processes that take turns look the same as one."
    thresholds = SingleCoreThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.high_cores

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        cores, usable = frame.cpu_cores_process, scene.usable_cpus
        limits = self.limits
        if cores is None or not limits.low_cores <= cores <= limits.high_cores:
            return None
        if usable is None or usable < limits.usable_cpus or scene.works() is False:
            return None
        if (frame.gpu_util_percent or 0.0) >= limits.gpu_percent:
            return None
        busy = scene.busy_percent(frame)
        return None if busy is None or busy >= 90 else (cores, usable)  # noqa: PLR2004 - none is free

    def severity(self, means: tuple[float, ...], scene: Scene) -> Severity:
        return "info"

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        cores, usable = means
        actions = [
            (
                f"The run may use {cpus(usable)} and used {cores:.1f}: raise the "
                "number of environment "
                "workers, or run independent parts in processes of their own"
            )
        ]
        more: dict[str, object] = {"usable_cpus": round(usable, 2)}
        faster = faster_run(step, scene)
        if faster is not None:
            actions.append(faster[0])
            more |= faster[1]
        return Said(
            message=f"{of_step(step)} one of {cpus(usable)} was busy, the others were not used",
            actions=tuple(actions),
            more=more,
        )


def faster_run(step: Step | None, scene: Scene) -> tuple[str, dict[str, object]] | None:
    """Return an action and evidence where an earlier run of a step was faster."""
    rate = None if step is None else step.overall_rate(10.0)
    if step is None or rate is None:
        return None
    found = scene.past.faster(step.step_id, step.unit, rate[0])
    if found is None:
        return None
    times = found.rate / rate[0]
    more: dict[str, object] = {"faster_run": found.run_id, "faster_rate": round(found.rate, 3)}
    if not found.differing:
        return (
            (
                f"Run {found.run_id} had {times:.1f} × the rate with the same parameters: compare "
                "what else ran on the machine, and the versions"
            ),
            more,
        )
    shown = list(found.differing.items())[:4]
    then = ", ".join(f"{name}={before!r} instead of {now!r}" for name, (before, now) in shown)
    more["faster_params"] = {name: before for name, (before, _) in shown}
    return f"Run {found.run_id} had {times:.1f} × the rate with {then}", more


class CpuThrottledThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `cpu_throttled`."""

    throttled_percent: Annotated[
        float, Meta(ge=1, le=100, description="Periods in which the quota was used up, in %.")
    ] = 25.0
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 60.0


class CpuThrottled(SustainedRule[CpuThrottledThresholds]):
    """The container's CPU quota stops the run."""

    id = "cpu_throttled"
    needs = ("cpu_throttled_percent",)
    metric, unit = "cpu_throttled_percent", "%"
    fires = (
        "In at least {throttled_percent} % of the quota's periods the container was stopped, for "
        "{seconds} s. Warning."
    )
    reason = (
        "A stopped container stands still with all its threads for the rest of the period, "
        "whatever other CPUs are free."
    )
    source = "Linux, Documentation/scheduler/sched-bwc.rst; cgroup-v2.rst, `cpu.stat`"
    blind = "Throttling of virtual machines by their host (steal)."
    thresholds = CpuThrottledThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.throttled_percent

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        throttled = frame.cpu_throttled_percent
        if throttled is None or throttled < self.limits.throttled_percent:
            return None
        return throttled, scene.usable_cpus or 0.0

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        throttled, usable = means
        quota = f" of {cpus(usable)}" if usable else ""
        fewer = f" to {max(1, int(usable))}" if usable else ""
        return Said(
            message=(
                f"{of_step(step)} the container was stopped in {throttled:.0f} % of the periods "
                f"of its CPU quota{quota}"
            ),
            actions=(
                (
                    f"Raise the container's CPU quota{quota} (docker --cpus, Kubernetes "
                    "resources.limits.cpu, cgroup cpu.max)"
                ),
                (
                    f"Or lower the number of workers and threads{fewer}: more "
                    "than the quota allows "
                    "only stop each other"
                ),
            ),
            more={"usable_cpus": usable or None},
        )


class NoisyNeighbourThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `noisy_neighbour`."""

    busy_percent: Annotated[
        float, Meta(ge=1, le=100, description="How busy the host's CPUs are, in %.")
    ] = 90.0
    others_percent: Annotated[
        float, Meta(ge=1, le=100, description="Part of the host's CPUs that others take, in %.")
    ] = 25.0
    own_cores: Annotated[
        float, Meta(ge=0, description="CPUs that the run must want, by what it gets.")
    ] = 0.05
    seconds: Annotated[float, Meta(ge=1, le=86_400, description="How long it must last.")] = 60.0


class NoisyNeighbour(SustainedRule[NoisyNeighbourThresholds]):
    """Other processes of the host take CPU time that the run needs."""

    id = "noisy_neighbour"
    needs = ("cpu_percent_system", "cpu_cores_process")
    metric, unit = "cpu_percent_others", "%"
    fires = (
        "The host's CPUs are at least {busy_percent} % busy for {seconds} s, at least "
        "{others_percent} % with processes that are not the run's, while the run uses "
        "{own_cores} CPUs or more. Warning."
    )
    reason = "The run would be faster alone, and its timings do not compare with those of others."
    source = _USE
    blind = (
        "Who it is. Where the run may use a part of the host's CPUs it says nothing; processes "
        "that left the run's tree count as others; steal of virtual machines is not seen."
    )
    thresholds = NoisyNeighbourThresholds

    def lasts(self) -> float:
        return self.limits.seconds

    def threshold(self) -> float:
        return self.limits.others_percent

    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        system, cores, limits = frame.cpu_percent_system, frame.cpu_cores_process, self.limits
        if system is None or system < limits.busy_percent:
            return None
        if cores is None or cores < limits.own_cores or not scene.sees_all_cpus:
            return None
        own = cores / (scene.cpu_count or 1.0) * 100
        others = system - own
        return (others, own) if others >= limits.others_percent else None

    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        others, own = means
        return Said(
            message=(
                f"{of_step(step)} other processes took {others:.0f} % of the host's CPUs, the run "
                f"got {own:.0f} %, none was free"
            ),
            actions=(
                "Look who it is (`top`), and wait or move the run; take no timings meanwhile",
                "On a shared machine ask for CPUs of one's own (taskset, cpuset, a job queue)",
            ),
            more={"own_percent": round(own, 1), "cpu_count": scene.cpu_count},
        )


RULES = (CpuSaturation, SingleCoreBound, CpuThrottled, NoisyNeighbour)
