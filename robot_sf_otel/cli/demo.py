"""`robot-sf-otel demo`: run a real imitation-learning pipeline, and say where to look."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from robot_sf_otel.cli.common import beside_earlier, fail
from robot_sf_otel.environment_variables import ARTIFACT_ROOT

if TYPE_CHECKING:
    from robot_sf_otel.demo.pipeline import DemoResult

# The matrices of the demo are so small that several threads a process only get in each other's
# way, 12 % on two cores. NumPy's libraries read these when they are loaded, in workers too.
ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def demo(
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Half a minute at most instead of some three minutes.")
    ] = False,
    scenario: Annotated[
        Path | None,
        typer.Option(
            "--scenario", metavar="FILE", help="Scenario file (TOML); a pendulum by default."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Instead of the scenario's own seed.")
    ] = None,
) -> None:
    """Run a real imitation-learning pipeline, instrumented, and print where to look."""
    from robot_sf_otel.bootstrap import configure
    from robot_sf_otel.demo import DemoError, run_demo

    for variable in ONE_THREAD:
        os.environ.setdefault(variable, "1")
    configure(artifact_root=_artifact_root(context))
    try:
        result = run_demo(quick=quick, scenario=scenario, seed=seed)
    except DemoError as error:
        fail(str(error))
    parts = (result.comparison.to_markdown(), beside_earlier_runs(result), where_to_look(result))
    typer.echo("\n" + "\n".join(part for part in parts if part))


def beside_earlier_runs(result: DemoResult) -> str:
    """Return the duration of each step beside the earlier runs; nothing where there are none."""
    from robot_sf_otel.manifest.formats import UNKNOWN, duration
    from robot_sf_otel.store.reader import UnreadableRun, load_run

    if result.run_dir is None:
        return ""
    try:
        run = load_run(result.run_dir, telemetry=False)
    except (UnreadableRun, OSError):
        return ""  # a record that could not be written takes nothing from what was learned
    rows = beside_earlier(run)
    runs = max((row.earlier_runs for row in rows), default=0)
    if runs == 0:
        return ""
    lines = [f"step durations                    this run   median of {runs} earlier"]
    for row in rows:
        before = duration(row.earlier_median)
        change = ""
        if row.seconds is not None and row.earlier_median:
            change = f"{row.seconds / row.earlier_median - 1:+.0%}"
        now = UNKNOWN if row.seconds is None else duration(row.seconds)
        lines.append(f"  {row.title:<28}{now:>12}{before:>14}  {change}".rstrip())
    return "\n".join([*lines, ""])


def where_to_look(result: DemoResult) -> str:
    """Return what to read and to type next, or why there is nothing to read."""
    if result.run_id is None:
        return "Telemetry is off, so nothing was recorded."
    if result.run_dir is None:
        return "The run could not be written to disk; a warning above says why."
    root = result.run_dir.parent.parent
    command = "robot-sf-otel"
    if root.resolve() != Path(os.environ.get(ARTIFACT_ROOT, "output")).resolve():
        command += f" --artifact-root {shlex.quote(str(_shown(root)))}"
    return "\n".join(
        (
            f"{_shown(result.run_dir)}/",
            "  manifest.md     the report, for people",
            "  manifest.json   the same, for programs",
            "  artifacts/      trajectories, policies and the comparison",
            "",
            f"{command} status    one look at the run",
            f"{command} summary   the report",
            f"{command} list      all runs",
        )
    )


def _shown(path: Path) -> Path:
    """Return a path as short as it can be typed here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _artifact_root(context: typer.Context) -> Path | None:
    settings: dict[str, Any] = context.obj or {}
    roots: list[Path] = settings.get("artifact_roots", [])
    return roots[0] if roots else None
