"""Console progress: the exact lines, the bar, and that neither can hurt the pipeline."""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from loguru import logger

from robot_sf_otel import guard
from robot_sf_otel.instrument.runtime import StepView
from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation
from robot_sf_otel.report.console import ConsoleProgress
from tests.unit.report.conftest import UTF8, PseudoTerminal
from tests.unit.report.test_terminal import nothing_is_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = ("20260101T000000Z-imitation-aaaaaa", "imitation")
TITLE = "Collect expert trajectories"


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What reached Loguru, as `LEVEL message`."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    yield lines
    logger.remove(sink)


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    """A test in which telemetry had a fault that it did not expect fails."""
    guard.reset()
    yield
    assert guard.drain() == []


def view(title: str = TITLE, done: float = 0, **fields: Any) -> StepView:  # noqa: ANN401 - fields
    values: dict[str, Any] = {
        "step_id": "collect",
        "position": 2,
        "total_steps": 5,
        "total": 500,
        "unit": "episodes",
        "rate": None,
        "elapsed_seconds": 42.0,
        **fields,
    }
    return StepView(title=title, done=done, **values)


def began(console: ConsoleProgress) -> None:
    console.run_started(*RUN, Path.cwd() / "output" / "run-tracker" / RUN[0])
    console.step_started("collect", TITLE, 2, 5, 660.0, 120.0)


# -- lines ----------------------------------------------------------------------------------------


def test_a_step_start_is_the_line_of_the_specification(said: list[str], clock: Clock) -> None:
    began(ConsoleProgress("lines", clock=clock))

    assert said == [
        f"INFO Run output/run-tracker/{RUN[0]}\n",
        "INFO Step 2/5 – Collect expert trajectories (ETA 11m, elapsed 2m)\n",
    ]


def test_an_unknown_eta_is_dashes_and_a_step_outside_the_plan_has_no_number(
    said: list[str], clock: Clock
) -> None:
    console = ConsoleProgress("lines", clock=clock)
    console.run_started(*RUN, Path("/elsewhere"))
    console.step_started("x", "A\nB", None, 5, None, 0.0)

    assert said[0] == f"INFO Run {RUN[0]} of imitation – /elsewhere\n"
    assert said[1] == "INFO Step – A B (ETA --, elapsed 0s)\n"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("completed", "completed in 2m 03s"),
        ("failed", "failed after 2m 03s"),
        ("cancelled", "cancelled after 2m 03s"),
        ("skipped", "skipped"),
    ],
)
def test_a_step_end_tells_its_duration(
    said: list[str], clock: Clock, status: str, outcome: str
) -> None:
    console = ConsoleProgress("lines", clock=clock)
    began(console)
    console.step_finished("collect", TITLE, status, 123.0, 2, 5, None, 243.0)

    assert said[-1] == f"INFO Step 2/5 – {TITLE} – {outcome} (ETA --, elapsed 4m)\n"


def test_a_running_step_speaks_every_thirty_seconds(said: list[str], clock: Clock) -> None:
    console = ConsoleProgress("lines", clock=clock)
    began(console)
    said.clear()
    for _ in range(95):
        clock.now += 1
        console.tick([view()], 660.0, clock.now - 1000)

    assert said == [
        f"INFO Step 2/5 – {TITLE} (ETA 11m, elapsed 30s)\n",
        f"INFO Step 2/5 – {TITLE} (ETA 11m, elapsed 1m)\n",
        f"INFO Step 2/5 – {TITLE} (ETA 11m, elapsed 1m)\n",
    ]


def test_many_running_steps_are_counted(said: list[str], clock: Clock) -> None:
    console = ConsoleProgress("lines", clock=clock)
    began(console)
    said.clear()
    clock.now += 30
    console.tick([view(title=f"Worker {index}") for index in range(8)], None, 30.0)

    assert len(said) == 6
    assert said[-1] == "INFO 3 more steps running\n"


def test_thousands_of_short_steps_are_not_told_one_by_one(said: list[str], clock: Clock) -> None:
    console = ConsoleProgress("lines", clock=clock)
    console.run_started(*RUN, Path("/x"))
    for index in range(5000):
        clock.now += 0.001
        console.step_started("s", "s", index + 1, 5000, None, 0.0)
        console.step_finished("s", "s", "completed", 0.001, index + 1, 5000, None, 0.0)
    console.step_finished("s", "s", "failed", 0.001, 5000, 5000, None, 0.0)
    console.run_finished("failed", 5.0)

    assert len(said) < 200
    left_out = sum(int(found[1]) for line in said if (found := re.search(r"… (\d+) lines", line)))
    assert left_out + len(said) >= 10_000
    assert next(line for line in said if "failed" in line).startswith("INFO Step 5000/5000")


