"""The adapter converts, and adds nothing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pytest

from benchmarks.eta.adapter import Engine
from robot_sf_otel.analysis.eta import (
    EtaEngine,
    FinishedStep,
    PastRun,
    PastStep,
    PlannedStep,
    RunningStep,
    Situation,
)


@dataclass
class Earlier:
    dur: Sequence[float]
    ticks: Sequence[Sequence[float] | None]
    total: float
    names: Sequence[str] = ("load", "train")
    ticks_total: Sequence[float | None] = (None, 2)
    system: str = "host"
    size: float | None = None


@dataclass
class Observed:
    run_key: Hashable
    t: float = 40.0
    k: int = 1
    dur: Sequence[float] = (10.0,)
    cur_start: float | None = 10.0
    cur_ticks: Sequence[float] = (25.0,)
    names: Sequence[str] = ("load", "train")
    ticks_total: Sequence[float | None] = (None, 2)
    system: str = "host"
    size: float | None = None


def earlier(seconds: float) -> Earlier:
    return Earlier([10.0, seconds], [None, [seconds / 2, seconds]], 10.0 + seconds)


def test_answer_is_the_engines() -> None:
    past = [
        PastRun(
            (PastStep("load", 10.0), PastStep("train", s, 2, ((s / 2, 1.0), (s, 2.0)))),
            10.0 + s,
            host="host",
        )
        for s in (50.0, 60.0)
    ]
    situation = Situation(
        40.0,
        (PlannedStep("load"), PlannedStep("train", total=2)),
        (FinishedStep("load", 10.0),),
        (RunningStep("train", 30.0, 1.0, 2, ((25.0, 1.0),)),),
        host="host",
    )
    expected = EtaEngine(past).predict(situation)
    answer = Engine().predict([earlier(50.0), earlier(60.0)], Observed("a"))
    assert answer == (expected.remaining_seconds, expected.low_seconds, expected.high_seconds)


def test_unknown_is_no_time_and_no_band() -> None:
    assert (
        Engine().predict([], Observed("a", t=0.0, k=0, dur=(), cur_start=0.0, cur_ticks=())) == 0.0
    )


def test_each_run_has_its_own_history() -> None:
    engine = Engine()
    short = engine.predict([earlier(50.0)], Observed("a"))
    long = engine.predict([earlier(500.0)], Observed("b"))
    again = engine.predict([earlier(50.0)], Observed("c"))
    assert isinstance(short, tuple)
    assert isinstance(long, tuple)
    assert long[0] > short[0]
    assert again == pytest.approx(short)
