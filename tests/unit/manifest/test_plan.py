from __future__ import annotations

import pytest

from robot_sf_otel.manifest.plan import Plan
from robot_sf_otel.manifest.schema import PlanStep


def plan(*names: str) -> Plan:
    return Plan(PlanStep(step_id=name) for name in names)


def test_position_and_total_leave_skipped_steps_out() -> None:
    planned = plan("a", "b", "c")
    assert (planned.position("c"), planned.total) == (3, 3)
    planned.skip("a", "cached")
    assert (planned.position("a"), planned.position("c"), planned.total) == (None, 2, 2)
    assert planned.skip_reason("a") == "cached"
    assert planned.ids == ["a", "b", "c"]


def test_step_named_twice_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"'a' twice.*attempt"):
        plan("a", "a")


def test_unplanned_step_joins_at_the_end_once() -> None:
    planned = plan("a")
    assert planned.add("x") is True
    assert planned.add("x") is False
    assert planned.ids == ["a", "x"]


def test_start_takes_a_skip_back() -> None:
    planned = plan("a")
    planned.skip("a")
    planned.add("a")
    assert planned.position("a") == 1


def test_another_plan_keeps_the_skips_of_steps_that_are_still_in_it() -> None:
    planned = plan("a", "b")
    planned.skip("a")
    planned.skip("b")
    planned.replace([PlanStep(step_id="b"), PlanStep(step_id="c")])
    assert (planned.ids, planned.total) == (["b", "c"], 1)


def test_it_counts_how_often_other_steps_were_said_to_run() -> None:
    planned = plan("a", "b")
    before = planned.changes
    planned.add("a")
    planned.add("c")
    assert planned.changes == before
    planned.skip("b")
    assert planned.changes == before + 1
    planned.replace([PlanStep(step_id="b")])
    assert planned.changes == before + 2
