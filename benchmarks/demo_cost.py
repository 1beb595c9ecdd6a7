"""What telemetry costs the demo, a real pipeline with worker processes, by its own record."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from benchmarks import limits
from benchmarks.interpreters import undisturbed
from benchmarks.results import Figure, Row

if TYPE_CHECKING:
    from pathlib import Path

GROUP: Final = "demo, a real training pipeline"
SHARE: Final = "telemetry's CPU time, of the run's duration"


def measure(directory: Path, arguments: Sequence[str] = ("--quick",)) -> list[Row]:
    """Run the demo and return what its manifest says of telemetry's own cost.

    Args:
        directory: A folder for the run.
        arguments: Of the demo.

    Raises:
        RuntimeError: It failed; the message is what it said.
    """
    if find_spec("gymnasium") is None:
        return [Row(group=GROUP, name=SHARE, note="not installed: pip install robot-sf-otel[demo]")]
    from robot_sf_otel.runs import load_run

    root = directory / "output"
    command = ["--artifact-root", str(root), "demo", *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "robot_sf_otel.cli.main", *command],
        env=undisturbed(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    record = load_run(artifact_root=root).record
    cost = record.self_cost
    share = cost.share_of_run
    return [
        Row(
            group=GROUP,
            name=SHARE,
            figure=None if share is None else Figure(value=100 * share, unit="%"),
            limit_figure=limits.OVERHEAD_PERCENT,
            note=(
                f"{record.duration_seconds or 0:.1f} s, {cost.samples_taken} samples, "
                f"{cost.bytes_written / 1e3:.0f} kB written"
            ),
        )
    ]
