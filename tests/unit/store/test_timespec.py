from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.timespec import parse_since

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.fixture(autouse=True)
def central_europe() -> Iterator[None]:
    """The system's zone: an hour ahead of UTC in winter, two in summer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", datetime(2026, 1, 30, 11, 0, tzinfo=UTC)),
        ("7d", datetime(2026, 1, 24, 11, 0, tzinfo=UTC)),
        (" 90m ", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("0.5h", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("2026-01-30T10:00:00Z", datetime(2026, 1, 30, 10, 0, tzinfo=UTC)),
        ("2026-01-30T10:00:00.5+01:00", datetime(2026, 1, 30, 9, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-30", datetime(2026, 1, 29, 23, 0, tzinfo=UTC)),
        ("2026-01-30T10:00", datetime(2026, 1, 30, 9, 0, tzinfo=UTC)),
        # The offset is that of the date: it is winter now.
        ("2025-07-01", datetime(2025, 6, 30, 22, 0, tzinfo=UTC)),
        ("2025-07-01T10:00", datetime(2025, 7, 1, 8, 0, tzinfo=UTC)),
    ],
)
def test_time_is_read_as_people_write_it(text: str, expected: datetime) -> None:
    assert parse_since(text, NOW) == int(expected.timestamp() * 1_000_000_000)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "h", "-1h", "1y", "2026-13-01", "9" * 30 + "d"]
)
def test_what_is_no_time_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected RFC 3339, a date .* or a span such as 24h"):
        parse_since(text, NOW)
