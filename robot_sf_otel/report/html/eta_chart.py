"""The ETAs as they were shown, against what came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robot_sf_otel.manifest.formats import is_known
from robot_sf_otel.report.html.series import short

if TYPE_CHECKING:
    from robot_sf_otel.report.html.source import Source

_ENOUGH = 2


def eta_points(source: Source) -> dict[str, Any] | None:
    """Return the predicted ends over the time of the run; None where too few were shown.

    Returns:
        `x` seconds on the axis, `total`, `low` and `high` predicted seconds of the whole run, and
        `actual`: what it took, None while it goes on or where it did not complete.
    """
    rows: list[tuple[float, float, float | None, float | None]] = []
    for moment, elapsed, eta in source.told.etas:
        if not is_known(eta.remaining_seconds) or eta.remaining_seconds is None:
            continue
        ran = source.timeline.at(moment) if elapsed is None else elapsed
        if rows and ran < rows[-1][0]:
            continue
        low, high = (
            ran + edge if edge is not None and is_known(edge) else None
            for edge in (eta.low_seconds, eta.high_seconds)
        )
        rows.append((min(ran, source.timeline.end), ran + eta.remaining_seconds, low, high))
    if len(rows) < _ENOUGH:
        return None
    record = source.run.record
    return {
        "x": [round(row[0], 2) for row in rows],
        "total": [short(row[1]) for row in rows],
        "low": [None if row[2] is None else short(row[2]) for row in rows],
        "high": [None if row[3] is None else short(row[3]) for row in rows],
        "actual": record.duration_seconds if record.status == "completed" else None,
    }
