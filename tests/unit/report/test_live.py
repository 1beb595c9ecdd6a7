"""The picture of `watch`, at any size."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len

from robot_sf_otel.manifest.schema import (
    PerformanceRecommendation,
    Progress,
    StepExecutionEntry,
    TelemetrySnapshot,
)
from robot_sf_otel.report.canvas import ASCII, UNICODE, Line, bar, clip, paint, sparkline, spread
from robot_sf_otel.report.live import View, picture, run_list
from tests.data import sample_runs

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


def samples(count: int = 60) -> list[TelemetrySnapshot]:
    return [
        TelemetrySnapshot(
            timestamp_ms=1_767_225_600_000 + 1000 * index,
            cpu_percent_process=float(index % 100),
            memory_rss_mb=100.0 + index,
            memory_limit_mb=1000.0,
            metrics={"reward": 0.5},
        )
        for index in range(count)
    ]


def finding() -> PerformanceRecommendation:
    return PerformanceRecommendation(
        id="r1",
        trigger="io_bound",
        severity="warning",
        step_id="train",
        message="the disk is slow",
        evidence={},
        suggested_actions=["buy another"],
        timestamp_ms=1,
    )


def view(record: PipelineRunRecord | None = None, *, unicode: bool = True) -> View:
    shown = record or sample_runs.running().record()
    shown.recommendations = [finding()]
    return View(
        record=shown,
        samples=samples(),
        log=[f"13:00:{second:02d} INFO line {second}" for second in range(50)],
        now=NOW,
        position="run 1 of 2",
        unicode=unicode,
    )


def texts(lines: list[Line]) -> list[str]:
    return paint(lines, colour=False).replace("\x1b[1m", "").replace("\x1b[0m", "").split("\n")


@pytest.mark.parametrize("height", [1, 2, 5, 9, 14, 24, 60])
@pytest.mark.parametrize("width", [1, 10, 30, 40, 79, 200])
@pytest.mark.parametrize(
    "story",
    [
        sample_runs.running,
        sample_runs.healthy,
        sample_runs.failed,
        sample_runs.hostile,
        sample_runs.thousand,
    ],
)
def test_a_picture_never_exceeds_its_screen(story: type[object], width: int, height: int) -> None:
    made: object = story()
    assert isinstance(made, sample_runs.Story)
    lines = picture(view(made.record()), width, height)
    assert len(lines) == max(1, height)
    assert all(cell_len(text) <= width for text in texts(lines))


def test_everything_is_there_where_there_is_room() -> None:
    text = "\n".join(texts(picture(view(), 100, 40)))
    for part in ("running", "CPU", "Memory", "GPU", "unavailable", "io_bound", "line 49", "q quit"):
        assert part in text
    assert "run 1 of 2" in text


def test_of_a_long_list_the_running_step_is_shown() -> None:
    record = sample_runs.running().record()
    record.steps = [
        StepExecutionEntry(
            step_id=f"s{index}",
            display_name=f"s{index}",
            order=index + 1,
            status="running" if index == 70 else "completed",
            started_at="2026-01-01T00:00:00Z",
        )
        for index in range(100)
    ]
    text = "\n".join(texts(picture(view(record), 80, 24)))
    assert "s70" in text
    assert " of 100" in text


def test_a_step_that_runs_has_a_bar_a_rate_and_the_time_that_is_left() -> None:
    record = sample_runs.running().record()
    record.steps = [
        StepExecutionEntry(
            step_id="train",
            display_name="train",
            order=1,
            status="running",
            started_at="2026-01-01T00:09:00Z",
            progress=Progress(done=25, total=100, unit="episodes", rate=0.5),
        )
    ]
    text = "\n".join(texts(picture(view(record), 110, 24)))
    assert "█" in text
    for part in ("25 %", "1m 00s", "2m left", "episodes/", "25/100"):
        assert part in text


def test_without_unicode_every_character_is_ascii() -> None:
    record = sample_runs.running().record()
    lines = picture(view(record, unicode=False), 80, 24)
    assert all(text.isascii() for text in texts(lines))


def test_a_hostile_name_reaches_the_screen_without_escapes() -> None:
    record = sample_runs.hostile().record()
    for line in picture(view(record), 200, 40):
        assert all("\x1b" not in text and "\n" not in text for text, _ in line)


def test_a_curve_is_stable_and_keeps_its_peaks() -> None:
    values = [(float(second), 100.0 if second == 30 else 0.0) for second in range(120)]
    curve = sparkline(values, 60, 100.0, 120.0, UNICODE)
    assert len(curve) == 60
    assert curve.count("█") == 1
    later = sparkline([*values, (120.0, 0.0), (121.0, 0.0)], 60, 100.0, 120.0, UNICODE)
    assert later == f"{curve[1:]}▁"


def test_a_curve_has_gaps_where_nothing_was_read() -> None:
    assert sparkline([(0.0, 50.0), (1.0, None), (2.0, 100.0)], 3, 100.0, 3.0, ASCII) == "= #"
    assert sparkline([(0.0, None)], 3, 100.0, 3.0, ASCII) == "   "
    assert sparkline([(0.0, 1.0)], 1, 0.0, 1.0, ASCII) == "_"


def test_a_bar_is_full_only_when_all_is_done() -> None:
    assert bar(0.999, 10, ASCII)[0][0] == "#" * 10 or bar(0.94, 10, ASCII)[0][0] == "#" * 9
    assert bar(1.5, 4, ASCII)[0][0] == "####"
    assert bar(None, 4, ASCII)[0][0] == "...."


def test_wide_characters_count_twice() -> None:
    assert texts([clip([("日本語", "")], 4, UNICODE)]) == ["日 …"]
    assert texts([clip([("ab", "")], 4, UNICODE, pad=True)]) == ["ab"]
    assert texts([spread([("日", "")], [("x", "")], 5)]) == ["日  x"]


def test_the_list_shows_the_chosen_run_wherever_it_is() -> None:
    records = [sample_runs.healthy().record() for _ in range(100)]
    for index, record in enumerate(records):
        record.run_id = f"run-{index}"
    lines = texts(run_list(records, 90, NOW, (60, 12), unicode=False))
    assert len(lines) == 12
    assert any(line.startswith("> run-90") for line in lines)
    assert all(cell_len(line) <= 60 for line in lines)
