"""The laboratory of the diagnosis: what counts as found, and what as a false alarm."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.diagnosis import gpu_phases
from benchmarks.diagnosis.__main__ import RULES, Result, table, verdict
from benchmarks.diagnosis.cases import CONDITIONS, HEALTHY, Case
from benchmarks.diagnosis.programs import PROGRAMS
from robot_sf_otel.analysis.anomalies import DETECTORS
from robot_sf_otel.analysis.rule_settings import RuleSettings, parse_rules
from robot_sf_otel.analysis.rules import BUILT_IN
from tests.unit.system_metrics.recorded_nvml import recording

if TYPE_CHECKING:
    from pathlib import Path

HEALTHY_CASE = Case(program="idle_wait")
STALL = Case(program="stall", expects=frozenset({"stalled"}), may=frozenset({"stall"}))


def result(case: Case, others: float = 0.0, skipped: str | None = None, **found: str) -> Result:
    return Result(case=case, repetition=1, found=found, others=others, skipped=skipped)


def test_every_case_is_a_program_and_every_program_a_case() -> None:
    assert {case.program for case in (*CONDITIONS, *HEALTHY)} == set(PROGRAMS)
    assert len(HEALTHY) >= 12


def test_labels_are_ids_of_rules_and_anomalies() -> None:
    known = {kind.id for kind in BUILT_IN} | {kind.id for kind in DETECTORS}

    assert {name for case in CONDITIONS for name in case.expects | case.may} <= known


def test_the_thresholds_of_the_laboratory_change_times_only() -> None:
    chosen = parse_rules(RULES.read_text())

    for rule, limits in RuleSettings().rules:
        changed = chosen.thresholds(rule.id)
        names = {
            name
            for name in limits.__struct_fields__
            if getattr(limits, name) != getattr(changed, name)
        }
        assert all(name.endswith("seconds") for name in names)


def test_all_is_right_when_conditions_are_found_and_the_healthy_are_silent() -> None:
    said, right = verdict(
        [result(STALL, stalled="warning"), result(HEALTHY_CASE, single_core_bound="info")]
    )

    assert right
    assert "conditions found: 1 of 1 runs" in said


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (result(STALL), "missed: stall 1: stalled"),
        (result(HEALTHY_CASE, io_bound="warning"), "false: idle_wait 1: io_bound (warning)"),
        (result(HEALTHY_CASE, noisy_neighbour="warning"), "false: idle_wait 1: noisy_neighbour"),
    ],
)
def test_what_is_missed_and_what_is_false_is_wrong_and_named(one: Result, said: str) -> None:
    text, right = verdict([one])

    assert not right
    assert said in text


def test_a_neighbour_that_is_really_there_is_no_false_alarm() -> None:
    assert verdict([result(HEALTHY_CASE, others=0.5, noisy_neighbour="warning")])[1]


def test_what_follows_from_a_condition_is_no_false_alarm() -> None:
    assert result(STALL, stalled="warning", stall="warning").false_alarms == []


def test_nothing_that_ran_is_not_right() -> None:
    text, right = verdict([result(STALL, skipped="no control groups")])

    assert not right
    assert "not true on this machine now: 1" in text


def test_the_table_has_a_line_for_each_program() -> None:
    lines = table([result(STALL, stalled="warning"), result(HEALTHY_CASE)]).split("\n")

    assert lines[1].split()[:3] == ["stall", "stalled", "1/1"]
    assert lines[2].split()[:3] == ["idle_wait", "healthy", "--"]


def test_the_phases_of_a_recorded_gpu_are_told_apart(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [dict(row) for row in recording()]
    path = tmp_path / "nvml.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))

    found = gpu_phases.replay(path)

    for phase, expected in gpu_phases.EXPECTED.items():
        warned = {one.trigger for one in found[phase] if one.severity != "info"}
        assert warned == ({expected} if expected else set()), phase
