"""The shape of the results: rows of medians, and how often each thing is measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

PERCENTILE = 95


class Stat(msgspec.Struct, frozen=True):
    """A distribution of times in seconds, in three numbers.

    Attributes:
        median: Of all that were measured.
        p95: The 95th percentile, nearest rank.
        count: How many were measured.
    """

    median: float
    p95: float
    count: int


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that is no time: a share, a size.

    Attributes:
        value: In `unit`.
        unit: As people write it: `%`, `MB`.
        low: Lower end of the 95 % interval; None where there is none.
        high: Its upper end.
    """

    value: float
    unit: str
    low: float | None = None
    high: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table.

    Attributes:
        group: What is compared: rows of one group were measured interleaved, in one process.
        name: What was measured.
        wall: Wall-clock time of one.
        cpu: CPU time of one: of the calling thread, or of the whole process where it was started.
        ratio: How many times as long as `ratio_to`, by wall-clock medians where both have them.
        ratio_to: The name of the row that is 1.
        figure: What is no time.
        limit_wall: Limit of the wall-clock median in seconds.
        limit_cpu: Limit of the CPU median in seconds.
        limit_figure: Limit of the figure, in its unit.
        note: What numbers cannot say.
    """

    group: str
    name: str
    wall: Stat | None = None
    cpu: Stat | None = None
    ratio: float | None = None
    ratio_to: str | None = None
    figure: Figure | None = None
    limit_wall: float | None = None
    limit_cpu: float | None = None
    limit_figure: float | None = None
    note: str | None = None

    @property
    def exceeded(self) -> bool:
        """Whether a median, or a figure with its whole interval, is above its limit."""
        if self.figure is not None and self.limit_figure is not None:
            low = self.figure.value if self.figure.low is None else self.figure.low
            if low > self.limit_figure:
                return True
        return any(
            stat is not None and limit is not None and stat.median > limit
            for stat, limit in ((self.wall, self.limit_wall), (self.cpu, self.limit_cpu))
        )

    @property
    def undecided(self) -> bool:
        """Whether the limit lies inside the figure's interval: too noisy to tell."""
        if self.figure is None or self.figure.high is None or self.limit_figure is None:
            return False
        return not self.exceeded and self.figure.high > self.limit_figure


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How often things are measured.

    Attributes:
        steps: Steps measured at each of `recorded`.
        recorded: Steps already in the run when measuring begins, ascending.
        items: Items of a loop whose cost is divided by their number: about 1 ms in all, so that
            on a busy machine most loops are not interrupted.
        loops: Loops measured of each kind.
        interpreters: Interpreters started of each kind.
        samples: Telemetry samples.
        run_samples: Samples of a real run whose size on disk is measured.
        kept_samples: Samples after which a run's memory is measured.
        forks: Pairs of processes that train with telemetry and without.
        training_seconds: How long each pair trains.
        syncs: Plain synced writes that say how fast a disk is.
        listed_runs: Runs of an artifact root that are listed.
        day_samples: Samples of a run that is looked at.
        trainings: Small programs started under each tracker.
    """

    steps: int = 400
    recorded: tuple[int, ...] = (0, 1_000, 10_000)
    items: int = 10_000
    loops: int = 301
    interpreters: int = 21
    samples: int = 200
    run_samples: int = 200
    kept_samples: int = 100_000
    forks: int = 20
    training_seconds: float = 2.4
    syncs: int = 200
    listed_runs: int = 10_000
    day_samples: int = 86_400
    trainings: int = 9


QUICK = Counts(
    steps=100,
    recorded=(0, 1_000),
    items=10_000,
    loops=101,
    interpreters=7,
    samples=50,
    run_samples=30,
    kept_samples=20_000,
    forks=5,
    training_seconds=0.8,
    syncs=100,
    trainings=3,
)
"""For a first look."""


def stat(seconds: Sequence[float]) -> Stat:
    """Return median and 95th percentile (nearest rank) of at least one measurement.

    Raises:
        ValueError: Nothing was measured.
    """
    if not seconds:
        raise ValueError("nothing was measured")
    ordered = sorted(seconds)
    rank = math.ceil(len(ordered) * PERCENTILE / 100)
    return Stat(statistics.median(ordered), ordered[rank - 1], len(ordered))


def single(seconds: float, count: int) -> Stat:
    """Return a mean over `count` things that were only measured together."""
    return Stat(seconds, seconds, count)


def over(slower: Stat | None, reference: Stat | None) -> float | None:
    """Return the ratio of two medians, None where one is unknown or zero."""
    if slower is None or reference is None or reference.median <= 0:
        return None
    return slower.median / reference.median
