from __future__ import annotations

from robot_sf_otel.store.gap import Gap

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND


def test_gap_tells_how_much_is_lost_from_when_to_when_and_why() -> None:
    gap = Gap("samples")
    gap.add(START, OSError(28, "No space left on device"))
    gap.add(START + 2 * SECOND, OSError(5, "Input/output error"))
    event = gap.event("telemetry.jsonl", "t", "s")
    assert event.message == (
        "2 samples lost between 2026-01-01T00:00:00.000000Z and 2026-01-01T00:00:02.000000Z "
        "([Errno 28] No space left on device)"
    )
    assert (event.where, event.time_unix_nano) == ("telemetry.jsonl", START + 2 * SECOND)
    assert (event.trace_id, event.span_id) == ("t", "s")


def test_single_one_has_one_time() -> None:
    gap = Gap("events")
    gap.add(START, "ENOSPC")
    said = gap.event("manifest.jsonl", None, None).message
    assert said == "1 event lost at 2026-01-01T00:00:00.000000Z (ENOSPC)"
