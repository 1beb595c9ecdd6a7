"""What steps add to a run's time, where they overlap and leave gaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.analysis.eta import added_seconds

spans = st.lists(
    st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)).map(lambda s: (s[0], s[0] + s[1])), max_size=20
)


def test_steps_one_after_the_other_add_their_durations() -> None:
    assert added_seconds([(0, 10), (10, 15)]) == (10, 5)


def test_wait_belongs_to_the_step_that_follows_it() -> None:
    assert added_seconds([(2, 10), (13, 15)], began=0) == (10, 5)


def test_step_inside_another_adds_nothing_beyond_its_own_end() -> None:
    assert added_seconds([(0, 100), (10, 60)]) == (40, 60)


def test_parallel_steps_add_up_to_the_time_they_took_together() -> None:
    assert added_seconds([(0, 100), (5, 110), (110, 120)]) == (100, 10, 10)


def test_no_steps_add_nothing() -> None:
    assert added_seconds([]) == ()


@given(spans)
def test_values_add_up_to_the_time_between_first_start_and_last_end(
    intervals: list[tuple[float, float]],
) -> None:
    added = added_seconds(intervals)
    assert all(seconds >= 0 for seconds in added)
    start = min((start for start, _ in intervals), default=0.0)
    end = max((end for _, end in intervals), default=0.0)
    assert sum(added) == pytest.approx(end - start, abs=1e-6)
