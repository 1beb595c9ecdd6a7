"""The steps of a run that this process runs, their places in the plan, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from robot_sf_otel import guard
from robot_sf_otel.instrument.runtime import StepView
from robot_sf_otel.instrument.step import Planned, planned
from robot_sf_otel.manifest.schema import PlanStep

if TYPE_CHECKING:
    from robot_sf_otel.instrument.live_step import LiveStep
    from robot_sf_otel.instrument.outcome import Outcome
    from robot_sf_otel.instrument.pipeline import PlanEntry
    from robot_sf_otel.instrument.runtime import Runtime
    from robot_sf_otel.manifest.plan import Plan


class RunSteps:
    """Which steps run now, and where they stand in the plan.

    Args:
        runtime: Its clock and console.
        plan: The plan at the start.
        eta: Returns the seconds to the end of the run, None where unknown.
    """

    def __init__(self, runtime: Runtime, plan: Plan, eta: Callable[[], float | None]) -> None:
        self._eta = eta
        self.plan = plan
        self._runtime = runtime
        self.opened = runtime.clock.monotonic()
        """Monotonic seconds at which a run without pauses would have opened to be as old as it is:
        where it opened here, that moment."""
        self.begun: set[str] = set()
        """Top-level steps that began, in earlier sessions of a resumed run too."""
        self.completed: set[str] = set()
        """Those of them that have completed."""
        self._running: dict[str, LiveStep] = {}

    def running(self) -> list[LiveStep]:
        """Return the steps that run now, in the order in which they began."""
        return list(self._running.values())

    def forget(self) -> None:
        """In a forked child: the parent's steps are not ours to end."""
        self._running = {}

    def elapsed(self) -> float:
        """Return the seconds that the run has run, without pauses."""
        return self._runtime.clock.monotonic() - self.opened

    def replan(self, entries: Iterable[PlanEntry]) -> None:
        """Replace the plan; steps that began already stay in it, in front."""
        fresh: dict[str, PlanStep] = {}
        for entry in entries:
            step = plan_step(planned(entry))
            if step.step_id in fresh:
                guard.warn_once(
                    f"plan:{step.step_id}",
                    f"the plan names {step.step_id!r} twice; the second is left out",
                )
            fresh.setdefault(step.step_id, step)
        self.take_plan(fresh.values())

    def take_plan(self, steps: Iterable[PlanStep]) -> None:
        """Replace the plan by steps that are named once each; those that began stay, in front."""
        fresh = list(steps)
        named = {step.step_id for step in fresh}
        begun = [old for old in self.plan.steps if old.step_id in self.begun - named]
        self.plan.replace([*begun, *fresh])

    def skip(self, entry: PlanEntry, reason: str | None) -> str:
        """Mark a planned step as one that will not run; return its name."""
        name, *_ = planned(entry)
        if name not in self.plan:
            guard.warn_once(f"skip:{name}", f"skip: {name!r} is not in the plan")
        self.plan.skip(name, reason)
        return name

    def began(self, step: LiveStep) -> None:
        """Take a step into the running ones, the plan and the console."""
        self._running[step.span_id] = step
        if step.nested:
            return
        self.begun.add(step.step_id)
        self.plan.add(step.step_id, step.title)
        self._runtime.console.step_started(
            step_id=step.step_id,
            title=step.title,
            position=self.plan.position(step.step_id),
            total=self.plan.total,
            eta_seconds=self._eta(),
            elapsed_seconds=self.elapsed(),
        )

    def ended(self, step: LiveStep, outcome: Outcome) -> None:
        """Take a step out of the running ones; a skipped one leaves the count."""
        self._running.pop(step.span_id, None)
        if step.nested:
            return
        if outcome.status == "skipped":
            self.plan.skip(step.step_id)
        elif outcome.status == "completed":
            self.completed.add(step.step_id)
        self._runtime.console.step_finished(
            step_id=step.step_id,
            title=step.title,
            status=outcome.status,
            duration_seconds=step.elapsed(),
            position=self.plan.position(step.step_id),
            total=self.plan.total,
            eta_seconds=self._eta(),
            elapsed_seconds=self.elapsed(),
        )

    def views(self) -> list[StepView]:
        """Return the running top-level steps as the console shows them."""
        now = self._runtime.clock.monotonic()
        return [
            StepView(
                step_id=step.step_id,
                title=step.title,
                position=self.plan.position(step.step_id),
                total_steps=self.plan.total,
                done=step.done,
                total=step.total,
                unit=step.unit,
                rate=step.rate,
                elapsed_seconds=now - step.started,
            )
            for step in self.running()
            if not step.nested
        ]


def plan_step(entry: Planned) -> PlanStep:
    """Return the record of a plan's entry."""
    step_id, title, expected, total = entry
    return PlanStep(step_id=step_id, display_name=title, expected_seconds=expected, total=total)
