"""Frames: means of a few seconds, whatever the pace, and no guess where nothing is known."""

from __future__ import annotations

from typing import Any

import pytest

from robot_sf_otel.analysis.frames import LONGEST_GAP, Frame, Framing
from robot_sf_otel.manifest.schema import TelemetrySnapshot


def at(second: float, **fields: Any) -> TelemetrySnapshot:  # noqa: ANN401 - of the record
    return TelemetrySnapshot(timestamp_ms=round(second * 1000), **fields)


def frames(*samples: TelemetrySnapshot) -> list[Frame]:
    framing = Framing(5.0)
    found = [framing.add(sample) for sample in samples]
    return [frame for frame in found if frame is not None]


def test_a_frame_is_the_mean_of_its_samples() -> None:
    (frame,) = frames(*(at(second, io_pressure=float(second)) for second in range(100, 106)))

    assert (frame.start, frame.end, frame.samples) == (100.0, 105.0, 6)
    assert frame.io_pressure == pytest.approx(102.5)
    assert frame.cpu_pressure is None


def test_frames_follow_one_another_without_a_gap() -> None:
    found = frames(*(at(second * 0.5) for second in range(60)))

    assert [frame.start for frame in found[1:]] == [frame.end for frame in found[:-1]]


def test_samples_further_apart_than_a_frame_are_one_each() -> None:
    found = frames(*(at(second) for second in range(0, 80, 20)))

    assert [(frame.start, frame.samples) for frame in found] == [(0.0, 2), (20.0, 1), (40.0, 1)]


def test_a_reading_that_most_samples_lack_is_none() -> None:
    (frame,) = frames(*(at(second) for second in range(5)), at(5, io_pressure=90.0))

    assert frame.io_pressure is None


def test_a_long_gap_begins_anew_and_is_noted() -> None:
    framing = Framing(5.0)
    assert framing.add(at(0)) is None
    assert framing.add(at(3)) is None

    assert framing.add(at(3 + LONGEST_GAP + 1)) is None
    assert framing.broken
    frame = framing.add(at(3 + LONGEST_GAP + 6))
    assert frame is not None
    assert frame.start == 3 + LONGEST_GAP + 1


def test_time_that_goes_back_is_ignored() -> None:
    framing = Framing(5.0)

    assert [framing.add(at(second)) for second in (10, 12, 9, 11)] == [None] * 4
    frame = framing.close()
    assert frame is not None
    assert (frame.end, frame.samples) == (12.0, 2)


def test_there_is_no_frame_of_nothing_or_of_a_moment() -> None:
    framing = Framing(5.0)

    assert framing.close() is None
    framing.add(at(1))
    assert framing.close() is None