def test_the_end_tells_verdict_findings_and_report(said: list[str], clock: Clock) -> None:
    console = ConsoleProgress("lines", clock=clock)
    began(console)
    said.clear()
    anomaly = Anomaly(id="a", trigger="t", severity="info", message="A spike", timestamp_ms=0)
    advice = PerformanceRecommendation(
        id="r",
        trigger="t",
        severity="critical",
        message="Slow",
        suggested_actions=["Do this", "Do that"],
        timestamp_ms=0,
    )
    console.run_finished(
        "failed",
        123.0,
        Path.cwd() / "output" / "manifest.md",
        "ValueError: no\nmore",
        anomalies=[anomaly],
        recommendations=[advice],
    )

    assert said == [
        "ERROR Run failed after 2m 03s: ValueError: no more\n",
        "WARNING Recommendation: Slow – Do this; Do that\n",
        "INFO Anomaly: A spike\n",
        "INFO Report: output/manifest.md\n",
    ]


def test_braces_and_markup_in_names_are_text(said: list[str], clock: Clock) -> None:
    console = ConsoleProgress("lines", clock=clock)
    console.run_started(*RUN, Path("/x"))
    console.step_started("x", "{0} {x} <red>[bold]\x1b[2J", 1, 1, None, 0.0)

    assert said[-1] == "INFO Step 1/1 – {0} {x} <red>[bold][2J (ETA --, elapsed 0s)\n"


def test_off_says_nothing_but_warnings(said: list[str], clock: Clock) -> None:
    console = ConsoleProgress("off", clock=clock)
    began(console)
    console.tick([view()], None, 30.0)
    console.run_finished("completed", 1.0)
    console.warning("the disk is full")

    assert said == ["WARNING the disk is full\n"]


