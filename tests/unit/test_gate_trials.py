"""The trials of the performance gate: what they run, in which order, and what they say of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import gate_trials
from benchmarks.gate_trials import Trial, schedule, table
from robot_sf_otel.perf import scenarios

if TYPE_CHECKING:
    from pathlib import Path


def trial(throughput: float, status: str) -> Trial:
    return Trial(
        throughput=throughput,
        status=status,
        exit_code=0,
        ratio=throughput,
        unscaled=throughput,
        samples=6,
        seconds=3.0,
        load=2.5,
    )


def test_the_kinds_are_spread_evenly_over_the_whole() -> None:
    order = schedule({1.0: 5, 0.85: 2, 0.6: 2})

    assert sorted(order) == [0.6, 0.6, 0.85, 0.85, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert 0.6 in order[:4]
    assert 0.6 in order[-4:]


def test_the_scenario_is_one_that_perf_tests_reads(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(gate_trials.SCENARIO.format(throughput=0.6))

    (case,) = scenarios.load(path).cases()

    assert case.params == {"throughput": 0.6}


def test_less_throughput_is_more_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_trials, "EPISODES", 2)
    monkeypatch.setattr(gate_trials, "STEPS", 3)

    assert gate_trials.work(1.0) != gate_trials.work(0.5)


def test_the_table_says_what_came_out_beside_what_was_wanted() -> None:
    text = table([trial(1.0, "passed"), trial(1.0, "inconclusive"), trial(0.6, "failed")])

    assert "| 100% | 2 | 1 passed, 1 inconclusive | passed | 1.000 to 1.000 | 6 | 3.0 |" in text
    assert "| 60% | 1 | 1 failed | failed |" in text
    assert "Load average from 2.5 to 2.5" in text


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ({1.0: "passed", 0.85: "soft-breach", 0.6: "failed"}, 0),
        ({1.0: "soft-breach", 0.85: "soft-breach", 0.6: "failed"}, 1),
        ({1.0: "passed", 0.85: "passed", 0.6: "failed"}, 1),
        ({1.0: "passed", 0.85: "soft-breach", 0.6: "passed"}, 1),
    ],
)
def test_the_exit_code_says_whether_the_gate_can_be_relied_on(
    monkeypatch: pytest.MonkeyPatch, outcomes: dict[float, str], code: int
) -> None:
    def answered(_here: Path, throughput: float, *_: str) -> tuple[int, dict[str, object]]:
        result = {
            "status": outcomes[throughput],
            "ratio": throughput,
            "throughput_measured": throughput,
            "samples": [1.0],
        }
        return 0, json.loads(json.dumps(result))

    monkeypatch.setattr(gate_trials, "perf_tests", answered)

    assert gate_trials.main(["--unchanged", "2", "--slower-15", "2", "--slower-40", "2"]) == code
