"""`track`: a loop that reports its progress, in the shape of tqdm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from robot_sf_otel import guard
from robot_sf_otel.instrument import context
from robot_sf_otel.instrument.step import check_count

if TYPE_CHECKING:
    from robot_sf_otel.instrument.live_step import LiveStep

T = TypeVar("T")


class Track(Generic[T]):
    """An iterable that advances the running step by one for each item that was worked off.

    The outermost one drives the step's progress; successive ones add up. An item counts when the
    next one is asked for, so a loop that breaks does not count the item that it broke in.
    """

    __slots__ = ("_iterable", "_total", "_unit")

    def __init__(self, iterable: Iterable[T], total: float | None, unit: str) -> None:
        """Keep the iterable and how many items it has, if that can be known."""
        self._iterable = iterable
        self._unit = unit
        self._total = total
        if total is None and isinstance(iterable, Sized):
            with suppress(Exception):  # a __len__ that raises: torch's loaders of endless data
                self._total = len(iterable)

    def __len__(self) -> int:
        """Return the length of the iterable.

        Raises:
            TypeError: It has none.
        """
        return len(cast("Sized", self._iterable))

    def __iter__(self) -> Iterator[T]:
        """Iterate, reporting to the step that is running now."""
        step = driven_step()
        if step is None:
            return iter(self._iterable)
        return _drive(step, self._iterable, self._total, self._unit)


def driven_step() -> LiveStep | None:
    """Return the step that an outermost `track` here would drive."""
    runtime = context.runtime()
    run = context.live_run() if runtime is not None else None
    step = context.live_step(run) if run is not None else None
    return None if step is None or step.tracked else step


def _drive(step: LiveStep, iterable: Iterable[T], total: float | None, unit: str) -> Iterator[T]:
    with guard.shielded("track"):
        step.begin_track(total, unit)
    try:
        for item in iterable:
            yield item
            step.done += 1
    finally:
        step.tracked = False


def track(iterable: Iterable[T], total: float | None = None, unit: str = "it") -> Track[T]:
    """Report the progress of a loop to the running step.

    Args:
        iterable: What to loop over.
        total: How many items there are; `len(iterable)` by default, unknown if it has none.
        unit: What an item is, such as `episodes`.

    Raises:
        ValueError: `total` is negative.
    """
    check_count("track: total", total)
    return Track(iterable, total, unit)
