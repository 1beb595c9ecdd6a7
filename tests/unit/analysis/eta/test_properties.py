"""What holds for any history and any situation, hostile ones included."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from robot_sf_otel.analysis.eta import (
    EtaEngine,
    FinishedStep,
    PastRun,
    PastStep,
    PlannedStep,
    RunningStep,
    Situation,
)
from tests.unit.analysis.eta.histories import even

# Few names, so that they meet; every number that a float can be, and ordinary ones more often.
names = st.sampled_from(["train_1", "train_2", "evaluate", "a", ""])
hosts = st.sampled_from([None, "here", "there"])
usual = st.floats(0, 1e4)
numbers = usual | st.floats() | st.sampled_from([0.0, -1.0, 5e-324, 1e308])
optional = st.none() | numbers
curves = st.lists(st.tuples(numbers, numbers), max_size=6).map(tuple)

past_steps = st.builds(PastStep, names, numbers, optional, curves, optional)
past_runs = st.builds(
    PastRun, st.lists(past_steps, max_size=5).map(tuple), numbers, hosts, hosts, optional
)
histories = st.lists(past_runs, max_size=6)
situations = st.builds(
    Situation,
    numbers,
    st.lists(st.builds(PlannedStep, names, optional, optional), max_size=5).map(tuple),
    st.lists(st.builds(FinishedStep, names, numbers, optional), max_size=4).map(tuple),
    st.lists(st.builds(RunningStep, names, numbers, optional, optional, curves), max_size=3).map(
        tuple
    ),
    hosts,
    hosts,
    optional,
)

units = st.lists(st.floats(0.1, 100), min_size=1, max_size=6)


@given(histories, situations)
@settings(max_examples=300)
def test_estimate_is_finite_ordered_and_not_negative(
    history: list[PastRun], situation: Situation
) -> None:
    estimate = EtaEngine(history).predict(situation)
    band = (
        estimate.low_seconds,
        estimate.remaining_seconds,
        estimate.high_seconds,
        estimate.total_seconds,
    )
    known = [seconds for seconds in band if seconds is not None]
    assert len(known) in {0, 4}
    assert all(math.isfinite(seconds) and seconds >= 0 for seconds in known)
    assert known == sorted(known) or known[:3] == sorted(known[:3])
    assert (estimate.basis is None) == (not known)
    assert 0 <= estimate.history_runs <= len(history)
    assert known or not estimate.shown


@given(
    durations=st.lists(st.lists(st.floats(0.1, 1e4), min_size=3, max_size=3), max_size=6),
    total=st.sampled_from([None, 10.0]),
    gaps=units,
    waiting=st.floats(0, 1e4),
    done=st.integers(0, 1),
    points=st.sampled_from([0, 1, 10]),
)
@settings(max_examples=300)
def test_time_that_passes_without_news_never_makes_the_estimate_jump(
    *,
    durations: list[list[float]],
    total: float | None,
    gaps: list[float],
    waiting: float,
    done: int,
    points: int,
) -> None:
    steps = ("train_1", "train_2", "evaluate")
    past = [
        PastRun(
            tuple(
                PastStep(name, seconds, total, even(seconds / points, points) if points else ())
                for name, seconds in zip(steps, row, strict=True)
            ),
            sum(row),
            host="here",
        )
        for row in durations
    ]
    curve = tuple((sum(gaps[: n + 1]), n + 1.0) for n in range(len(gaps)))
    engine = EtaEngine(past)

    def at(wait: float) -> Situation:
        return Situation(
            50.0 * done + curve[-1][0] + wait,
            tuple(map(PlannedStep, steps)),
            (FinishedStep("train_1", 50.0),)[:done],
            (
                RunningStep(
                    steps[done],
                    curve[-1][0] + wait,
                    curve[-1][1],
                    total,
                    curve,
                ),
            ),
            host="here",
        )

    before = engine.predict(at(waiting))
    if before.remaining_seconds is None:
        assert engine.predict(at(waiting + 1)).remaining_seconds is None
        return
    assert before.low_seconds is not None
    assert before.high_seconds is not None
    band = before.high_seconds - before.low_seconds
    # A look at the console and the next one: a hundredth of what is left lies between them.
    passed = before.remaining_seconds / 100
    later = engine.predict(at(waiting + passed))
    assert later.remaining_seconds is not None
    assert abs(later.remaining_seconds - before.remaining_seconds) <= band + passed
