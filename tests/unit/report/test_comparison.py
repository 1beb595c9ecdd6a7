"""What `compare` shows."""

from __future__ import annotations

import io

from robot_sf_otel.analysis.comparison import compare
from robot_sf_otel.manifest.schema import PipelineRunRecord, StepExecutionEntry, Usage
from robot_sf_otel.report.comparison import add_comparison, label
from robot_sf_otel.report.page import Page
from tests.data.sample_runs import HOSTILE


def entry(name: str, seconds: float | None, cpu: float | None = None) -> StepExecutionEntry:
    return StepExecutionEntry(
        step_id=name,
        display_name=name,
        order=1,
        status="failed" if seconds is None else "completed",
        started_at="2026-01-01T00:00:00Z",
        duration_seconds=seconds,
        usage=Usage(cpu_seconds=cpu),
    )


def run(run_id: str, *steps: StepExecutionEntry, **params: object) -> PipelineRunRecord:
    return PipelineRunRecord(
        run_id=run_id, pipeline="p", status="completed", steps=list(steps), params=params
    )


def shown(*runs: PipelineRunRecord, everything: bool = False, width: int = 100) -> str:
    page = Page(io.StringIO(), {"COLUMNS": str(width)})
    add_comparison(page, compare(runs), everything=everything)
    return page.text()


def row(text: str, begins: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(begins)).split()


def test_durations_stand_side_by_side_with_their_change() -> None:
    text = shown(run("one", entry("train", 10)), run("two", entry("train", 15)))
    assert row(text, "train") == ["train", "10.0", "s", "15.0", "s", "+50%"]
    assert row(text, "B")[:2] == ["B", "two"]


def test_a_step_that_is_missing_or_failed_is_said() -> None:
    text = shown(run("one", entry("a", 1), entry("b", 1)), run("two", entry("b", None)))
    assert row(text, "a ")[-1] == "--"
    assert row(text, "b ")[-1] == "failed"


def test_several_executions_are_counted_those_that_did_not_complete_apart() -> None:
    twice = run("one", entry("a", 1), entry("a", 2))
    text = shown(twice, run("two", entry("a", None), entry("a", 2)))
    assert "3.0 s in 2 " in text
    assert "2.0 s in 1, 1 more did not complete" in text


def test_what_nobody_used_has_no_line() -> None:
    assert "Usage" not in shown(run("one", entry("a", 1)), run("two", entry("a", 1)))
    text = shown(run("one", entry("a", 1, 2.0)), run("two", entry("a", 1, 1.0)))
    usage = text.partition("Usage")[2]
    assert row(usage, "a ") == ["a", "CPU", "2.0", "s", "1.0", "s", "-50%"]
    assert "Disk" not in usage


def test_equal_parameters_are_left_out_unless_asked_for() -> None:
    runs = run("one", lr=0.1, n=5), run("two", lr=0.2, n=5)
    text = shown(*runs)
    assert row(text, "lr") == ["lr", "0.1", "0.2", "*"]
    assert "\nn " not in text
    assert "2 equal parameters are left out; --all shows them" in text
    everything = shown(*runs, everything=True)
    assert row(everything, "n ") == ["n", "5", "5"]
    assert "left out" not in everything


def test_a_long_comparison_is_cut_and_says_so() -> None:
    runs = [run(name, *(entry(f"s{n}", 1) for n in range(250))) for name in ("one", "two")]
    text = shown(*runs)
    assert "… 50 more steps" in text
    assert "s200" not in text


def test_hostile_names_stay_in_their_cells() -> None:
    text = shown(run(HOSTILE, entry(HOSTILE, 1)), run("two", **{HOSTILE: HOSTILE}), width=200)
    assert "\x1b" not in text
    assert "[bold]" in text


def test_columns_have_letters_however_many_there_are() -> None:
    assert [label(index) for index in (0, 25, 26, 52)] == ["A", "Z", "A1", "A2"]
