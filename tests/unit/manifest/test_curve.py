"""Few points of progress, whatever the length of the step."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.manifest.curve import MOST, ProgressCurve


def curve(*readings: tuple[float, float]) -> list[tuple[float, float]]:
    made = ProgressCurve()
    for seconds, done in readings:
        made.add(seconds, done)
    return made.points()


def test_a_reading_without_news_is_left_out() -> None:
    assert curve((1, 0), (2, 5), (3, 5), (4, 9)) == [(2, 5), (4, 9)]


def test_a_long_step_keeps_its_whole_course_in_few_points() -> None:
    points = curve(*((float(second), second * 2.0) for second in range(1, 86_401)))
    assert MOST / 4 <= len(points) <= MOST
    assert points[0] == (1, 2)
    gaps = [later[0] - before[0] for before, later in itertools.pairwise(points)]
    assert max(gaps) < 86_400 / 8


@given(st.lists(st.floats(0, 1e6), max_size=300))
def test_points_stay_in_the_order_of_time(times: list[float]) -> None:
    points = curve(*((time, place + 1.0) for place, time in enumerate(sorted(times))))
    assert points == sorted(points)
    assert len(points) <= MOST
