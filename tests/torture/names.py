"""Many processes that open a run of the same name on one artifact root at the same moment.

Run as a script: `names.py N`. It forks N processes before anything is switched on, lets them go all
at once, and waits for them; so each of them is a program of its own to the tracker.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_OURS: Final = tuple(
    f"robot_sf_otel.{name}" for name in ("observer", "providers", "instrument.opening")
)
NAME: Final = "nightly"
NAME_VARIABLE: Final = "ROBOT_SF_OTEL_RUN_NAME"


def expected_names(count: int) -> set[str]:
    """Return what the runs are called: the name, then `-2`, `-3` and so on without a gap."""
    return {NAME, *(f"{NAME}-{number}" for number in range(2, count + 1))}


def wrong_runs(root: Path, count: int) -> list[str]:
    """Return what is wrong with the runs of `count` processes."""
    from robot_sf_otel.store.history import find_runs
    from robot_sf_otel.store.reader import load_run
    from robot_sf_otel.store.tail import iter_raw

    problems: list[str] = []
    runs = find_runs([root])
    if {run.name for run in runs} != expected_names(count):
        problems.append(f"{len(runs)} runs: {sorted(run.name for run in runs)}")
    traces: set[str | None] = set()
    processes: set[str] = set()
    for run_dir in runs:
        loaded = load_run(run_dir)
        record = loaded.record
        traces.add(record.trace_id)
        events = list(iter_raw(run_dir / "manifest.jsonl"))
        processes.update(event["process"] for event in events if "process" in event)
        steps = [(step.step_id, step.status, step.progress.done) for step in record.steps]
        found = (
            record.run_id,
            record.status,
            steps,
            loaded.problems,
            (run_dir / "manifest.md").exists(),
        )
        if found != (run_dir.name, "completed", [("train", "completed", 3.0)], [], True):
            problems.append(f"{run_dir.name}: {found}")
        kinds = [event["event"] for event in events]
        once = ("run_started", "step_started", "step_finished", "run_finished")
        if any(kinds.count(kind) != 1 for kind in once):
            problems.append(f"{run_dir.name}: {kinds}")
    if len(traces) != count or len(processes) != count:
        problems.append(f"{len(traces)} traces of {len(processes)} processes")
    return problems


def work() -> None:
    """Record one run of one step."""
    from robot_sf_otel import configure, pipeline, step

    configure(console="off")
    with pipeline("p", steps=["train"]), step("train", total=3) as this:
        this.advance(3)


def main(count: int) -> int:
    """Let all processes go at once; return how many of them failed."""
    # Imported once here instead of in each of them.
    for module in ("psutil", "opentelemetry.sdk.trace", "opentelemetry.sdk.metrics", *_OURS):
        importlib.import_module(module)
    waiting, go = os.pipe()
    children: list[int] = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(waiting, 1)  # until the last holder of the other end has closed it
            work()
            sys.exit()
        children.append(child)
    os.close(go)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
