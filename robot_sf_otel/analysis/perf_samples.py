"""Throughput of steps that were recorded: the samples of a performance test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from robot_sf_otel.analysis.baseline import Sample

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import StepExecutionEntry

REPETITION: Final = "repetition"
"""Step that is one repetition of a performance test."""
WARM_UP: Final = "warm-up"
"""Step that is one repetition which does not count."""
SECONDS: Final = "seconds"
"""Metric of a repetition: its wall-clock time, without `WAITED_SECONDS` and telemetry's writes."""
WAITED_SECONDS: Final = "waited_seconds"
"""Metric of a repetition: seconds that its main thread waited for a CPU that others had."""
CPU_SECONDS: Final = "cpu_seconds"
"""Metric of a repetition: CPU time of its processes."""
MACHINE_SPEED: Final = "machine_speed"
"""Metric of a repetition: turns of the calibration loop a second, around it."""
LOGGED: Final = "logged:"
"""What a metric begins with that the pipeline logs itself."""
TIMED: Final = {"wall": SECONDS, "cpu": CPU_SECONDS}


class NotMeasured(ValueError):  # noqa: N818 - said to people as it is
    """A step does not tell what was asked for; the message says what is missing."""


def repetitions(
    steps: Sequence[StepExecutionEntry], test_id: str, metric: str, inner: str | None
) -> tuple[list[Sample], str]:
    """Return the throughput of each completed repetition of a test, and its unit.

    Args:
        steps: Of the run.
        test_id: The step that holds the repetitions.
        metric: `advance`, `wall`, `cpu` or `logged:NAME`.
        inner: The step within a repetition that is measured; the repetition itself, or the only
            step in it that tells the metric, where None.

    Raises:
        NotMeasured: A repetition does not tell the metric.
    """
    outer = [step for step in steps if step.step_id == test_id]
    samples: list[Sample] = []
    units: list[str] = []
    for repetition in steps:
        within = any(_contains(step, repetition) for step in outer)
        if repetition.step_id == REPETITION and repetition.status == "completed" and within:
            inside = [step for step in steps if _contains(repetition, step)]
            value, unit = _value(repetition, inside, metric, inner)
            samples.append(Sample(value, _number(repetition, MACHINE_SPEED)))
            units.append(unit)
    return samples, units[-1] if units else ""


def executions(
    steps: Sequence[StepExecutionEntry], step_id: str, metric: str | None = None
) -> tuple[list[Sample], str, str]:
    """Return the throughput of each completed execution of a step, the metric and its unit.

    Args:
        steps: Of the run.
        step_id: The step.
        metric: As above; where None, `advance` if it reported progress, else `wall`.

    Raises:
        NotMeasured: An execution does not tell the metric.
    """
    done = [step for step in steps if step.step_id == step_id and step.status == "completed"]
    chosen = metric or ("advance" if any(step.progress.done for step in done) else "wall")
    told = [_told(step, chosen) for step in done]
    if missing := [step for step, one in zip(done, told, strict=True) if one is None]:
        raise NotMeasured(f"step {missing[0].step_id!r} does not tell {chosen!r}")
    known = [one for one in told if one is not None]
    samples = [Sample(value, None) for value, _ in known]
    return samples, chosen, known[-1][1] if known else ""


def _contains(outer: StepExecutionEntry, inner: StepExecutionEntry) -> bool:
    # Repetitions follow one another; RFC 3339 in UTC sorts as text.
    if inner is outer or outer.started_at is None or inner.started_at is None:
        return False
    return outer.started_at <= inner.started_at and (
        outer.ended_at is None or inner.started_at <= outer.ended_at
    )


def _value(
    repetition: StepExecutionEntry,
    inside: Sequence[StepExecutionEntry],
    metric: str,
    inner: str | None,
) -> tuple[float, str]:
    if inner is None and (told := _told(repetition, metric)) is not None:
        return told
    candidates = [step for step in inside if inner in {None, step.step_id}]
    found = [told for step in candidates if (told := _told(step, metric)) is not None]
    if not found:
        where = f"step {inner!r}" if inner else "no step"
        raise NotMeasured(f"{where} of a repetition tells {metric!r}{_hint(metric, inside)}")
    if len(found) > 1:
        names = ", ".join(dict.fromkeys(step.step_id for step in inside))
        raise NotMeasured(f"several steps tell {metric!r}: say which one with `step` ({names})")
    value, unit = found[0]
    return (value if metric.startswith(LOGGED) else value * _disturbance(repetition)), unit


def _disturbance(repetition: StepExecutionEntry) -> float:
    """Return by how much a repetition took longer because it waited for a CPU."""
    seconds, waited = _number(repetition, SECONDS), _number(repetition, WAITED_SECONDS)
    return 1.0 if seconds is None or waited is None else 1 + waited / seconds


def _hint(metric: str, inside: Sequence[StepExecutionEntry]) -> str:
    if metric == "advance":
        return ": it has to call current_step().advance(), or measure `wall`"
    names = sorted({name for step in inside for name in step.metrics})
    return f"; logged are {', '.join(names)}" if names else ""


def _told(step: StepExecutionEntry, metric: str) -> tuple[float, str] | None:
    """Return throughput and unit of one execution; None where it does not tell."""
    if metric.startswith(LOGGED):
        name = metric.removeprefix(LOGGED)
        value = _number(step, name)
        return None if value is None else (value, name)
    if metric == "advance":
        seconds = _seconds(step, "wall")
        if not step.progress.done or seconds is None:
            return None
        return step.progress.done / seconds, f"{step.progress.unit}/s"
    seconds = _seconds(step, metric)
    return None if seconds is None else (1 / seconds, "runs/s")


def _seconds(step: StepExecutionEntry, clock: str) -> float | None:
    measured = _number(step, TIMED[clock])
    if measured is None:
        measured = step.duration_seconds if clock == "wall" else step.usage.cpu_seconds
    return measured or None


def _number(step: StepExecutionEntry, name: str) -> float | None:
    value = step.metrics.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else None
