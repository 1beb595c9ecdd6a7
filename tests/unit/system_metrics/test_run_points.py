"""What the instruments show of runs and steps: one series at 1, zeros, last values."""

from __future__ import annotations

from robot_sf_otel import semconv
from robot_sf_otel.system_metrics.points import Point
from robot_sf_otel.system_metrics.run_points import RunShown, StepShown, run_points


def run(
    pipeline: str, number: int = 1, status: str = "running", *, ending: bool = False
) -> RunShown:
    return RunShown(pipeline, f"{pipeline}-{number}", "t", status, float(number), ending=ending)


def info(*runs: RunShown) -> list[tuple[str, str, float]]:
    return [
        (
            point.attributes[semconv.PIPELINE_RUN_ID],
            point.attributes[semconv.RUN_STATUS],
            point.value,
        )
        for point in run_points(runs, [])["run_info"]
    ]


def active(*runs: RunShown) -> list[tuple[str, str, float]]:
    return [
        (
            point.attributes["cicd.pipeline.name"],
            point.attributes["cicd.pipeline.run.state"],
            point.value,
        )
        for point in run_points(runs, [])["active_runs"]
    ]


def test_run_has_one_series_at_1_and_the_status_that_it_had_is_0() -> None:
    assert info(run("a")) == [("a-1", "running", 1)]
    assert info(run("a", 1, "failed"), run("a", 2)) == [
        ("a-1", "failed", 1),
        ("a-1", "running", 0),
        ("a-2", "running", 1),
    ]


def test_scenario_is_told_where_there_is_one() -> None:
    plain, named = run("a"), run("a")._replace(scenario="maps/x.yaml")
    (first, second) = run_points([plain, named], [])["run_info"]
    assert semconv.RUN_SCENARIO not in first.attributes
    assert second.attributes[semconv.RUN_SCENARIO] == "maps/x.yaml"


def test_runs_of_one_pipeline_are_counted_together_by_state() -> None:
    assert active(run("a"), run("b"), run("a", 2, ending=True), run("a", 3)) == [
        ("a", "executing", 2),
        ("a", "finalizing", 1),
        ("b", "executing", 1),
        ("b", "finalizing", 0),
    ]


def test_pipeline_without_an_open_run_has_0_of_them() -> None:
    assert active(run("a", 1, "completed")) == [("a", "executing", 0), ("a", "finalizing", 0)]


def test_name_that_a_run_had_before_a_child_named_it_is_0() -> None:
    renamed = run("a")._replace(former=frozenset({("python", None)}))
    told = [
        (point.attributes["cicd.pipeline.name"], point.value)
        for point in run_points([renamed], [])["run_info"]
    ]
    assert told == [("a", 1), ("python", 0)]
    assert ("python", "executing", 0) in active(renamed)
    assert ("python", "executing", 1) in active(renamed, run("python"))


def test_last_run_of_a_pipeline_is_shown() -> None:
    points = run_points([run("a", 1, "failed"), run("b", 5), run("a", 2)], [])
    assert points["run_elapsed"] == [
        Point(2.0, {"cicd.pipeline.name": "a"}),
        Point(5.0, {"cicd.pipeline.name": "b"}),
    ]


def test_unknown_figures_have_no_point() -> None:
    points = run_points([run("a")], [StepShown("a", "s", 1.0)])
    shown = {name for name, found in points.items() if found}
    assert shown == {"run_info", "active_runs", "run_elapsed", "steps_completed", "step_elapsed"}


def test_last_of_several_steps_of_one_name_is_shown() -> None:
    steps = [
        StepShown("a", "s", 9.0, 1, 5, None, {"fps": 1.0, "loss": 2.0}),
        StepShown("a", "s", 4.0, 2, None, 3.0, {"fps": 2.0}),
    ]
    points = run_points([], steps)
    which = {"cicd.pipeline.name": "a", "cicd.pipeline.task.name": "s"}
    assert points["step_elapsed"] == [Point(4.0, which)]
    assert points["progress_done"] == [Point(2, which)]
    assert points["progress_total"] == []
    assert points["progress_rate"] == [Point(3.0, which)]
    assert points["step_metrics"] == [Point(2.0, {**which, "robot_sf.metric.name": "fps"})]


def test_metric_of_the_run_as_a_whole_names_no_step() -> None:
    points = run_points([], [StepShown("a", None, metrics={"reward": 1.5})])
    which = {"cicd.pipeline.name": "a", "robot_sf.metric.name": "reward"}
    assert points["step_metrics"] == [Point(1.5, which)]
