"""Round moments of a time axis; the script of the page does the same when it is zoomed."""

from __future__ import annotations

from typing import Final

from robot_sf_otel.manifest.formats import coarse_duration, duration

_STEPS: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600 * hours for hours in (1, 2, 3, 6, 12, 24, 48, 120, 240, 480, 960)),
)
_MOST: Final = 8


def ticks(end: float) -> list[tuple[float, str]]:
    """Return some eight moments between 0 and `end` seconds with their labels."""
    step = next((step for step in _STEPS if end / step <= _MOST), _STEPS[-1])
    found: list[tuple[float, str]] = []
    at = 0.0
    while at <= end * 0.97 and len(found) < _MOST * 2:
        found.append((at, tick_text(at)))
        at += step
    return found


def tick_text(seconds: float) -> str:
    """Return a moment as `500 ms`, `30s`, `5m`, `1h 30m`."""
    if seconds == 0:
        return "0"
    if seconds < 1:
        return duration(seconds)
    if 60 <= seconds < 3600 and seconds % 60:  # noqa: PLR2004 - a minute, an hour
        return f"{seconds // 60:.0f}m {seconds % 60:02.0f}s"
    return coarse_duration(seconds).replace("h 00m", "h")
