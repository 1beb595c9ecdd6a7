"""Times as people write them on the command line: RFC 3339, a date, or a time span ago."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NANOSECONDS: Final = 1_000_000_000


def parse_since(text: str, now: datetime) -> int:
    """Return a time as Unix nanoseconds.

    Args:
        text: RFC 3339 (`2026-01-31T12:00:00Z`), a date or local time (`2026-01-31`), or a span
            before now (`90m`, `24h`, `7d`).
        now: The present, with its time zone. A date or local time is one of the system's zone,
            with the offset that it has at that date.

    Raises:
        ValueError: It is none of these.
    """
    span = _SPAN.fullmatch(text.strip())
    try:
        if span is not None:
            moment = now - timedelta(**{_UNITS[span[2]]: float(span[1])})
        else:
            moment = datetime.fromisoformat(text.strip())
        # Without a zone it is local time, in summer or in winter as its date says and not today's.
        return int(moment.timestamp() * _NANOSECONDS)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: expected RFC 3339, a date such as 2026-01-31, or a span such "
            "as 24h or 7d"
        ) from None
