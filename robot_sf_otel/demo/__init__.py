"""A real imitation-learning pipeline, instrumented: the main job of `robot-sf-otel demo`.

It trains an expert, records its trajectories, clones its behaviour, fine-tunes the clone and
compares them. NumPy and Gymnasium are imported when it runs, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_sf_otel.demo.errors import DemoError

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.demo.pipeline import DemoResult

__all__ = ["DemoError", "run_demo"]


def run_demo(
    *,
    quick: bool = False,
    scenario: Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    start_method: str | None = None,
) -> DemoResult:
    """Run the demo pipeline; it is recorded where `configure()` was called before.

    The result depends on the scenario, the mode and the seed alone: not on the number of workers,
    and not on whether telemetry is on.

    Args:
        quick: Half a minute at most on two cores, instead of some three minutes.
        scenario: Scenario file; the pendulum that comes with the package by default.
        seed: Instead of the scenario's own.
        workers: Worker processes; by default one for each usable CPU, at most 8.
        start_method: How `multiprocessing` starts them, see `workers.Workers`.

    Raises:
        DemoError: NumPy or Gymnasium is missing, or the scenario cannot be used; the message is
            one line that says what to do.
    """
    from robot_sf_otel.demo.scenario import DEFAULT_SCENARIO, load_scenario

    path = DEFAULT_SCENARIO if scenario is None else scenario
    loaded = load_scenario(path)
    try:
        from robot_sf_otel.demo.environment import check
        from robot_sf_otel.demo.pipeline import imitation
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in {"gymnasium", "numpy"}:
            raise
        raise DemoError(
            f"the demo needs {missing}, which is not installed: pip install 'robot-sf-otel[demo]'"
        ) from error
    check(loaded.environment)
    return imitation(
        loaded,
        loaded.quick if quick else loaded.full,
        mode="quick" if quick else "full",
        name=path.stem,
        seed=loaded.seed if seed is None else seed,
        worker_count=workers,
        start_method=start_method,
    )
