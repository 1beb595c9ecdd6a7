"""What the instruments of runs and steps show of those that this process runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from robot_sf_otel.semconv import metrics
from robot_sf_otel.system_metrics.points import Point, Points

RUNNING = "running"


class RunShown(NamedTuple):
    """A run of this process, open or ended."""

    pipeline: str
    run_id: str
    trace_id: str
    status: str
    """`running` until it has ended."""
    elapsed: float
    """Seconds."""
    scenario: str | None = None
    former: frozenset[tuple[str, str | None]] = frozenset()
    """Pipeline and scenario that it was shown with before a child process named it."""
    ending: bool = False
    """Whether its end is being written."""
    completed: int = 0
    planned: int | None = None
    remaining: float | None = None
    """Seconds; None where no ETA is known."""
    low: float | None = None
    high: float | None = None


class StepShown(NamedTuple):
    """A step of this process, running or ended."""

    pipeline: str
    step: str | None
    """None for what belongs to the run as a whole."""
    elapsed: float | None = None
    """Seconds; None once it has ended."""
    done: float | None = None
    """None where no progress is reported."""
    total: float | None = None
    rate: float | None = None
    metrics: Mapping[str, float] = {}
    """The last value of each logged metric."""


def run_points(
    runs: Iterable[RunShown], steps: Iterable[StepShown], members: Iterable[str] = ()
) -> Points:
    """Return the points of runs and steps.

    Args:
        runs: Those that this process opened, the oldest first; where several of a pipeline are
            known the last one is shown, except by the instruments that count or tell them apart.
        steps: Those that it ran, the oldest first; the last one of a name is shown.
        members: Ids of the runs that it reports to, those of other processes too.
    """
    every = list(runs)
    last = {run.pipeline: run for run in every}
    shown = {(step.pipeline, step.step): step for step in steps}
    of_run = [(metrics.of_run(name), run) for name, run in last.items()]
    of_step = [(metrics.of_step(step.pipeline, step.step), step) for step in shown.values()]
    return {
        "run_info": list(_info(every)),
        "run_member": [Point(1, metrics.run_member(run_id)) for run_id in members],
        "active_runs": _active(every),
        "run_elapsed": _known((run.elapsed, which) for which, run in of_run),
        "eta_remaining": _known((run.remaining, which) for which, run in of_run),
        "eta_low": _known((run.low, which) for which, run in of_run),
        "eta_high": _known((run.high, which) for which, run in of_run),
        "steps_completed": _known((run.completed, which) for which, run in of_run),
        "steps_planned": _known((run.planned, which) for which, run in of_run),
        "step_elapsed": _known((step.elapsed, which) for which, step in of_step),
        "progress_done": _known((step.done, which) for which, step in of_step),
        "progress_total": _known((step.total, which) for which, step in of_step),
        "progress_rate": _known((step.rate, which) for which, step in of_step),
        "step_metrics": [
            Point(value, metrics.of_metric(step.pipeline, step.step, name))
            for step in shown.values()
            for name, value in step.metrics.items()
        ],
    }


def _info(runs: Iterable[RunShown]) -> Iterator[Point]:
    def which(pipeline: str, scenario: str | None, status: str) -> metrics.Attributes:
        return metrics.run_info(pipeline, run.run_id, run.trace_id, status, scenario)

    for run in runs:
        yield Point(1, which(run.pipeline, run.scenario, run.status))
        # A backend takes a series that is no longer reported for current for minutes.
        if run.status != RUNNING:
            yield Point(0, which(run.pipeline, run.scenario, RUNNING))
        for pipeline, scenario in sorted(run.former, key=str):
            yield Point(0, which(pipeline, scenario, RUNNING))


def _active(runs: Iterable[RunShown]) -> list[Point]:
    active: dict[tuple[str, str], int] = {}
    for run in runs:
        for state, ending in ((metrics.EXECUTING, False), (metrics.FINALIZING, True)):
            counts = run.status == RUNNING and run.ending == ending
            which = run.pipeline, state
            active[which] = active.get(which, 0) + counts
            for pipeline, _ in run.former:
                active.setdefault((pipeline, state), 0)
    return [
        Point(count, metrics.run_active(pipeline, state))
        for (pipeline, state), count in active.items()
    ]


def _known(values: Iterable[tuple[float | None, Mapping[str, str]]]) -> list[Point]:
    return [Point(value, which) for value, which in values if value is not None]
