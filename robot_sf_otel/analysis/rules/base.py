"""What a rule is: an id, what it needs, thresholds, and a condition that has to last.

A rule of one's own is a subclass of `Rule` or `SustainedRule`, named by an entry point of the
group `robot_sf_otel_rule`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Generic, TypeVar

from msgspec import Meta, Struct

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity

RANK: Final[dict[str, int]] = {"info": 0, "warning": 1, "critical": 2}
MIN_SAMPLES: Final = 3
"""Samples without which nothing counts as lasting, whatever time they cover."""
HELD_SHARE: Final = 0.8
"""Share of a period in which its condition must hold."""
_TOLERANCE: Final = 0.2
"""Part of the needed time for which the condition may be interrupted."""
MAX_STEPS: Final = 20
"""Steps of which one rule speaks; a pipeline with more has the finding often enough."""


class Thresholds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set of a rule; `enabled = false` switches it off."""

    enabled: Annotated[bool, Meta(description="Whether the rule is applied.")] = True


T = TypeVar("T", bound=Thresholds)


@dataclass(slots=True, kw_only=True)
class Finding:
    """That a rule applies, and the evidence for it."""

    severity: Severity
    step: Step | None
    message: str
    evidence: dict[str, Any]
    actions: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Said:
    """What a rule has to say of a period."""

    message: str
    actions: tuple[str, ...]
    more: dict[str, Any] = field(default_factory=dict[str, Any])
    """Evidence besides metric, value, threshold and period."""


class Rule(Generic[T]):
    """A rule with its state in one run.

    Args:
        limits: The thresholds.
    """

    id: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Fields of a sample, or `progress`, without which it says nothing."""
    fires: ClassVar[str]
    """The condition in words; `{name}` stands for a threshold."""
    reason: ClassVar[str]
    source: ClassVar[str]
    blind: ClassVar[str]
    """What it cannot see."""
    thresholds: ClassVar[type[Thresholds]]

    def __init__(self, limits: T) -> None:
        self.limits = limits

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        """Look at some seconds of samples."""
        del frame, scene
        return ()

    def on_step_end(self, step: Step, scene: Scene) -> Iterable[Finding]:
        """Look at a step that has just ended."""
        del step, scene
        return ()

    def on_break(self) -> None:
        """Forget what was lasting: time went by of which nothing is known."""

    def on_end(self, scene: Scene) -> Iterable[Finding]:
        """Look at the run at its end; findings that were returned before are replaced."""
        del scene
        return ()


@dataclass(slots=True)
class Period:
    """A time in which a condition held, with the means of what it looked at."""

    start: float
    end: float
    held: float
    samples: int
    sums: list[float]
    needed: float
    gap: float = 0.0
    due: float = 0.0
    """When it is looked at again after it was said, Unix seconds."""

    def means(self) -> tuple[float, ...]:
        """Return the mean of each value, weighted by time."""
        return tuple(total / self.held for total in self.sums)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start


class Lasting:
    """Whether a condition lasts: constant memory, whatever the time.

    Args:
        seconds: How long it must hold.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.period: Period | None = None

    def add(self, frame: Frame, values: tuple[float, ...] | None) -> Period | None:
        """Take a frame in, with the values where the condition holds; return what lasts by now."""
        period = self.period
        seconds = frame.end - frame.start
        if values is None:
            if period is not None:
                period.gap += seconds
                whole = period.seconds + period.gap
                if period.gap > self.seconds * _TOLERANCE or period.held < whole * HELD_SHARE:
                    self.period = None
            return None
        if period is None:
            self.period = period = Period(
                frame.start, frame.start, 0.0, 0, [0.0] * len(values), self.seconds
            )
        period.gap = 0.0
        period.end = frame.end
        period.held += seconds
        period.samples += frame.samples
        sums = period.sums
        for index, value in enumerate(values):
            sums[index] += value * seconds
        # A frame is as long as its samples say: 29.999 s are 30 s.
        if period.end - period.start < self.seconds * 0.999 or period.samples < MIN_SAMPLES:
            return None
        return period


