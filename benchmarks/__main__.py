"""`python -m benchmarks`: measures, then prints one table with ratios and limits."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import (
    demo_cost,
    history_cost,
    import_cost,
    machine,
    overhead,
    progress_cost,
    record_size,
    report_cost,
    rules_cost,
    run_cost,
    sample_cost,
    status_cost,
    step_cost,
    trackers,
)
from benchmarks.interpreters import undisturbed
from benchmarks.results import QUICK, Counts, Row
from benchmarks.table import FORMATS, Report

ROOT: Final = Path(__file__).parents[1]
_TAIL: Final = 2_000
"""Characters of what a failed benchmark said that are shown."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark of one disk, which gets a process and a directory of its own."""

    name: str
    counts: Counts
    label: str
    parent: str
    console: str = "auto"


MEASURES: Final[Mapping[str, Callable[[Task, Path], list[Row]]]] = {
    "step": lambda task, here: step_cost.measure(task.counts, here, task.label, task.console),
    "progress": lambda task, here: progress_cost.measure(task.counts, here),
    "import": lambda task, here: import_cost.measure(task.counts, here),
    "run": lambda task, here: run_cost.measure(task.counts, here, task.label),
    "sample": lambda task, here: sample_cost.measure(task.counts, here),
    "rules": lambda task, _here: rules_cost.measure(task.counts),
    "disk": lambda task, here: record_size.measure_disk(task.counts, here),
    "memory": lambda task, here: record_size.measure_memory(task.counts, here),
    "list": lambda task, here: history_cost.measure(task.counts, here),
    "status": lambda task, here: status_cost.measure(task.counts, here),
    "report": lambda task, here: report_cost.measure(task.counts, here),
    "overhead": lambda task, here: overhead.measure(task.counts, here),
    "trackers": lambda task, here: trackers.measure(task.counts, here),
    "demo": lambda _task, here: demo_cost.measure(here),
}
"""What can be measured, in the order of the table."""


def tasks(counts: Counts, places: Sequence[machine.Place], only: Sequence[str]) -> Iterator[Task]:
    """Yield what is to be measured: what writes, on each disk; the rest once."""
    for name in MEASURES:
        if only and name not in only:
            continue
        for index, place in enumerate(places):
            if index and name not in {"step", "run"}:
                continue
            yield Task(name=name, counts=counts, label=place.label, parent=place.directory)
            if name == "step":
                # What the lines on stderr add; growth was seen above.
                yield Task(
                    name=name,
                    counts=msgspec.structs.replace(counts, recorded=(0,)),
                    label=place.label,
                    parent=place.directory,
                    console="off",
                )


def run_task(task: Task) -> list[Row]:
    """Measure in this process, in a directory that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=task.parent) as name:
        return MEASURES[task.name](task, Path(name))


def run_apart(task: Task) -> list[Row]:
    """Measure in a process of its own: global providers and loaded modules end with it.

    Raises:
        RuntimeError: It failed; the message is the end of what it said.
    """
    environ = undisturbed()
    paths = [str(ROOT), environ.get("PYTHONPATH", "")]
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # A file and not a pipe: progress lines go there, as they do under a batch system.
    with tempfile.TemporaryFile() as log:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", "--task", msgspec.json.encode(task).decode()],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            check=False,
        )
        if done.returncode:
            log.seek(0)
            said = log.read().decode(errors="replace").strip()
            raise RuntimeError(said[-_TAIL:] or f"exit code {done.returncode}")
    return msgspec.json.decode(done.stdout, type=list[Row])


def report(counts: Counts, artifact_root: Path, only: Sequence[str] = ()) -> Report:
    """Measure everything, one after the other; one failure does not hide the rest."""
    places = machine.places(artifact_root)
    header = machine.facts(places, counts.syncs)
    date = time.strftime("%Y-%m-%d", time.gmtime())
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for task in tasks(counts, places, only):
        sys.stderr.write(f"measuring {task.name} ({task.label})\n")
        try:
            rows += run_apart(task)
        except RuntimeError as error:
            failed[f"{task.name}, {task.label}"] = str(error)
    return Report(header, rows, failed, date, os.getloadavg()[2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 where something could not be measured, whatever its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--format", choices=[*FORMATS], default="text")
    parser.add_argument("--quick", action="store_true", help="fewer of everything, to 1,000 steps")
    parser.add_argument("--only", action="append", choices=[*MEASURES], default=[])
    parser.add_argument(
        "--artifact-root",
        type=Path,
        default=Path(os.environ.get("ROBOT_SF_ARTIFACT_ROOT", "output")),
        help="whose disk is measured; nothing is kept there",
    )
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.task:
        task = msgspec.json.decode(chosen.task, type=Task)
        sys.stdout.write(msgspec.json.encode(run_task(task)).decode())
        return 0
    measured = report(QUICK if chosen.quick else Counts(), chosen.artifact_root, chosen.only)
    print(FORMATS[chosen.format](measured))
    return 1 if measured.failed else 0


if __name__ == "__main__":
    sys.exit(main())
