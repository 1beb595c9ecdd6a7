"""The ETA of real runs: unknown at first, learned from the runs before, scored at the end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.reader import load_run

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

PIPELINE = """
    import time
    from robot_sf_otel import configure, pipeline, step, track

    configure(console="lines")

    @pipeline("p", steps=["collect", "train", "evaluate"])
    def main():
        for name, units in (("collect", 6), ("train", 12), ("evaluate", 4)):
            with step(name):
                for _ in track(range(units)):
                    time.sleep(0.1)

    main()
"""
LINES = {"ROBOT_SF_OTEL_CONSOLE": "lines", "ROBOT_SF_OTEL_INTERVAL": "0.2"}


def test_the_second_run_knows_from_the_first_when_it_will_be_done(scripts: Scripts) -> None:
    scripts.run(PIPELINE, env=LINES)
    scripts.run(PIPELINE, env=LINES)
    first, second = (load_run(run_dir) for run_dir in scripts.run_dirs)
    assert first.record.eta.history_runs == 0
    assert second.record.eta.history_runs == 1
    shown = [event for event in second.journal() if event["event"] == "eta_shown"]
    took = second.record.duration_seconds
    for event in shown:
        eta = event["eta"]
        assert 0 <= eta["low_seconds"] <= eta["remaining_seconds"] <= eta["high_seconds"]
        # Far from exact: the steps are short, and other tests run beside.
        assert eta["total_seconds"] == pytest.approx(took, rel=0.5)
    scores = second.record.eta.scores
    assert scores is not None
    assert scores.shown == len(shown) > 0


@pytest.mark.parametrize(
    "middle",
    ['current_run().skip("train")', 'with step("train") as s: s.mark_skipped("cached")'],
    ids=["skip", "mark_skipped"],
)
def test_a_skipped_step_counts_at_once(scripts: Scripts, middle: str) -> None:
    source = """
        import threading, time
        from robot_sf_otel import configure, current_run, forecast, pipeline, step

        learned = threading.Event()
        class Forecast(forecast.Forecast):
            def learn(self, records):
                super().learn(records)
                learned.set()
        forecast.BOUNDARY_COST = 60.0  # whatever else this machine is busy with
        from robot_sf_otel import observer
        observer.Forecast = Forecast
        configure()

        with pipeline("p", steps=["collect", "train", "evaluate"]):
            with step("collect"):
                learned.wait()
                time.sleep(0.5)
            {train}
            with step("evaluate"):
                current_run().log_params({{"begun": True}})
                time.sleep(0.3)
    """
    scripts.run(source.format(train='with step("train"): time.sleep(3)'), env=LINES)
    scripts.run(source.format(train=middle), env=LINES)
    told: list[float] = []
    for event in load_run(scripts.run_dirs[-1]).journal():
        if event["event"] == "eta_shown":
            told.append(event["eta"]["remaining_seconds"])
        elif "begun" in event.get("params", ()):
            break
    assert len(told) > 1
    assert told[-2] > 2 * told[-1]


def test_a_pipeline_without_a_plan_is_expected_to_do_what_it_did_before(scripts: Scripts) -> None:
    source = PIPELINE.replace(', steps=["collect", "train", "evaluate"]', "")
    scripts.run(source, env=LINES)
    scripts.run(source, env=LINES)
    second = load_run(scripts.run_dirs[-1])
    shown = [event["eta"] for event in second.journal() if event["event"] == "eta_shown"]
    assert shown[0]["total_seconds"] == pytest.approx(second.record.duration_seconds, rel=0.5)


def test_the_console_says_the_eta_when_a_step_ends(scripts: Scripts) -> None:
    scripts.run(PIPELINE, env=LINES)
    finished = scripts.run(PIPELINE, env=LINES)
    (line,) = [text for text in finished.errors.splitlines() if "train – completed" in text]
    assert "(ETA --" not in line
    assert "(ETA " in line


def test_a_command_that_is_tracked_from_outside_learns_too(scripts: Scripts) -> None:
    script = str(scripts.write(PIPELINE))
    command = [sys.executable, "-m", "robot_sf_otel.cli.main", "run", "--", sys.executable, script]
    assert scripts.start_command(command, env=LINES).ends().code == 0
    finished = scripts.start_command(command, env=LINES).ends()
    assert finished.code == 0, finished.errors
    second = scripts.records[-1]
    assert (second.pipeline, second.eta.history_runs) == ("p", 1)
    (line,) = [text for text in finished.errors.splitlines() if "evaluate (ETA" in text]
    assert "(ETA --" not in line


def test_history_on_a_disk_that_hangs_keeps_nothing_else_from_the_record(
    scripts: Scripts,
) -> None:
    scripts.run(
        """
        import threading
        from robot_sf_otel import configure, pipeline, run_history, step

        reading = threading.Event()
        def hang(*_, **__):
            reading.set()
            threading.Event().wait()
        run_history.earlier_runs = hang
        configure()
        with pipeline("p"), step("a"):
            reading.wait()
        """
    )
    assert scripts.record.status == "completed"
    assert scripts.record.host["hostname"]