def test_auto_is_lines_where_stderr_is_no_terminal(
    said: list[str], clock: Clock, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w+") as file:
        began(ConsoleProgress("auto", clock=clock, stream=file, environ=UTF8))
        file.seek(0)

        assert len(said) == 2
        assert not file.read()


# -- never hurts ----------------------------------------------------------------------------------


def test_a_display_that_breaks_is_a_counted_fault(
    said: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> NoReturn:
        raise OSError("gone")

    console = ConsoleProgress("lines", clock=clock)
    began(console)
    monkeypatch.setattr("robot_sf_otel.report.lines.LineDisplay._say", broken)
    console.step_started("x", "x", 1, 1, None, 0.0)
    console.step_finished("x", "x", "completed", 1.0, 1, 1, None, 0.0)
    console.run_finished("completed", 1.0)

    assert guard.drain() == [("console", "OSError: gone", 3)]
    assert sum("going on" in line for line in said) == 1


def test_a_caller_does_not_wait_for_a_drawing_that_hangs(
    said: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robot_sf_otel.report.console._PATIENCE_SECONDS", 0.0)
    console = ConsoleProgress("lines", clock=clock)
    began(console)
    said.clear()
    held, done = threading.Event(), threading.Event()

    def hang() -> None:
        with console._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    held.wait()
    try:
        console.tick([view()], None, 0.0)
    finally:
        done.set()
        thread.join()

    assert said == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_draws_nothing(pseudo_terminal: PseudoTerminal, clock: Clock) -> None:
    console = ConsoleProgress("auto", clock=clock, stream=pseudo_terminal.stream, environ=UTF8)
    began(console)
    clock.now += 1
    console.tick([view()], None, 0.0)
    pseudo_terminal.show()
    before = pseudo_terminal.raw
    child = os.fork()
    if child == 0:
        clock.now += 1
        console.tick([view()], None, 1.0)
        console.step_finished("collect", TITLE, "completed", 1.0, 2, 5, None, 0.0)
        console.run_finished("completed", 1.0)
        console.silence()
        console.step_started("x", "x", 1, 1, None, 0.0)
        os._exit(0)
    os.waitpid(child, 0)
    pseudo_terminal.show()

    assert pseudo_terminal.raw == before
    console.run_finished("completed", 1.0)


# -- bar ------------------------------------------------------------------------------------------


def test_the_bar_shows_steps_and_leaves_their_lines(
    pseudo_terminal: PseudoTerminal, clock: Clock, said: list[str]
) -> None:
    before = (sys.stdout, sys.stderr)
    console = ConsoleProgress("auto", clock=clock, stream=pseudo_terminal.stream, environ=UTF8)
    began(console)
    clock.now += 1
    console.tick([view(done=120, rate=3.2)], 660.0, 121.0)
    rows = pseudo_terminal.show().rows

    assert (sys.stdout, sys.stderr) == before
    assert re.fullmatch(
        r"\S 2/5 Collect expert trajectories +[━╸╺]{10} 120/500 episodes 3\.20/s 42s ?", rows[-2]
    )
    assert rows[-1].rstrip() == "  imitation: elapsed 2m, ETA 11m"
    assert max(map(len, rows)) < 80

    clock.now += 1
    console.step_finished("collect", TITLE, "completed", 123.0, 2, 5, None, 243.0)
    console.run_finished("completed", 300.0, Path("/x/manifest.md"))

    assert pseudo_terminal.show().text == [
        f"Run output/run-tracker/{RUN[0]}",
        f"✓ Step 2/5 – {TITLE} – completed in 2m 03s",
        "✓ Run completed in 5m 00s",
        "Report: /x/manifest.md",
    ]
    assert said == []


def test_the_row_of_a_skipped_step_goes_with_its_end(
    pseudo_terminal: PseudoTerminal, clock: Clock
) -> None:
    console = ConsoleProgress("auto", clock=clock, stream=pseudo_terminal.stream, environ=UTF8)
    began(console)
    console.tick([view()], None, 1.0)
    clock.now += 1
    console.step_finished("collect", TITLE, "skipped", 1.0, None, 4, None, 1.0)
    shown = pseudo_terminal.show()

    assert f"↷ Step – {TITLE} – skipped" in shown.text
    assert not any("2/5" in row for row in shown.rows)
    console.run_finished("completed", 1.0)


def test_the_bar_fits_a_narrow_terminal(small_terminal: PseudoTerminal, clock: Clock) -> None:
    console = ConsoleProgress("auto", clock=clock, stream=small_terminal.stream, environ=UTF8)
    began(console)
    clock.now += 1
    steps = [view(title=f"{TITLE} {index}", total=None, done=3) for index in range(9)]
    console.tick(steps, None, 1.0)
    rows = small_terminal.show().rows

    assert max(map(len, rows[-5:])) < 60
    assert "5 more steps running" in rows[-1]
    console.run_finished("completed", 1.0)


def test_without_unicode_and_colour_the_bar_is_plain(
    ascii_terminal: PseudoTerminal, clock: Clock
) -> None:
    environ = {**UTF8, "NO_COLOR": "1"}
    console = ConsoleProgress("auto", clock=clock, stream=ascii_terminal.stream, environ=environ)
    began(console)
    clock.now += 1
    console.tick([view(title="Ünï\x1b]0;x\x07 " + "x" * 99, done=120)], None, 1.0)
    clock.now += 1
    console.step_finished("collect", TITLE, "failed", 1.0, 2, 5, None, 1.0)
    console.run_finished("failed", 1.0, reason="no")
    ascii_terminal.show()

    assert ascii_terminal.raw.isascii()
    assert not re.search(r"\x1b\[[0-9;]*[349][0-9]", ascii_terminal.raw)
    assert "x Step 2/5 - Collect expert trajectories - failed after 1.0 s" in ascii_terminal.raw
    assert "\x07" not in ascii_terminal.raw


def test_a_stopped_terminal_gets_its_lines_later(
    pseudo_terminal: PseudoTerminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = ConsoleProgress("auto", clock=clock, stream=pseudo_terminal.stream, environ=UTF8)
    monkeypatch.setattr("select.select", nothing_is_ready)
    began(console)
    for index in range(1000):
        console.step_finished(f"s{index}", f"s{index}", "completed", 1.0, 1, 1, None, 0.0)
    monkeypatch.undo()
    clock.now += 1
    console.tick([], None, 1.0)
    assert "(501 lines left out)" in pseudo_terminal.show().text
    for _ in range(30):
        clock.now += 1
        console.tick([], None, 1.0)
        pseudo_terminal.show()

    assert "✓ Step 1/1 – s999 – completed in 1.0 s" in pseudo_terminal.show().text
    console.run_finished("completed", 1.0)


def test_the_bar_stays_until_the_last_of_several_runs_ended(
    pseudo_terminal: PseudoTerminal, clock: Clock
) -> None:
    console = ConsoleProgress("auto", clock=clock, stream=pseudo_terminal.stream, environ=UTF8)
    console.run_started("a", "a", Path("/a"))
    console.run_started("b", "b", Path("/b"))
    clock.now += 1
    console.tick([view()], None, 1.0)
    console.run_finished("completed", 1.0)
    clock.now += 1
    console.tick([view()], None, 2.0)
    assert pseudo_terminal.show().bottom == 21

    console.run_finished("completed", 1.0)

    assert pseudo_terminal.show().bottom == 23


def test_an_interpreter_that_ends_gives_the_rows_back(
    pseudo_terminal: PseudoTerminal, clock: Clock
) -> None:
    console = ConsoleProgress("auto", clock=clock, stream=pseudo_terminal.stream, environ=UTF8)
    began(console)
    clock.now += 1
    console.tick([view()], None, 1.0)
    display: Any = console._display
    display._at_exit()

    assert pseudo_terminal.show().bottom == 23
    assert pseudo_terminal.screen.text == [f"Run output/run-tracker/{RUN[0]}"]
