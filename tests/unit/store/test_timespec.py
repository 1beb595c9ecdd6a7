from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from robot_sf_otel.store.timespec import parse_since

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", datetime(2026, 1, 30, 10, 0, tzinfo=UTC)),
        ("7d", datetime(2026, 1, 24, 10, 0, tzinfo=UTC)),
        (" 90m ", datetime(2026, 1, 31, 8, 30, tzinfo=UTC)),
        ("0.5h", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("2026-01-30T10:00:00Z", datetime(2026, 1, 30, 10, 0, tzinfo=UTC)),
        ("2026-01-30T10:00:00.5+01:00", datetime(2026, 1, 30, 9, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-30", datetime(2026, 1, 29, 22, 0, tzinfo=UTC)),
        ("2026-01-30T10:00", datetime(2026, 1, 30, 8, 0, tzinfo=UTC)),
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
