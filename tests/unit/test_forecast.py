"""The ETA of a live run: worked out now and then, recorded each time, counted down between."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from robot_sf_otel import forecast as module
from robot_sf_otel.analysis.eta import Estimate
from robot_sf_otel.forecast import Forecast, JoinedForecast
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.plan import Plan
from robot_sf_otel.manifest.schema import Eta, PlanStep
from robot_sf_otel.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robot_sf_otel.analysis.eta import PastRun, Situation
    from robot_sf_otel.instrument.live_run import LiveRun


class Recorder:
    """Holds a fold; `busy` is another thread at work on it."""

    def __init__(self, clock: FakeClock) -> None:
        self.fold = RunFold()
        plan = [PlanStep(step_id="train")]
        self.fold.apply(
            e.RunStarted(time_unix_nano=clock.time_ns(), run_id="r", pipeline="p", plan=plan)
        )
        self.busy = False
        self.recorded: list[e.Event] = []
        self.shown: e.EtaShown | None = None

    def look(self, function: Callable[[RunFold], object]) -> object:
        return None if self.busy else function(self.fold)

    def record(self, *events: e.Event, sync: bool = True) -> None:
        assert not sync  # nobody's step waits for the disk because of an ETA
        self.recorded.extend(events)

    def shown_eta(self) -> e.EtaShown | None:
        return self.shown


class Engine:
    """Answers what it is told to, and counts."""

    answer = Estimate(100.0, 90.0, 120.0, 100.0, "history", 2, shown=True)
    asked = 0
    history: Sequence[PastRun] = ()

    def __init__(self, history: Sequence[PastRun]) -> None:
        type(self).history = history

    def predict(self, _: Situation) -> Estimate:
        type(self).asked += 1
        return self.answer


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> type[Engine]:
    class Fresh(Engine):
        pass

    monkeypatch.setattr(module, "EtaEngine", Fresh)
    return Fresh


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.recorder = Recorder(self.clock)
        self.running: list[Any] = []
        self.plan = Plan([PlanStep(step_id=name) for name in ("train", "evaluate")])
        self.completed: set[str] = set()
        run: Any = SimpleNamespace(
            name="p",
            ended=False,
            recorder=self.recorder,
            runtime=SimpleNamespace(clock=self.clock),
            running_steps=lambda: self.running,
            steps=SimpleNamespace(plan=self.plan, completed=self.completed),
            elapsed=self.clock.monotonic,
            ids=lambda: {"time_unix_nano": self.clock.time_ns(), "span_id": "root"},
        )
        self.run = cast("LiveRun", run)
        self.forecast = Forecast(self.run)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_eta_is_recorded_when_it_is_shown_and_counted_down_after_that(bench: Bench) -> None:
    assert bench.forecast.at_boundary() == 100
    bench.clock.advance(0.5)
    assert bench.forecast.at_boundary() == 99.5
    (event,) = bench.recorder.recorded
    assert isinstance(event, e.EtaShown)
    assert (event.eta.remaining_seconds, event.eta.high_seconds) == (100, 120)


def test_a_row_of_short_steps_does_not_pay_for_each(bench: Bench, engine: type[Engine]) -> None:
    for _ in range(100):
        bench.forecast.at_boundary()
        bench.clock.advance(0.005)
    assert engine.asked == 1
    bench.clock.advance(1)
    bench.forecast.at_boundary()
    assert engine.asked == 2


CHANGES: list[Callable[[Plan], None]] = [
    lambda plan: plan.skip("evaluate"),
    lambda plan: plan.replace([PlanStep(step_id="train"), PlanStep(step_id="export")]),
]


@pytest.mark.parametrize("change", CHANGES, ids=["skip", "plan"])
def test_another_plan_counts_at_once(
    bench: Bench, engine: type[Engine], change: Callable[[Plan], None]
) -> None:
    bench.forecast.at_boundary()
    change(bench.plan)
    engine.answer = Estimate(1.0, 0.5, 2.0, 1.0, "history", 2, shown=True)
    assert bench.forecast.at_boundary() == 1
    bench.forecast.at_boundary()
    assert engine.asked == 2


@pytest.mark.parametrize(
    ("left", "after", "asked"),
    [
        (90.0, 0.5, 2),  # most of what was left is over before its time
        (5.0, 0.5, 1),  # a step that hardly mattered
        (0.5, 0.5, 1),  # as expected
    ],
)
def test_a_long_step_that_is_over_early_counts_at_once(
    bench: Bench, engine: type[Engine], left: float, after: float, asked: int
) -> None:
    steps = (("train", left), ("evaluate", 100 - left))
    engine.answer = Estimate(100.0, 90.0, 120.0, 100.0, "history", 2, shown=True, steps=steps)
    bench.forecast.at_boundary()
    bench.clock.advance(after)
    bench.completed.add("train")
    for _ in range(10):
        bench.forecast.at_boundary()
    assert engine.asked == asked


def test_what_is_shown_for_the_first_time_after_a_long_step_is_right_too(
    bench: Bench, engine: type[Engine]
) -> None:
    """Before it the band was too wide for an ETA."""
    engine.answer = Estimate(100.0, 1.0, 900.0, 100.0, "history", 1, steps=(("train", 99.0),))
    assert bench.forecast.at_boundary() is None
    bench.completed.add("train")
    engine.answer = Estimate(1.0, 0.5, 2.0, 1.0, "history", 1, shown=True)
    assert bench.forecast.at_boundary() == 1


def test_within_a_step_it_is_worked_out_every_few_seconds_and_later_every_minute(
    bench: Bench, engine: type[Engine]
) -> None:
    for _ in range(60):
        bench.forecast.within()
        bench.clock.advance(1)
    assert engine.asked == 12
    bench.clock.advance(100_000)
    asked = engine.asked
    for _ in range(600):
        bench.forecast.within()
        bench.clock.advance(1)
    assert engine.asked - asked == 10


def test_a_boundary_that_came_too_soon_is_made_up_for_by_the_next_look(
    bench: Bench, engine: type[Engine]
) -> None:
    bench.forecast.within()
    started = e.StepStarted(time_unix_nano=bench.clock.time_ns(), span_id="a", step_id="train")
    bench.recorder.fold.apply(started)
    bench.forecast.at_boundary()
    bench.forecast.within()
    assert engine.asked == 1
    bench.clock.advance(1)
    bench.forecast.within()
    bench.forecast.within()
    assert engine.asked == 2


def test_while_another_thread_is_busy_the_last_one_is_counted_down(bench: Bench) -> None:
    bench.forecast.within()
    bench.recorder.busy = True
    bench.clock.advance(10)
    assert bench.forecast.within() == 90
    bench.clock.advance(1000)
    assert bench.forecast.within() == 0


def test_what_is_not_known_is_not_recorded_but_that_it_is_no_longer_known_is(
    bench: Bench, engine: type[Engine]
) -> None:
    engine.answer = Estimate()
    assert bench.forecast.within() is None
    assert bench.recorder.recorded == []
    engine.answer = Engine.answer
    bench.clock.advance(10)
    bench.forecast.within()
    engine.answer = Estimate()
    for _ in range(3):
        bench.clock.advance(10)
        assert bench.forecast.within() is None
    etas = [event.eta for event in bench.recorder.recorded if isinstance(event, e.EtaShown)]
    assert [eta.remaining_seconds for eta in etas] == [100, None]


def test_a_wall_clock_that_is_set_changes_nothing(
    bench: Bench, engine: type[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Situation] = []

    def predict(_: object, situation: Situation) -> Estimate:
        seen.append(situation)
        return Engine.answer

    monkeypatch.setattr(engine, "predict", predict)
    began = bench.clock.time_ns()
    bench.recorder.fold.apply(e.StepStarted(time_unix_nano=began, span_id="a", step_id="train"))

    def course(now: float) -> tuple[float, list[tuple[float, float]]]:
        return now, [(3.0, 7.0)]

    bench.running.append(SimpleNamespace(span_id="a", nested=False, course=course))
    bench.clock.advance(10)
    monkeypatch.setattr(bench.clock, "time_ns", lambda: began - 3600 * 10**9)
    bench.forecast.within()
    assert (seen[0].elapsed, seen[0].running[0].elapsed) == (10, 10)
    assert seen[0].running[0].curve == ((3, 7),)
    (event,) = bench.recorder.recorded
    assert isinstance(event, e.EtaShown)
    assert event.elapsed_seconds == 10


def test_a_step_does_not_wait_for_an_estimate_that_takes_long(
    bench: Bench, engine: type[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = iter([0.0, 0.02, 1.0, 1.02])
    monkeypatch.setattr("time.thread_time", lambda: next(spent))
    bench.forecast.at_boundary()
    bench.clock.advance(100)
    bench.plan.skip("evaluate")
    assert bench.forecast.at_boundary() == 0
    assert engine.asked == 1
    bench.forecast.within()
    assert engine.asked == 2


def test_without_a_plan_or_history_nobody_knows_what_follows(bench: Bench) -> None:
    bench.recorder.fold = RunFold()
    bench.recorder.fold.apply(
        e.RunStarted(time_unix_nano=bench.clock.time_ns(), run_id="r", pipeline="p")
    )
    assert bench.forecast.within() is None
    assert bench.recorder.recorded == []


def test_history_counts_at_once(bench: Bench, engine: type[Engine]) -> None:
    bench.forecast.within()
    bench.forecast.learn([])
    bench.forecast.within()
    assert (engine.asked, list(engine.history)) == (2, [])


def test_nothing_is_recorded_of_a_run_that_ended_meanwhile(
    bench: Bench, engine: type[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(*_: object) -> Estimate:
        monkeypatch.setattr(bench.run, "ended", True)
        return Engine.answer

    monkeypatch.setattr(engine, "predict", predict)
    assert bench.forecast.within() is None
    assert bench.recorder.recorded == []


def test_a_child_process_shows_what_the_owner_showed_last(bench: Bench) -> None:
    joined = JoinedForecast(bench.run)
    assert joined.at_boundary() is None
    bench.recorder.shown = e.EtaShown(
        time_unix_nano=bench.clock.time_ns(), eta=Eta(remaining_seconds=50)
    )
    bench.clock.advance(2)
    assert joined.within() == pytest.approx(48)
    bench.recorder.shown = e.EtaShown(time_unix_nano=bench.clock.time_ns(), eta=Eta())
    bench.clock.advance(0.5)
    assert joined.at_boundary() == pytest.approx(47.5)  # it is read once a second
    bench.clock.advance(1)
    assert joined.at_boundary() is None
