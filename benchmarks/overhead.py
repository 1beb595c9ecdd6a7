"""What telemetry adds to a training loop: the same loop with it and without, in turn."""

from __future__ import annotations

import math
import os
import random
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from benchmarks import limits, training
from benchmarks.interval import mean_interval
from benchmarks.results import Counts, Figure, Row
from benchmarks.training import Order

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.training import Block, Trainer

COST: Final = "cost: the two above"
BETWEEN: Final = "loop between samples"
SAMPLES: Final = "samples, by their thread's clock"
CHECK: Final = "on / off, everything together"
UNIT_SECONDS: Final = 1e-3
BLOCK_SECONDS: Final = 0.01
"""So short that what disturbs the machine mostly lasts longer than a pair of blocks."""
_WARM_UP_SECONDS: Final = 0.1
_SHORT_SECONDS: Final = 1.5
"""Long enough for a first sample by the thread."""
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""A process with threads should not be forked; what is measured needs none of them."""
_KINDS: Final[dict[str, Callable[[int], Callable[[], None]]]] = {
    "pure Python": training.in_python,
    "NumPy": training.in_numpy,
}


Clock = Literal["wall", "CPU"]
_CLOCKS: Final[tuple[Clock, ...]] = ("wall", "CPU")


class Pair(NamedTuple):
    """A block without telemetry and one with it, one right after the other."""

    off: Block
    on: Block


class Twins(NamedTuple):
    """What two processes took."""

    first_on: Sequence[Pair]
    """While the first one has telemetry."""
    second_on: Sequence[Pair]


def measure(counts: Counts, directory: Path) -> list[Row]:
    """Return what telemetry at its default interval costs a loop in Python and one in NumPy.

    Args:
        counts: How many pairs of processes, and how long each trains.
        directory: An empty folder for the runs.
    """
    for variable in _ONE_THREAD:
        os.environ.setdefault(variable, "1")
    # Loaded before the forks, so that both processes of a pair hold the same.
    for module in ("bootstrap", "observer"):
        import_module(f"robot_sf_otel.{module}")

    rows: list[Row] = []
    draw = random.Random(0)  # noqa: S311 - an order, no secret
    for name, kind in _KINDS.items():
        group = f"overhead, units of 1 ms in {name}, interval 1 s"
        if kind is training.in_numpy and find_spec("numpy") is None:
            rows.append(Row(group=group, name=COST, note="not installed: pip install numpy"))
            continue
        unit = training.lasting(kind, UNIT_SECONDS)
        twins = [
            _train(unit, directory / f"{name}-{number}", counts.training_seconds, draw)
            for number in range(counts.forks)
        ]
        share = _share(unit, directory / f"{name}-long", counts.training_seconds * 4)
        rows += summary(group, twins, share)
    return rows


def _train(unit: Callable[[], None], root: Path, seconds: float, draw: random.Random) -> Twins:
    """Train in two processes in turn, for some seconds together.

    Raises:
        RuntimeError: One failed, or telemetry could not be switched on.
    """
    from robot_sf_otel.runs import list_runs

    cpu = draw.choice(training.cpus())
    count = max(1, round(seconds / 4 / BLOCK_SECONDS))
    with training.forked(unit, root, cpu) as one, training.forked(unit, root, cpu) as other:
        twins = Twins(_phase(one, other, count, draw), _phase(other, one, count, draw))
    if len(list_runs(artifact_root=root)) != len(twins):
        raise RuntimeError("telemetry was not on")
    return twins


def _share(unit: Callable[[], None], root: Path, seconds: float) -> float:
    """Return the share of the time that samples take, without what each run costs but once.

    Raises:
        RuntimeError: Telemetry could not be switched on.
    """
    from robot_sf_otel.runs import list_runs

    with training.forked(unit, root) as trainer:
        for length in (_SHORT_SECONDS, _SHORT_SECONDS + seconds):
            trainer(Order(on=True, seconds=length))
            trainer(Order(on=False, seconds=BLOCK_SECONDS))
    runs = [run.record for run in list_runs(artifact_root=root)]
    known = sorted((run.duration_seconds or 0, run.self_cost.cpu_seconds or 0) for run in runs)
    if len(known) != 2:  # noqa: PLR2004 - a short one and a long one
        raise RuntimeError("telemetry was not on")
    (short, once), (long, all_of_it) = known
    return max(0.0, all_of_it - once) / (long - short)


def _phase(with_it: Trainer, without: Trainer, count: int, draw: random.Random) -> list[Pair]:
    """Train in pairs of blocks; which process begins a pair is left to chance."""
    without(Order(on=False, seconds=_WARM_UP_SECONDS))  # first: it may have to close a run
    with_it(Order(on=True, seconds=_WARM_UP_SECONDS))
    pairs: list[Pair] = []
    for _ in range(count):
        blocks: dict[bool, Block] = {}
        for on in draw.sample((False, True), 2):
            trainer = with_it if on else without
            blocks[on] = trainer(Order(on, BLOCK_SECONDS))
        pairs.append(Pair(blocks[False], blocks[True]))
    return pairs


def summary(group: str, twins: Sequence[Twins], share: float) -> list[Row]:
    """Return the rows of one kind of training.

    A sample is taken in one block of a hundred, so that medians of pairs do not see it: they tell
    what the loop itself pays. What the samples take is added as their thread's own clock has it.
    The geometric mean of both phases leaves out that one process is faster than the other.
    """
    blocks = sum(len(phase) for both in twins for phase in both)
    between = [_over_phases(both, partial(_median, clock="CPU")) for both in twins]
    cost = [percent + 100 * share for percent in between]
    note = f"{len(twins)} pairs of processes, {blocks} pairs of blocks"
    return [
        Row(group=group, name=BETWEEN, figure=_mean(between), note=note),
        Row(group=group, name=SAMPLES, figure=Figure(value=100 * share, unit="%")),
        Row(group=group, name=COST, figure=_mean(cost), limit_figure=limits.OVERHEAD_PERCENT),
        *(
            Row(
                group=group,
                name=f"{CHECK}, {clock}",
                figure=_mean([_over_phases(both, partial(_ratio, clock=clock)) for both in twins]),
            )
            for clock in _CLOCKS
        ),
    ]


def _over_phases(twins: Twins, ratio: Callable[[Sequence[Pair]], float]) -> float:
    """Return by how many per cent telemetry slows."""
    first, second = map(ratio, twins)
    return 100 * (math.sqrt(first * second) - 1)


def _median(pairs: Sequence[Pair], clock: Clock) -> float:
    return statistics.median(_ratio([pair], clock) for pair in pairs)


def _mean(values: Sequence[float]) -> Figure:
    low, high = mean_interval(values)
    return Figure(value=statistics.fmean(values), unit="%", low=low, high=high)


def _ratio(pairs: Sequence[Pair], clock: Clock) -> float:
    """Return how many times as long a unit takes with telemetry."""
    on, off = (
        sum(_seconds(block, clock) for block in side) / sum(block.units for block in side)
        for side in ([pair.on for pair in pairs], [pair.off for pair in pairs])
    )
    return on / off


def _seconds(block: Block, clock: Clock) -> float:
    return block.cpu if clock == "CPU" else block.wall