@dataclass(slots=True)
class _Known:
    """What was said of a step or of the run, and the longest period since."""

    step: Step | None
    period: Period
    severity: Severity
    stale: bool = False


class SustainedRule(Rule[T]):
    """A rule whose condition on the readings has to last for `seconds`."""

    metric: ClassVar[str]
    unit: ClassVar[str]

    def __init__(self, limits: T) -> None:
        super().__init__(limits)
        self._own = Lasting(self.lasts())
        """Of the only step that runs, or of all that run at once."""
        self._overall = Lasting(self.lasts())
        self._known: dict[str | None, _Known] = {}
        self._of: Step | None = None

    @abstractmethod
    def lasts(self) -> float:
        """Return how many seconds the condition has to hold."""

    @abstractmethod
    def values(self, frame: Frame, scene: Scene) -> tuple[float, ...] | None:
        """Return the values of a frame if the condition holds in it: first that of the metric."""

    @abstractmethod
    def threshold(self) -> float:
        """Return what the metric is compared with."""

    def severity(self, means: tuple[float, ...], scene: Scene) -> Severity:
        """Return how bad a period with these means is."""
        del means, scene
        return "warning"

    @abstractmethod
    def say(self, means: tuple[float, ...], step: Step | None, scene: Scene) -> Said:
        """Return what there is to say of a period with these means."""

    def on_break(self) -> None:
        """Begin anew."""
        self._own.period = self._overall.period = None

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        """Take a frame in; return a finding the first time, and when it got worse."""
        values = self.values(frame, scene)
        if scene.sole is not self._of:
            self._of, self._own.period = scene.sole, None
        if values is None and self._own.period is None and self._overall.period is None:
            return ()
        own = self._own.add(frame, values)
        between = not scene.running and scene.had_steps  # a moment between two steps, or the end
        if own is not None and not between:
            self._overall.period = None  # it is said of this step
            return self._note(scene.sole, own, scene)
        overall = self._overall.add(frame, values)
        # Steps that are each too short for it: of the run, when it has lasted twice as long.
        if between or overall is None or overall.seconds < 2 * overall.needed:
            return ()
        if self._covered(overall):
            return ()
        return self._note(None, overall, scene)

    def _covered(self, period: Period) -> bool:
        """Return whether something was said of a time within the period."""
        return any(
            known.period is not period and known.period.end > period.start
            for known in self._known.values()
        )

    def _note(self, step: Step | None, period: Period, scene: Scene) -> Iterable[Finding]:
        if period.end < period.due:
            return ()  # a period that was said grows by itself
        period.due = period.end + period.needed / 2
        key = step.step_id if step is not None else None
        known = self._known.get(key)
        severity = self.severity(period.means(), scene)
        if known is not None and RANK[severity] <= RANK[known.severity]:
            if period is known.period or period.seconds > known.period.seconds:
                known.period, known.stale = period, True
            return ()
        if known is None and len(self._known) >= MAX_STEPS:
            return ()
        known = _Known(step, period, severity)
        self._known[key] = known
        return (self._finding(known, scene),)

    def on_end(self, scene: Scene) -> Iterable[Finding]:
        """Return what was said with the longest period of each."""
        return [self._finding(known, scene) for known in self._known.values() if known.stale]

    def _finding(self, known: _Known, scene: Scene) -> Finding:
        means = known.period.means()
        said = self.say(means, known.step, scene)
        return Finding(
            severity=known.severity,
            step=known.step,
            message=said.message,
            actions=said.actions,
            evidence={
                "metric": self.metric,
                "value": round(means[0], 3),
                "threshold": self.threshold(),
                "unit": self.unit,
                "window_start": known.period.start,
                "window_end": known.period.end,
                "samples": known.period.samples,
                **said.more,
            },
        )


def cpus(count: float) -> str:
    """Return `16 CPUs`, `1 CPU`, `0.5 CPUs`."""
    text = f"{count:.1f}".removesuffix(".0")
    return f"{text} CPU" if text == "1" else f"{text} CPUs"


def of_step(step: Step | None) -> str:
    """Return how a sentence begins: `In step train`, or `In this run`."""
    return f"In step {step.step_id}" if step is not None else "In this run"
