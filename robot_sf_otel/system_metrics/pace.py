"""How often telemetry is read: as asked for, or less often where that would cost too much. Pure.

Only what each sample costs counts here. Derived files have a limit of their own, a share of the
time: counted in, they would cost the more the longer the interval is, and it would never end.
"""

from __future__ import annotations

import math
from typing import Final

SHARE: Final = 0.01
"""Largest share of one core that samples may take."""
WINDOW: Final = 10
"""Ticks of which the mean cost is taken: one dear one says nothing."""
LONGEST: Final = 60.0
"""Seconds between two samples at most, whatever they cost."""
_EASED: Final = 0.7
"""The interval is shortened only when that much less would do, so that it does not swing."""


class Pace:
    """The interval between samples, from what the last ones cost.

    Args:
        interval: Seconds between samples as the user wants them.
    """

    def __init__(self, interval: float) -> None:
        self.wanted = interval
        self.interval = interval
        self._costs: list[float] = []

    @property
    def lengthened(self) -> bool:
        """Whether it is longer than the user wants."""
        return self.interval > self.wanted

    def took(self, cpu_seconds: float) -> bool:
        """Take the CPU time of one tick in.

        Returns:
            Whether the interval has changed.
        """
        self._costs.append(cpu_seconds)
        if len(self._costs) < WINDOW:
            return False
        needed = sum(self._costs) / len(self._costs) / SHARE
        self._costs.clear()
        before = self.interval
        if needed > self.interval or needed < self.interval * _EASED:
            # In tenths, so that people can read it.
            longer = math.ceil(round(min(needed, LONGEST) * 10, 6)) / 10
            self.interval = self.wanted if needed <= self.wanted else max(self.wanted, longer)
        return self.interval != before

    def note(self) -> str | None:
        """Return what people should know, None where it is as they want it."""
        if not self.lengthened:
            return None
        return (
            f"telemetry: a sample every {self.interval:g} s instead of {self.wanted:g} s, "
            f"as more would take over {SHARE:.0%} of a core"
        )
