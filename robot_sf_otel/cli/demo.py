"""`robot-sf-otel demo`: run a real imitation-learning pipeline, and say where to look."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from robot_sf_otel.demo.pipeline import DemoResult


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

    configure(artifact_root=_artifact_root(context))
    try:
        result = run_demo(quick=quick, scenario=scenario, seed=seed)
    except DemoError as error:
        typer.echo(f"robot-sf-otel demo: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"\n{result.comparison.to_markdown()}\n{where_to_look(result)}")


def where_to_look(result: DemoResult) -> str:
    """Return what to read and to type next, or why there is nothing to read."""
    if result.run_id is None:
        return "Telemetry is off, so nothing was recorded."
    if result.run_dir is None:
        return "The run could not be written to disk; a warning above says why."
    folder = _shown(result.run_dir)
    argument = shlex.quote(str(folder))
    lines = [
        f"{folder}/",
        "  manifest.md     the report, for people",
        "  manifest.json   the same, for programs",
        "  artifacts/      trajectories, policies and the comparison",
        "",
        "What to type next:",
        f"  robot-sf-otel status {argument}",
        f"  robot-sf-otel summary {argument}",
        f"  robot-sf-otel --artifact-root {shlex.quote(str(folder.parent.parent))} list",
    ]
    return "\n".join(lines)


def _shown(path: Path) -> Path:
    """Return a path as short as it can be typed here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _artifact_root(context: typer.Context) -> Path | None:
    settings: dict[str, Any] = context.obj or {}
    roots: list[Path] = settings.get("artifact_roots", [])
    return roots[0] if roots else None
