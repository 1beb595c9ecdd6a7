"""The sentences of the console: one place, so that a bar and plain lines say the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.formats import coarse_duration, duration, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation

TITLE_LIMIT: Final = 120
"""Characters of a title or name that one line shows."""
_MAX_FINDINGS: Final = 10


def step_name(title: str, position: int | None, total: int) -> str:
    """Return `Step 2/5 – Collect expert trajectories`; a step outside the count has no number."""
    number = f"Step {position}/{total}" if position is not None else "Step"
    return f"{number} – {one_line(title, TITLE_LIMIT)}"


def step_line(name: str, eta_seconds: float | None, elapsed_seconds: float, note: str = "") -> str:
    """Return `Step 2/5 – Collect expert trajectories (ETA 11m, elapsed 2m)`.

    Args:
        name: What `step_name` returned.
        eta_seconds: Predicted time to the end of the run; None is shown as `--`.
        elapsed_seconds: Time since the start of the run.
        note: What happened, put before the parenthesis.
    """
    middle = f" – {note}" if note else ""
    times = f"ETA {coarse_duration(eta_seconds)}, elapsed {coarse_duration(elapsed_seconds)}"
    return f"{name}{middle} ({times})"


def outcome(status: str, seconds: float) -> str:
    """Return how something ended: `completed in 2m 03s`, `failed after 850 ms`, `skipped`."""
    if status == "skipped":
        return status
    word = "in" if status == "completed" else "after"
    return f"{status} {word} {duration(seconds)}"


def opening(run_id: str, pipeline: str, run_dir: Path, *, resumed: bool = False) -> str:
    """Return what is said when a run opens, or goes on after it was stopped."""
    what = "Resumed run" if resumed else "Run"
    where = shown_path(run_dir)
    # What the path says already is not said twice: the line should fit a terminal.
    named = "" if Path(where).name == run_id else f" {one_line(run_id, TITLE_LIMIT)}"
    name = one_line(pipeline, TITLE_LIMIT)
    if f"-{name}-" in where:
        return f"{what}{named} {where}"
    return f"{what}{named} of {name} – {where}"


def verdict(status: str, seconds: float, reason: str | None) -> str:
    """Return how a run ended: `Run failed after 2m 03s: SIGTERM`."""
    text = f"Run {outcome(status, seconds)}"
    if reason and status != "completed":
        text += f": {one_line(reason, 500)}"
    return text


def findings(
    anomalies: Sequence[Anomaly], recommendations: Sequence[PerformanceRecommendation]
) -> list[tuple[str, str]]:
    """Return (severity, text) of what was found, the worst first and not more than fit."""
    rank = {"critical": 0, "warning": 1, "info": 2}
    said = [(found.severity, f"Anomaly: {one_line(found.message)}") for found in anomalies]
    said += [
        (found.severity, f"Recommendation: {one_line(found.message)} – {_actions(found)}")
        for found in recommendations
    ]
    said.sort(key=lambda item: rank[item[0]])
    left_out = len(said) - _MAX_FINDINGS
    tail = [("info", f"{left_out} more in the report")] if left_out > 0 else []
    return [*said[:_MAX_FINDINGS], *tail]


def _actions(found: PerformanceRecommendation) -> str:
    return "; ".join(one_line(action) for action in found.suggested_actions)


def shown_path(path: Path) -> str:
    """Return a path as people would type it here: relative where it lies below this directory."""
    try:
        text = str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        text = str(path)
    return one_line(os.fspath(text))
