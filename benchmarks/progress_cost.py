"""The cost of one `advance()` and of one item of `track`, beside tqdm and a bare loop."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks import limits
from benchmarks.results import Counts, Row, over
from benchmarks.timing import Times, in_turn

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.instrument.step import StepHandle

BARE = "bare loop"
ADVANCE = "this.advance()"
TRACK = "for _ in track(...)"
UPDATE = "tqdm.update()"
TQDM = "for _ in tqdm(...)"
CURRENT = "current_step().advance()"
DECORATED = "call of a @step function"
_LIMITS = {ADVANCE: limits.ADVANCE, TRACK: limits.TRACK}


def measure(counts: Counts, directory: Path) -> list[Row]:
    """Return the cost of an item, the loop itself included; with telemetry on and off.

    Args:
        counts: How often to measure.
        directory: An empty folder for the run.
    """
    from robot_sf_otel import configure, current_step, pipeline, shutdown, step

    items = counts.items
    off = in_turn({**_ours(current_step(), items), **_decorated(items)}, counts.loops, items=items)
    configure(artifact_root=directory / "output", console="off")
    try:
        with pipeline("benchmark"), step("loop") as this:
            on = in_turn({**_ours(this, items), **_theirs(items)}, counts.loops, items=items)
    finally:
        shutdown()
    beside = [
        Row(
            group="progress, beside tqdm",
            name=f"{theirs} / {ours}",
            ratio=over(on[theirs].wall_stat, on[ours].wall_stat),
            ratio_to=ours,
        )
        for theirs, ours in ((UPDATE, ADVANCE), (TQDM, TRACK))
    ]
    return [
        *_rows("progress, in a step", on, BARE, _LIMITS),
        *beside,
        *_rows("progress, telemetry off", off, BARE, {}),
    ]


def _ours(this: StepHandle, items: int) -> dict[str, Callable[[], None]]:
    from robot_sf_otel import current_step, track

    def advance() -> None:
        for _ in range(items):
            this.advance()

    def current() -> None:
        for _ in range(items):
            current_step().advance()

    return {
        BARE: lambda: _walk(range(items)),
        ADVANCE: advance,
        TRACK: lambda: _walk(track(range(items))),
        CURRENT: current,
    }


def _decorated(items: int) -> dict[str, Callable[[], None]]:
    from robot_sf_otel import step

    @step
    def decorated() -> None:
        return

    def call() -> None:
        for _ in range(items):
            decorated()

    return {DECORATED: call}


def _theirs(items: int) -> dict[str, Callable[[], None]]:
    """Return tqdm's ways, with its defaults, on a stream that is no terminal and costs nothing."""
    tqdm: Any = import_module("tqdm").tqdm
    silent = io.StringIO()

    def update() -> None:
        bar = tqdm(total=items, file=silent)
        for _ in range(items):
            bar.update()
        bar.close()

    return {UPDATE: update, TQDM: lambda: _walk(tqdm(range(items), file=silent))}


def _walk(items: Iterable[int]) -> None:
    for _ in items:
        pass


def _rows(
    group: str, times: dict[str, Times], reference: str, limited: dict[str, float]
) -> list[Row]:
    return [
        Row(
            group=group,
            name=name,
            wall=measured.wall_stat,
            cpu=measured.cpu_stat,
            ratio=over(measured.wall_stat, times[reference].wall_stat),
            ratio_to=reference,
            limit_wall=limited.get(name),
        )
        for name, measured in times.items()
    ]
