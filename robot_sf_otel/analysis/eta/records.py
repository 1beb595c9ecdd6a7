"""What the ETA is computed from, and what it says: plain values."""

from __future__ import annotations

from dataclasses import dataclass

Curve = tuple[tuple[float, float], ...]
"""Progress of a step: (seconds since the step's start, units done), in the order of time."""


@dataclass(frozen=True, slots=True)
class PastStep:
    """A step of a completed run.

    Attributes:
        step_id: The step's name in the plan.
        seconds: What the step added to the run's time; see `added_seconds`.
        total: Units of work, None where nobody said.
        curve: Its progress.
        duration: Seconds from its start to its end, None where that is `seconds`: where it neither
            overlapped another step nor waited before it began.
    """

    step_id: str
    seconds: float
    total: float | None = None
    curve: Curve = ()
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class PastRun:
    """A completed run, its steps in the order in which they ended.

    Attributes:
        steps: The steps, one after the other.
        total_seconds: The run's duration.
        host: Where it ran, None where unknown.
        scenario: Its scenario.
        size: Size of its input, in any unit that is the same for all runs of the pipeline.
    """

    steps: tuple[PastStep, ...]
    total_seconds: float
    host: str | None = None
    scenario: str | None = None
    size: float | None = None


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of the plan; steps that are skipped are not in the plan.

    Attributes:
        step_id: Its name.
        expected_seconds: Its declared duration.
        total: Its declared units of work.
    """

    step_id: str
    expected_seconds: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """A step that is done, in this run or in the one that it resumes.

    Attributes:
        step_id: Its name.
        seconds: From its start to its end.
        total: Units of work.
    """

    step_id: str
    seconds: float
    total: float | None = None


@dataclass(frozen=True, slots=True)
class RunningStep:
    """A step that runs now.

    Attributes:
        step_id: Its name.
        elapsed: Seconds since it began.
        done: Units done by now, those that a resumed step had done before included.
        total: Declared units of work.
        curve: Its progress so far. The last point says since when nothing came; a resumed step
            begins with (0, units done before).
    """

    step_id: str
    elapsed: float
    done: float | None = None
    total: float | None = None
    curve: Curve = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """A run at a moment.

    Attributes:
        elapsed: Seconds since the run began.
        plan: All steps of the plan, those that are done and those that run included.
        finished: Steps that are done: no time is still to come from them.
        running: Steps that run; several at once overlap.
        host: Where it runs.
        scenario: Its scenario.
        size: Size of its input, as in `PastRun`.
    """

    elapsed: float
    plan: tuple[PlannedStep, ...] = ()
    finished: tuple[FinishedStep, ...] = ()
    running: tuple[RunningStep, ...] = ()
    host: str | None = None
    scenario: str | None = None
    size: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """When the run will be done; times in seconds, None where unknown.

    Attributes:
        remaining_seconds: What is still to come, as likely too high as too low.
        low_seconds: Lower end of the 80 % band of `remaining_seconds`.
        high_seconds: Its upper end.
        total_seconds: Elapsed and remaining time.
        basis: What it rests on, joined by `+`: `history`, `declared` durations, `progress` of a
            running step without history, `pace` of the steps that are done; `plan` when no step is
            left.
        history_runs: Past runs that it rests on.
        shown: The band is narrow enough to mean something to a reader.
        steps: What is still to come from each step, by name, as far as it is known.
    """

    remaining_seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    total_seconds: float | None = None
    basis: str | None = None
    history_runs: int = 0
    shown: bool = False
    steps: tuple[tuple[str, float], ...] = ()
