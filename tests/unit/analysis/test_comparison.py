"""Runs side by side: what is compared, what differs, and what a limit says of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.analysis.comparison import (
    Comparison,
    Limit,
    StepCell,
    compare,
    judge,
    parse_limit,
)
from robot_sf_otel.manifest.schema import (
    PipelineRunRecord,
    StepExecutionEntry,
    StepStatus,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def entry(
    name: str,
    seconds: float | None,
    status: StepStatus = "completed",
    *,
    parent: str | None = None,
    usage: Usage | None = None,
) -> StepExecutionEntry:
    return StepExecutionEntry(
        step_id=name,
        display_name=name.title(),
        order=1,
        status=status,
        parent_step_id=parent,
        started_at=None if status == "pending" else "2026-01-01T00:00:00Z",
        duration_seconds=seconds,
        usage=usage or Usage(),
    )


def run(run_id: str, *steps: StepExecutionEntry, **fields: Any) -> PipelineRunRecord:  # noqa: ANN401 - fields of a record
    values: dict[str, Any] = {
        "pipeline": "p",
        "status": "completed",
        "duration_seconds": sum(step.duration_seconds or 0 for step in steps),
        **fields,
    }
    return PipelineRunRecord(run_id=run_id, steps=list(steps), **values)


def cells(comparison: Comparison, step_id: str) -> Sequence[StepCell | None]:
    return next(row.runs for row in comparison.steps if row.step_id == step_id)


def durations(comparison: Comparison, step_id: str) -> list[float | None]:
    return [cell.duration_seconds if cell else None for cell in cells(comparison, step_id)]


def test_the_first_run_is_what_the_others_are_compared_with() -> None:
    found = compare([run("a", entry("t", 10)), run("b", entry("t", 15)), run("c", entry("t", 5))])
    assert [cell and cell.change for cell in cells(found, "t")] == [None, 0.5, -0.5]
    assert found.changes == [None, 0.5, -0.5]


def test_one_run_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="at least two"):
        compare([run("a")])


def test_runs_with_different_plans_have_the_steps_of_all() -> None:
    found = compare(
        [run("a", entry("x", 1), entry("y", 2)), run("b", entry("z", 3), entry("x", 4))]
    )
    assert [row.step_id for row in found.steps] == ["x", "y", "z"]
    assert durations(found, "y") == [2, None]
    assert durations(found, "z") == [None, 3]
    assert [cell and cell.change for cell in cells(found, "z")] == [None, None]


def test_a_nested_step_is_not_the_top_level_step_of_the_same_name() -> None:
    found = compare(
        [
            run("a", entry("x", 9), entry("e", 1, parent="x"), entry("e", 5)),
            run("b", entry("x", 9), entry("e", 2, parent="x"), entry("e", 5)),
        ]
    )
    assert [(row.step_id, row.depth) for row in found.steps] == [("x", 0), ("e", 1), ("e", 0)]
    limit = Limit("e", 0.25)
    assert [verdict.breached for verdict in judge(found, limit)] == [False]


def test_completed_executions_add_up_and_failed_attempts_do_not() -> None:
    found = compare(
        [
            run("a", entry("t", 10)),
            run("b", entry("t", 3, "failed"), entry("t", 10), entry("t", 4)),
        ]
    )
    _, later = cells(found, "t")
    assert later is not None
    assert (later.duration_seconds, later.executions, later.status) == (14, 3, "completed")
    assert later.completed == 2


def test_a_step_that_was_not_reached_or_failed_has_no_duration() -> None:
    found = compare([run("a", entry("t", 10)), run("b", entry("t", 4, "failed"))])
    assert durations(found, "t") == [10, None]
    found = compare([run("a", entry("t", 10)), run("b", entry("t", None, "pending"))])
    later = cells(found, "t")[1]
    assert later is not None
    assert (later.status, later.executions, later.duration_seconds) == ("pending", 0, None)


def test_a_run_that_did_not_complete_has_no_total_to_compare() -> None:
    found = compare([run("a", entry("t", 4)), run("b", entry("t", 8), status="failed")])
    assert found.changes == [None, None]


def test_bills_add_up_but_peaks_do_not_and_a_part_is_not_shown_as_the_whole() -> None:
    bills = [
        Usage(cpu_seconds=1, memory_rss_peak_mb=5, cpu_cores_mean=1, disk_read_mb=1),
        Usage(cpu_seconds=2, memory_rss_peak_mb=3, cpu_cores_mean=2),
    ]
    once = [entry("t", 1, usage=bills[0])]
    twice = [entry("t", 1, usage=bill) for bill in bills]
    first, later = cells(compare([run("a", *once), run("b", *twice)]), "t")
    assert first is not None
    assert first.usage == bills[0]
    assert later is not None
    assert later.usage == Usage(cpu_seconds=3, memory_rss_peak_mb=5)


# -- parameters -----------------------------------------------------------------------------------


def parameters(one: dict[str, Any], other: dict[str, Any]) -> dict[str, bool]:
    found = compare([run("a", params=one), run("b", params=other)])
    return {row.name: row.differs for row in found.parameters if row.name != "pipeline"}


def test_parameters_that_differ_are_marked() -> None:
    assert parameters({"lr": 0.1, "n": 5}, {"lr": 0.2, "n": 5}) == {"lr": True, "n": False}


def test_nested_parameters_are_compared_one_by_one() -> None:
    assert parameters({"o": {"lr": 1, "x": {}}}, {"o": {"lr": 2, "x": {}}}) == {
        "o.lr": True,
        "o.x": False,
    }


def test_a_parameter_that_one_run_lacks_is_not_one_that_is_null() -> None:
    assert parameters({"n": None}, {}) == {"n": True}


def test_a_flag_is_no_number() -> None:
    assert parameters({"n": 1}, {"n": True}) == {"n": True}
    assert parameters({"n": 1}, {"n": 1.0}) == {"n": False}


def test_seeds_and_surroundings_are_compared_too() -> None:
    found = compare(
        [
            run("a", seeds={"numpy": 1}, host={"hostname": "x"}, vcs={"commit": "c"}),
            run("b", seeds={"numpy": 2}, host={"hostname": "y"}, params={"host": "mine"}),
        ]
    )
    rows = {row.name: row.values for row in found.parameters}
    assert rows["seed.numpy"] == [1, 2]
    assert rows["host"] == ["x", "mine"]
    assert rows["(host)"] == [None, "y"]
    assert rows["commit"] == ["c", None]


# -- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("train:duration:25%", Limit("train", 0.25)),
        ("total:duration:0%", Limit("total", 0.0)),
        ("a:b:duration:12.5%", Limit("a:b", 0.125)),
        (" train:duration:150% ", Limit("train", 1.5)),
    ],
)
def test_a_limit_names_a_step_and_a_share(text: str, limit: Limit) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train",
        "train:duration",
        "train:duration:25",
        "train:memory:25%",
        ":duration:5%",
        "train:duration:-5%",
        "train:duration:nan%",
        "train:duration:1e3%",
    ],
)
def test_what_is_no_limit_is_answered_with_one(text: str) -> None:
    with pytest.raises(ValueError, match="expected STEP:duration:SHARE%, such as"):
        parse_limit(text)


@given(st.text())
def test_no_text_makes_another_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_limit(text).share >= 0


def verdicts(limit: str, *runs: PipelineRunRecord) -> list[bool | None]:
    return [verdict.breached for verdict in judge(compare(runs), parse_limit(limit))]


def test_a_limit_holds_for_every_later_run() -> None:
    runs = [run(name, entry("t", seconds)) for name, seconds in (("a", 8), ("b", 10), ("c", 10.1))]
    assert verdicts("t:duration:25%", *runs) == [False, True]
    assert verdicts("total:duration:25%", *runs) == [False, True]


def test_a_step_that_a_later_run_did_not_complete_breaches() -> None:
    first = run("a", entry("t", 8))
    for later in (
        run("b"),
        run("b", entry("t", 1, "failed")),
        run("b", entry("t", None, "pending")),
    ):
        assert verdicts("t:duration:25%", first, later) == [True]


def test_a_run_that_did_not_complete_breaches_a_limit_of_the_whole() -> None:
    runs = run("a", entry("t", 8)), run("b", entry("t", 1), status="failed")
    (verdict,) = judge(compare(runs), parse_limit("total:duration:25%"))
    assert verdict.breached
    assert verdict.message == "the whole run did not complete (failed) in b"


def test_where_the_first_run_has_nothing_to_compare_with_that_is_said() -> None:
    for first in (run("a"), run("a", entry("t", 2, "failed")), run("a", entry("t", 0))):
        (verdict,) = judge(compare([first, run("b", entry("t", 1))]), parse_limit("t:duration:5%"))
        assert verdict.breached is None
        assert verdict.message == "step t has no duration in a: nothing to compare with"


def test_a_step_that_no_run_has_is_answered_with_the_closest() -> None:
    runs = run("a", entry("train", 1)), run("b", entry("train", 1))
    (verdict,) = judge(compare(runs), parse_limit("trian:duration:5%"))
    assert verdict.breached
    assert verdict.message == "no run has a step 'trian'; the closest are train"


def test_a_verdict_says_what_was_found_and_what_is_allowed() -> None:
    runs = run("a", entry("t", 60)), run("b", entry("t", 90))
    (verdict,) = judge(compare(runs), parse_limit("t:duration:12.5%"))
    assert verdict.message == "step t took +50.0% in b (1m 00s to 1m 30s), allowed is +12.5%"
