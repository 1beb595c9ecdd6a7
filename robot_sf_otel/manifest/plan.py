"""The plan of a run: which steps it will run, in order; the "2 of 5" of every display.

Only top-level steps are in it, each once however often it is attempted; a skipped step keeps its
place and leaves the count.
"""

from __future__ import annotations

from collections.abc import Iterable

from robot_sf_otel.manifest.schema import PlanStep


class Plan:
    """Ordered steps with their skips.

    Raises:
        ValueError: A step is named twice.
    """

    __slots__ = ("_positions", "_skipped", "_steps", "changes")

    def __init__(self, steps: Iterable[PlanStep] = ()) -> None:
        """Take the planned steps in order."""
        self._steps: dict[str, PlanStep] = {}
        self._skipped: dict[str, str | None] = {}
        self._positions: dict[str, int] | None = None
        self.changes = 0
        """How often somebody said that other steps will run: plans and skips."""
        self.replace(steps)

    def replace(self, steps: Iterable[PlanStep]) -> None:
        """Take another plan; skips of steps that are still in it stay.

        Raises:
            ValueError: A step is named twice.
        """
        taken: dict[str, PlanStep] = {}
        for planned in steps:
            if planned.step_id in taken:
                msg = (
                    f"the plan names {planned.step_id!r} twice: a step is planned once, "
                    "running it again is a further attempt"
                )
                raise ValueError(msg)
            taken[planned.step_id] = planned
        self.changes += 1
        self._steps = taken
        self._positions = None
        self._skipped = {name: why for name, why in self._skipped.items() if name in taken}

    def add(self, step_id: str, display_name: str | None = None) -> bool:
        """Append a step that was not planned; return whether it was new. A start ends a skip."""
        if step_id in self._skipped:
            del self._skipped[step_id]
            self._positions = None
        if step_id in self._steps:
            return False
        if self._positions is not None:
            self._positions[step_id] = len(self._positions) + 1
        self._steps[step_id] = PlanStep(step_id=step_id, display_name=display_name)
        return True

    def skip(self, step_id: str, reason: str | None = None) -> None:
        """Mark a step as one that will not run; an unplanned one joins the plan as skipped."""
        self._steps.setdefault(step_id, PlanStep(step_id=step_id))
        self._skipped[step_id] = reason
        self.changes += 1
        self._positions = None

    def is_skipped(self, step_id: str) -> bool:
        """Return whether the step was skipped."""
        return step_id in self._skipped

    def skip_reason(self, step_id: str) -> str | None:
        """Return why the step was skipped, if it was."""
        return self._skipped.get(step_id)

    @property
    def steps(self) -> list[PlanStep]:
        """All steps in order, skipped ones included."""
        return list(self._steps.values())

    @property
    def ids(self) -> list[str]:
        """All step ids in order, skipped ones included."""
        return list(self._steps)

    def __contains__(self, step_id: str) -> bool:
        """Return whether the step is planned."""
        return step_id in self._steps

    @property
    def total(self) -> int:
        """The N of "x of N": planned steps without the skipped ones."""
        return len(self._steps) - len(self._skipped)

    def position(self, step_id: str) -> int | None:
        """The x of "x of N", 1-based; None for a step that is skipped or not in the plan."""
        if self._positions is None:  # kept up to date from here on: a run may have 10,000 steps
            counted = (name for name in self._steps if name not in self._skipped)
            self._positions = {name: place for place, name in enumerate(counted, start=1)}
        return self._positions.get(step_id)
