"""The cost of importing the public names with telemetry off, and what that must not load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import limits
from benchmarks.interpreters import environment, start_in_turn
from benchmarks.results import Counts, Row, Stat, over

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.timing import Times

GROUP = "import, over a bare interpreter"
NAMES = "robot_sf_otel: its public names"
SDK = "opentelemetry.sdk.trace"
BARE = "bare interpreter (in all)"
_IMPORT = "from robot_sf_otel import configure, pipeline, step, track, current_step"
_PROGRAMS = {
    BARE: "pass",
    NAMES: _IMPORT,
    "opentelemetry.trace (API alone)": "import opentelemetry.trace",
    SDK: "import opentelemetry.sdk.trace",
    "tqdm": "import tqdm",
}
_LOADED = f"""
import sys
{_IMPORT}
print(*sorted(name for name in {limits.NOT_LOADED!r} if name in sys.modules))
"""


def measure(counts: Counts, directory: Path) -> list[Row]:
    """Return what imports add to the start of an interpreter, and what was loaded.

    Args:
        counts: How often to measure.
        directory: A folder for byte code.
    """
    env = environment(directory / "bytecode")
    programs = {name: ["-c", program] for name, program in _PROGRAMS.items()}
    times = start_in_turn(programs, counts.interpreters, env)
    loaded: list[str] = []
    start_in_turn(
        {"loaded": ["-c", _LOADED]}, 1, env, seen=lambda _, printed: loaded.append(printed.strip())
    )
    bare = times.pop(BARE)
    added = {name: (_added(measured, bare)) for name, measured in times.items()}
    rows = [
        Row(
            group=GROUP,
            name=name,
            wall=wall,
            cpu=cpu,
            ratio=over(wall, added[NAMES][0]),
            ratio_to=NAMES,
            limit_wall=limits.IMPORT if name == NAMES else None,
            note=_loaded_note(loaded) if name == NAMES else None,
        )
        for name, (wall, cpu) in added.items()
    ]
    return [*rows, Row(group=GROUP, name=BARE, wall=bare.wall_stat, cpu=bare.cpu_stat)]


def _added(measured: Times, bare: Times) -> tuple[Stat, Stat]:
    """Return median and p95 of a program, less the median of the bare interpreter."""
    pairs = ((measured.wall_stat, bare.wall_stat), (measured.cpu_stat, bare.cpu_stat))
    wall, cpu = (
        Stat(stat.median - base.median, stat.p95 - base.median, stat.count) for stat, base in pairs
    )
    return wall, cpu


def _loaded_note(loaded: list[str]) -> str:
    found = " ".join(loaded).split()
    return f"loads {', '.join(found)}" if found else f"loads no {', '.join(limits.NOT_LOADED)}"
