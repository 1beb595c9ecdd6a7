"""Runs that differ in seeds only are one group."""

from __future__ import annotations

from typing import Any

import pytest

from robot_sf_otel.analysis.groups import group_runs, is_seed, last_metrics
from robot_sf_otel.manifest.schema import PipelineRunRecord, RunStatus, StepExecutionEntry


def run(run_id: str, *, status: RunStatus = "completed", **fields: Any) -> PipelineRunRecord:  # noqa: ANN401 - the fields of a record
    given: dict[str, Any] = {"pipeline": "p", "params": {}, **fields}
    return PipelineRunRecord(run_id=run_id, status=status, **given)


def metrics(**values: float) -> list[StepExecutionEntry]:
    return [
        StepExecutionEntry(
            step_id="train", display_name="T", order=1, status="completed", metrics={**values}
        )
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("seed", True), ("SEEDS", True), ("env_seed", True), ("env.seed", True)),
        *(("seeding", False), ("seed_count", False), ("proceed", False), ("lr", False)),
    ],
)
def test_a_seed_is_known_by_its_name(name: str, *, expected: bool) -> None:
    assert is_seed(name) is expected


def test_only_seeds_make_no_difference() -> None:
    groups = group_runs(
        [
            run("a", params={"lr": 1, "net": {"x": 1, "y": 2}}, seeds={"seed": 1}),
            run("b", params={"net": {"y": 2, "x": 1}, "lr": 1}, seeds={"seed": 2}),
            run("c", params={"lr": 1, "net": {"x": 1, "y": 2}, "env_seed": 3}),
            run("d", params={"lr": 2, "net": {"x": 1, "y": 2}}),
            run("e", pipeline="q", params={"lr": 1}),
            run("f", scenario_config_path="s", params={"lr": 1, "net": {"x": 1, "y": 2}}),
        ]
    )
    assert [group.run_ids for group in groups] == [["a", "b", "c"], ["d"], ["e"], ["f"]]
    assert groups[0].seeds == [{"seed": 1}, {"seed": 2}, {"env_seed": 3}]
    assert groups[0].params == {"lr": 1, "net": {"x": 1, "y": 2}}


def test_figures_are_those_of_completed_runs() -> None:
    (group,) = group_runs(
        [
            run("a", duration_seconds=10.0, steps=metrics(reward=1.0), created_at="2026-01-02"),
            run("b", duration_seconds=30.0, steps=metrics(reward=3.0), created_at="2026-01-03"),
            run("c", status="failed", duration_seconds=1.0, steps=metrics(reward=99.0)),
            run("d", status="running"),
        ]
    )
    assert group.statuses == {"completed": 2, "failed": 1, "running": 1}
    assert group.newest == "2026-01-03"
    duration = group.duration_seconds
    assert duration is not None
    assert (duration.median, duration.minimum, duration.maximum) == (20.0, 10.0, 30.0)
    reward = group.metrics["train/reward"]
    assert (reward.runs, reward.mean) == (2, 2.0)
    assert reward.sd == pytest.approx(2**0.5)


def test_one_run_has_no_deviation_and_none_no_figures() -> None:
    (one,) = group_runs([run("a", duration_seconds=10.0)])
    assert one.duration_seconds is not None
    assert one.duration_seconds.sd is None
    (none,) = group_runs([run("a", status="failed", duration_seconds=10.0)])
    assert (none.duration_seconds, none.metrics) == (None, {})


def test_of_several_attempts_the_last_value_of_a_metric_counts() -> None:
    record = run("a", steps=[*metrics(reward=1.0), *metrics(reward=2.0)])
    record.summary.custom["best"] = 5
    record.summary.custom["word"] = "x"
    record.summary.custom["flag"] = True
    assert last_metrics(record) == {"best": 5.0, "train/reward": 2.0}
