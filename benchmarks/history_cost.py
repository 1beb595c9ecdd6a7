"""What finding runs among thousands costs: `list` as a whole process, and `earlier_runs`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benchmarks import limits
from benchmarks.finished_run import write_runs
from benchmarks.interpreters import environment, start_in_turn
from benchmarks.results import Counts, Row, over, single
from benchmarks.timing import in_turn
from robot_sf_otel.store.history import earlier_runs

if TYPE_CHECKING:
    from pathlib import Path

PLAIN: Final = "list"
FIRST: Final = "list --status cancelled, the index deleted"
_FILTERS: Final = (
    "--status failed",
    "--status cancelled",
    "--tag nightly",
    "--pipeline p3",
    "--scenario minimal",
    "--host elsewhere",
    "--since 1h",
)
_PIPELINES: Final = {"a tenth of the runs": "p3", "no run": "none"}


def measure(counts: Counts, directory: Path) -> list[Row]:
    """Return what `list` takes with each filter, and without an index.

    Args:
        counts: How many runs, and how often to measure.
        directory: An empty folder for them.
    """
    root = directory / "output"
    write_runs(root, counts.listed_runs)
    command = ["-m", "robot_sf_otel.cli.main", "--artifact-root", str(root), "list"]
    env = environment(directory / "bytecode")
    names = [PLAIN, *(f"list {text}" for text in _FILTERS)]
    programs = {name: [*command, *name.split()[1:]] for name in names}
    times = start_in_turn(programs, counts.interpreters, env)
    group = f"list over {counts.listed_runs:,} runs, whole process"
    rows = [
        Row(
            group=group,
            name=name,
            wall=measured.wall_stat,
            cpu=measured.cpu_stat,
            ratio=over(measured.wall_stat, times[PLAIN].wall_stat),
            ratio_to=PLAIN,
            limit_wall=limits.LIST,
        )
        for name, measured in times.items()
    ]
    return [*rows, _first(group, root), *_earlier(counts, root)]


def _first(group: str, root: Path) -> Row:
    """Measure in this process, whose imports are done: what they add stands in the other rows."""
    from robot_sf_otel.store.history import list_records

    for index in (root / "run-tracker").glob(".index*"):
        index.unlink()
    began = time.perf_counter()
    list_records([root], status="cancelled")
    seconds = time.perf_counter() - began
    return Row(
        group=group,
        name=FIRST,
        wall=single(seconds, 1),
        limit_wall=limits.LIST_FIRST,
        note="without the start of the interpreter",
    )


def _earlier(counts: Counts, root: Path) -> list[Row]:
    calls = {
        f"pipeline of {share}": lambda name=name: earlier_runs([root], pipeline=name)
        for share, name in _PIPELINES.items()
    }
    group = f"earlier_runs, at most 50 among {counts.listed_runs:,} runs"
    return [
        Row(group=group, name=name, wall=times.wall_stat, cpu=times.cpu_stat)
        for name, times in in_turn(calls, counts.interpreters).items()
    ]
