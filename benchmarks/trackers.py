"""The same small training under this package, under other trackers, and under none, in turn."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from benchmarks import tracked, training
from benchmarks.interpreters import environment
from benchmarks.results import Counts, Figure, Row, over, stat
from benchmarks.timing import Times

if TYPE_CHECKING:
    from pathlib import Path

OURS: Final = "robot_sf_otel"
NOTHING: Final = "nothing"
UNIT_SECONDS: Final = 2e-3
NEEDS: Final = {
    "tqdm": ("tqdm", "tqdm"),
    "OTel SDK and system-metrics instrumentation": (
        "opentelemetry.instrumentation.system_metrics",
        "opentelemetry-instrumentation-system-metrics",
    ),
    "MLflow, SQLite": ("mlflow", "mlflow-skinny sqlalchemy alembic"),
    "W&B, offline": ("wandb", "wandb"),
}
"""Module and packages of those that are optional."""
GROUPS: Final = {
    "open": "trackers, import and open a run",
    "step": "trackers, start and end of a step",
    "unit": "trackers, report of a unit: progress, and a metric at every tenth",
    "close": "trackers, close the run",
}
WHOLE: Final = "trackers, the whole program: 3 steps of 500 units of 2 ms; ratio by CPU"
KEPT: Final = "trackers, bytes on disk"
_ORPHAN_SECONDS: Final = 10.0
_SUBREAPER: Final = 36
"""PR_SET_CHILD_SUBREAPER."""


def measure(counts: Counts, directory: Path) -> list[Row]:
    """Return what each tracker's calls take, what its program takes as a whole, and what it keeps.

    Args:
        counts: How many programs of each are started.
        directory: An empty folder.
    """
    _adopt_orphans()
    repeats = _repeats()
    tools = [tool for tool in tracked.TOOLS if tool not in NEEDS or _installed(NEEDS[tool][0])]
    whole = {tool: Times() for tool in tools}
    told: dict[str, list[Mapping[str, float]]] = {tool: [] for tool in tools}
    env = environment(directory / "bytecode")
    order = list(tools)
    for round_ in range(counts.trainings + 1):
        for tool in order:
            wall, cpu, printed = _run(tool, directory, repeats, env)
            if round_:  # the first one fills the caches
                whole[tool].wall.append(wall)
                whole[tool].cpu.append(cpu)
                told[tool].append(printed)
        order.append(order.pop(0))
    return [
        *_calls(told),
        *_whole(whole),
        *_kept(told),
        *(
            Row(group=KEPT, name=tool, note=f"not installed: pip install {packages}")
            for tool, (_, packages) in NEEDS.items()
            if tool not in tools
        ),
    ]


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package above it
        return False


def _repeats() -> int:
    """Return how often the loop of a unit goes round in `UNIT_SECONDS`, where it is undisturbed."""
    repeats = 1_000
    fastest = min(training.seconds_of(training.in_python(repeats)) for _ in range(50))
    return max(1, round(repeats * UNIT_SECONDS / fastest))


def _calls(told: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Row]:
    rows: list[Row] = []
    for key, group in GROUPS.items():
        taken = {
            tool: stat([one[key] for one in ones]) for tool, ones in told.items() if tool != NOTHING
        }
        rows += [
            Row(group=group, name=tool, wall=each, ratio=over(each, taken[OURS]), ratio_to=OURS)
            for tool, each in taken.items()
        ]
    return rows


def _whole(whole: Mapping[str, Times]) -> list[Row]:
    reference = whole[NOTHING].cpu_stat
    return [
        Row(
            group=WHOLE,
            name=tool,
            wall=times.wall_stat,
            cpu=times.cpu_stat,
            ratio=over(times.cpu_stat, reference),
            ratio_to=NOTHING,
        )
        for tool, times in whole.items()
    ]


def _kept(told: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Row]:
    return [
        Row(
            group=KEPT,
            name=tool,
            figure=Figure(value=stat([one["bytes"] for one in ones]).median / 1000, unit="kB"),
        )
        for tool, ones in told.items()
        if tool != NOTHING
    ]


def _run(
    tool: str, directory: Path, repeats: int, env: Mapping[str, str]
) -> tuple[float, float, Mapping[str, float]]:
    """Start one program; return its seconds, the CPU seconds of all it started, what it said.

    Raises:
        RuntimeError: It failed; the message is the end of what it said.
    """
    with tempfile.TemporaryDirectory(dir=directory) as folder, tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", tracked.__name__, tool, folder, str(repeats)]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=log, check=False)
        wall = time.perf_counter() - began
        if done.returncode:
            log.seek(0)
            raise RuntimeError(f"{tool}: {log.read().decode(errors='replace')[-500:]}")
        _wait_for_orphans()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return wall, cpu, json.loads(done.stdout.splitlines()[-1])


def _adopt_orphans() -> None:
    """Become the parent of what the programs leave behind: a watchdog, a service of theirs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _wait_for_orphans() -> None:
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return
