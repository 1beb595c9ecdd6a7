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
    from robot_sf_otel import configure, current_step, pipeline, shutdown, step, track

    items = counts.items
    # tqdm as it is: its defaults, on a stream that is no terminal and costs nothing.
    tqdm: Any = import_module("tqdm").tqdm
    silent = io.StringIO()

    @step
    def decorated() -> None:
        return

    def loops(this: StepHandle) -> dict[str, Callable[[], None]]:
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

    def update() -> None:
        bar = tqdm(total=items, file=silent)
        for _ in range(items):
            bar.update()
        bar.close()

    def call() -> None:
        for _ in range(items):
            decorated()

    off = in_turn({**loops(current_step()), DECORATED: call}, counts.loops, items=items)
    rows = _rows("progress, telemetry off", off, BARE, {})
    configure(artifact_root=directory / "output", console="off")
    try:
        with pipeline("benchmark"), step("loop") as this:
            others = {UPDATE: update, TQDM: lambda: _walk(tqdm(range(items), file=silent))}
            on = in_turn({**loops(this), **others}, counts.loops, items=items)
    finally:
        shutdown()
    return (
        _rows("progress, in a step", on, BARE, _LIMITS)
        + [
            Row(
                group="progress, beside tqdm",
                name=f"{theirs} / {ours}",
                ratio=over(on[theirs].wall_stat, on[ours].wall_stat),
                ratio_to=ours,
            )
            for theirs, ours in ((UPDATE, ADVANCE), (TQDM, TRACK))
        ]
        + rows
    )


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
