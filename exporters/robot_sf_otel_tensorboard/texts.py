"""What TensorBoard's text page shows: findings with their evidence, and the report at the end."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from robot_sf_otel.manifest.markdown import render_markdown
from robot_sf_otel.manifest.markdown_text import escape
from robot_sf_otel.manifest.schema import PerformanceRecommendation
from robot_sf_otel.store.reader import UnreadableRun, load_run

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import Anomaly


def finding(found: Anomaly | PerformanceRecommendation) -> str:
    """Return a recommendation or anomaly as Markdown."""
    where = f" in step {escape(found.step_id)}" if found.step_id else ""
    lines = [f"**{found.severity}**{where}: {escape(found.message, 2000)}", ""]
    lines += [f"- {escape(name)}: {escape(str(value))}" for name, value in found.evidence.items()]
    if isinstance(found, PerformanceRecommendation):
        lines += ["", "What to do:", ""]
        lines += [f"1. {escape(action, 2000)}" for action in found.suggested_actions]
    return "\n".join(lines)


def report(run_dir: Path) -> tuple[str | None, int]:
    """Return the report of a run as Markdown, and the Unix nanoseconds of its end."""
    try:
        record = load_run(run_dir).record
    except (UnreadableRun, OSError):
        return None, time.time_ns()
    ended = time.time_ns()
    if record.completed_at is not None:
        ended = int(datetime.fromisoformat(record.completed_at).timestamp() * 1e9)
    return render_markdown(record), ended
