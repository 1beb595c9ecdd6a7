from __future__ import annotations

from robot_sf_otel.analysis.durations import beside_history
from robot_sf_otel.manifest.schema import PipelineRunRecord, StepExecutionEntry, StepStatus


def entry(
    name: str,
    seconds: float | None,
    status: StepStatus = "completed",
    parent: str | None = None,
) -> StepExecutionEntry:
    return StepExecutionEntry(
        step_id=name,
        display_name=name.title(),
        order=1,
        status=status,
        parent_step_id=parent,
        duration_seconds=seconds,
    )


def run(
    run_id: str, *steps: StepExecutionEntry, created: str = "2026-01-01", scenario: str = "s"
) -> PipelineRunRecord:
    return PipelineRunRecord(
        run_id=run_id,
        pipeline="p",
        created_at=created,
        scenario_config_path=scenario,
        steps=list(steps),
    )


def test_step_stands_beside_the_median_of_earlier_runs() -> None:
    earlier = [run(str(n), entry("train", float(n))) for n in (1, 2, 9)]
    (row,) = beside_history(run("now", entry("train", 4.0), created="2026-01-02"), earlier)
    assert (row.title, row.seconds, row.earlier_median, row.earlier_runs) == ("Train", 4.0, 2.0, 3)


def test_what_is_not_comparable_is_left_out() -> None:
    others = [
        run("now", entry("train", 1.0)),
        run("later", entry("train", 2.0), created="2027-01-01"),
        run("elsewhere", entry("train", 3.0), scenario="other"),
        run("failed", entry("train", 4.0, status="failed")),
        run("inner", entry("train", 5.0, parent="outer")),
    ]
    (row,) = beside_history(run("now", entry("train", 7.0), created="2026-01-02"), others)
    assert (row.earlier_median, row.earlier_runs) == (None, 0)


def test_last_completed_attempt_counts_and_a_step_not_reached_is_unknown() -> None:
    now = run(
        "now",
        entry("train", 1.0, status="failed"),
        entry("train", 2.0),
        entry("evaluate", None, status="pending"),
    )
    rows = {row.step_id: row.seconds for row in beside_history(now, [])}
    assert rows == {"train": 2.0, "evaluate": None}
