"""The ETAs that were shown, held against what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.eta_log import EtaLog
from robot_sf_otel.manifest.facts import eta_sentence
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.markdown import render_markdown
from robot_sf_otel.manifest.schema import Eta, EtaScores, PipelineRunRecord

if TYPE_CHECKING:
    from robot_sf_otel.manifest.execution import Execution

SECOND = e.NANOSECONDS


def eta(remaining: float | None, low: float | None = None, high: float | None = None) -> Eta:
    return Eta(
        remaining_seconds=remaining,
        low_seconds=low,
        high_seconds=high,
        basis="history",
        history_runs=3,
    )


def scores(log: EtaLog, duration: float) -> EtaScores:
    found = log.of_completed(duration).scores
    assert found is not None
    return found


def test_errors_are_shares_of_the_time_that_the_run_took() -> None:
    log = EtaLog()
    log.show(eta(90, 80, 100), 10, after_steps=False)  # 100 in all
    log.show(eta(60, 50, 75), 30, after_steps=True)  # 90, the first after two steps
    log.show(eta(40, 39, 41), 45, after_steps=True)  # 85, the last one before half time
    log.show(eta(10, 5, 11), 80, after_steps=True)
    found = scores(log, 100)
    assert found.shown == 4
    assert found.error_after_step_2 == pytest.approx(0.10)
    assert found.error_at_half_time == pytest.approx(0.15)
    assert found.share_inside_band == 0.5  # the bands of the first and of the second held it


def test_that_all_is_done_is_not_held_against_the_moment_before_the_end() -> None:
    log = EtaLog()
    log.show(eta(0, 0, 0), 30, after_steps=False)  # but then another step began
    log.show(eta(60, 50, 75), 40, after_steps=False)
    log.show(eta(0, 0, 0), 99.9, after_steps=True)
    assert scores(log, 100).share_inside_band == 0.5


def test_what_was_not_shown_then_has_no_error() -> None:
    assert scores(EtaLog(), 100) == EtaScores()
    log = EtaLog()
    log.show(eta(20), 80, after_steps=False)
    found = scores(log, 100)
    assert (found.shown, found.error_after_step_2, found.error_at_half_time) == (1, None, None)
    assert found.share_inside_band is None


def test_unknown_was_shown_as_unknown_and_is_not_scored() -> None:
    log = EtaLog()
    log.show(eta(90, 80, 100), 10, after_steps=False)
    log.show(Eta(), 20, after_steps=False)
    assert log.last == Eta()
    assert scores(log, 100).shown == 1


def run(status: str, *events: e.Event) -> PipelineRunRecord:
    fold = RunFold()
    fold.apply(e.RunStarted(time_unix_nano=0, run_id="r", pipeline="p", span_id="root"))
    fold.apply(e.StepStarted(time_unix_nano=0, span_id="a", step_id="a"))
    for event in events:
        fold.apply(event)
    if status != "running":
        fold.apply(
            e.RunFinished(
                time_unix_nano=100 * SECOND,
                status="completed" if status == "completed" else "failed",
                result="",
                duration_seconds=100.0,
            )
        )
    return fold.record()


def test_the_record_of_a_live_run_has_the_eta_that_was_shown_last() -> None:
    shown = [
        e.EtaShown(time_unix_nano=10 * SECOND, span_id="a", eta=eta(80)),
        e.EtaShown(time_unix_nano=20 * SECOND, span_id="a", eta=eta(70)),
    ]
    record = run("running", *shown)
    assert record.eta == eta(70)
    assert record.steps[0].eta_snapshot_seconds == 80


def test_a_completed_run_has_nothing_left_and_its_scores() -> None:
    record = run("completed", e.EtaShown(time_unix_nano=40 * SECOND, eta=eta(50, 40, 60)))
    assert (record.eta.remaining_seconds, record.eta.total_seconds) == (0, 100)
    assert (record.eta.basis, record.eta.history_runs) == ("history", 3)
    assert record.eta.scores is not None
    assert record.eta.scores.error_at_half_time == pytest.approx(0.1)


def test_a_failed_run_has_no_eta() -> None:
    assert run("failed", e.EtaShown(time_unix_nano=0, eta=eta(50))).eta == Eta()


def test_people_read_how_good_the_etas_were() -> None:
    judged = EtaScores(
        shown=7, error_after_step_2=0.02, error_at_half_time=0.013, share_inside_band=0.857
    )
    assert eta_sentence(Eta(history_runs=3, scores=judged)) == (
        "An ETA was shown 7 times, from 3 earlier runs: off by 2 % of the run after its second "
        "step, off by 1.30 % of the run at half time, the end lay within the 80 % band in 85.7 %."
    )
    assert eta_sentence(Eta(history_runs=1, scores=EtaScores(shown=1))) == (
        "An ETA was shown once, from 1 earlier run: too late to be judged."
    )
    assert eta_sentence(Eta(scores=EtaScores())) is None
    assert eta_sentence(Eta()) is None


def test_the_reports_say_it() -> None:
    record = run("completed", e.EtaShown(time_unix_nano=40 * SECOND, eta=eta(50, 40, 60)))
    assert "off by 10 % of the run at half time" in render_markdown(record)


def test_an_eta_costs_the_same_after_thousands_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    is_top_level = RunFold._is_top_level

    def counted(fold: RunFold, run: Execution) -> bool:
        nonlocal looks
        looks += 1
        return is_top_level(fold, run)

    monkeypatch.setattr(RunFold, "_is_top_level", counted)
    fold = RunFold()
    fold.apply(e.RunStarted(time_unix_nano=0, run_id="r", pipeline="p"))
    for number in range(1000):
        span, time = f"{number:016x}", number * SECOND
        fold.apply(e.StepStarted(time_unix_nano=time, span_id=span, step_id=f"s{number}"))
        fold.apply(
            e.StepFinished(
                time_unix_nano=time, span_id=span, status="completed", result="", duration_seconds=0
            )
        )
        fold.apply(e.EtaShown(time_unix_nano=time, eta=eta(90)))
    assert looks <= 2 * 1000
    fold.apply(
        e.RunFinished(
            time_unix_nano=2000 * SECOND, status="completed", result="", duration_seconds=2000.0
        )
    )
    scored = fold.record().eta.scores
    assert scored is not None
    assert scored.error_after_step_2 == pytest.approx((2000 - 91) / 2000)


def test_what_an_eta_rested_on_is_told_of_the_last_one_with_steps_to_come() -> None:
    log = EtaLog()
    log.show(eta(50), 40, after_steps=False)
    log.show(Eta(remaining_seconds=1, basis="plan"), 90, after_steps=True)
    assert log.of_completed(100).basis == "history"
    assert log.of_completed(100).history_runs == 3
