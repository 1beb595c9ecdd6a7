"""The short form: nothing is lost and everything is closed, whenever it is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.torture.killing import kill_many
from tests.torture.scripts import play_day, play_names

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KILLS = 10


@pytest.mark.parametrize("first", range(0, 4 * KILLS, KILLS))
def test_pipeline_that_is_killed_at_any_moment_loses_nothing_and_is_closed(
    tmp_path: Path, first: int
) -> None:
    results = list(kill_many(range(first, first + KILLS), tmp_path))
    assert [result for result in results if result.problems] == []
    assert sum(result.events for result in results) > 0
    assert sum(result.hit for result in results) > KILLS / 2


def test_processes_that_open_a_run_of_one_name_at_once_get_one_each(tmp_path: Path) -> None:
    assert play_names(tmp_path / "names", 16) == []


def test_day_of_samples_takes_no_more_memory_than_an_hour_and_its_figures_are_right(
    tmp_path: Path,
) -> None:
    problems, _ = play_day(tmp_path / "day", 86_400)
    assert problems == []
