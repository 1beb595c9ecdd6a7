"""Hand-made histories and situations for the tests of the ETA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from robot_sf_otel.analysis.eta import (
    Curve,
    Estimate,
    EtaEngine,
    FinishedStep,
    PastRun,
    PastStep,
    PlannedStep,
    RunningStep,
    Situation,
)


def past(
    steps: Mapping[str, float],
    *,
    host: str | None = "here",
    size: float | None = None,
    totals: Mapping[str, float] | None = None,
    curves: Mapping[str, Curve] | None = None,
    rest: float = 0.0,
) -> PastRun:
    """A run whose steps came one after the other, `rest` seconds after the last one included."""
    return PastRun(
        tuple(
            PastStep(name, seconds, (totals or {}).get(name), (curves or {}).get(name, ()))
            for name, seconds in steps.items()
        ),
        sum(steps.values()) + rest,
        host=host,
        size=size,
    )


def pasts(name: str, durations: Iterable[float]) -> list[PastRun]:
    """Runs of one step."""
    return [past({name: seconds}) for seconds in durations]


def plan(*names: str) -> tuple[PlannedStep, ...]:
    return tuple(PlannedStep(name) for name in names)


def even(unit: float, units: int, first: float | None = None) -> Curve:
    """Progress whose units take the same time, apart from the first."""
    start = unit if first is None else first
    return tuple((start + unit * done, float(done + 1)) for done in range(units))


def after(
    history: Sequence[PastRun],
    names: Sequence[str],
    finished: Mapping[str, float] | None = None,
    *,
    running: Sequence[RunningStep] = (),
    host: str | None = "here",
    size: float | None = None,
) -> Estimate:
    """The estimate once the given steps are done."""
    done = finished or {}
    elapsed = sum(done.values()) + max((step.elapsed for step in running), default=0.0)
    return EtaEngine(history).predict(
        Situation(
            elapsed,
            plan(*names),
            tuple(FinishedStep(name, seconds) for name, seconds in done.items()),
            tuple(running),
            host=host,
            size=size,
        )
    )


def remaining(estimate: Estimate) -> float:
    """The remaining seconds of an estimate that has to have them."""
    assert estimate.remaining_seconds is not None
    return estimate.remaining_seconds


def width(estimate: Estimate) -> float:
    """The width of a band that has to be there."""
    assert estimate.low_seconds is not None
    assert estimate.high_seconds is not None
    return estimate.high_seconds - estimate.low_seconds
