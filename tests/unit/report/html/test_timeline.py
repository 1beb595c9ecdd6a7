"""The time axis: what the run ran, with pauses left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import PipelineRunRecord
from robot_sf_otel.report.html.axis import ticks
from robot_sf_otel.report.html.gantt import MOST_LANES, lanes_of
from robot_sf_otel.report.html.timeline import Session, Timeline, timeline_of
from tests.data import sample_runs
from tests.data.sample_runs import SECOND, Story

if TYPE_CHECKING:
    from robot_sf_otel.report.html.gantt import Lane


def axis_of(story: Story, until: float | None = None) -> Timeline:
    return timeline_of(story.record(), story.events, until)


def lanes(story: Story, until: float | None = None) -> list[Lane]:
    return lanes_of(story.record(), axis_of(story, until))[0]


def resumed() -> Story:
    """A run of 10 s that failed, and went on for 20 s an hour later."""
    story = Story("20260101T000000Z-a-aaaaaa", plan=("a", "b"))
    begun = story.start_ns
    story.events += [
        e.RunFinished(
            time_unix_nano=begun + 10 * SECOND, status="failed", result="error", reason="no space"
        ),
        e.RunResumed(time_unix_nano=begun + 3610 * SECOND, duration_seconds=10.0),
        e.RunFinished(time_unix_nano=begun + 3630 * SECOND, status="completed", result="success"),
    ]
    return story


def test_a_pause_takes_no_room_on_the_axis() -> None:
    story = resumed()
    axis = axis_of(story)
    begun = story.start_ns / 1e9

    assert axis.end == 30.0
    assert [axis.at(begun + second) for second in (-5, 0, 5, 10, 1000, 3610, 3615, 9999)] == [
        *(0.0, 0.0, 5.0, 10.0, 10.0, 10.0, 15.0, 30.0)
    ]
    assert [(pause.at, pause.seconds, pause.reason) for pause in axis.pauses] == [
        (10.0, 3600.0, "no space")
    ]


def test_a_session_that_nobody_closed_ends_where_the_next_begins() -> None:
    story = resumed()
    del story.events[1]

    assert axis_of(story).sessions[0].ended == story.start_ns / 1e9 + 3610


def test_a_run_that_goes_on_ends_at_its_last_sign_of_life() -> None:
    story = sample_runs.running()

    assert axis_of(story, story.start_ns / 1e9 + 77).end == 77.0


def test_a_record_without_events_has_the_axis_of_its_times() -> None:
    record = PipelineRunRecord(
        run_id="x",
        pipeline="x",
        created_at="2026-01-01T00:00:00Z",
        completed_at="2026-01-01T00:01:00Z",
    )

    assert timeline_of(record, (), None).end == 60.0
    assert timeline_of(PipelineRunRecord(run_id="x", pipeline="x"), (), None).end == 0.0


def test_attempts_share_a_row_and_parallel_executions_do_not() -> None:
    story = Story("20260101T000000Z-a-aaaaaa")
    first = story.begin("train", "Train")
    story.end(first, "failed", result="failure")
    story.end(story.begin("train", "Train"))
    spans = [story.begin("worker", f"Worker {index}") for index in range(2)]
    for span in spans:
        story.end(span)
    story.finish()

    rows = lanes(story)

    assert [(row.title, [bar.status for bar in row.bars]) for row in rows] == [
        ("Train", ["failed", "completed"]),
        ("worker", ["completed"]),
        ("", ["completed"]),
    ]
    assert rows[0].bars[1].text == "Train, attempt 2: completed, 40.0 s"
    assert rows[0].note == "2 executions, 1m 20s in all · the last 40.0 s"


def test_what_was_not_reached_or_skipped_has_a_row_that_says_so() -> None:
    notes = {row.title: row.note for row in lanes(sample_runs.cancelled())}

    assert notes["Collect"] == "skipped: cached"
    assert notes["Clone"] == "not reached"
    assert notes["Train expert"].startswith("cancelled after ")


def test_a_running_step_reaches_to_the_end_of_the_axis() -> None:
    story = sample_runs.running()
    axis = axis_of(story, story.start_ns / 1e9 + 77)
    row = next(row for row in lanes_of(story.record(), axis)[0] if row.title.startswith("Collect"))

    assert row.bars[0].b == 77.0
    assert row.note.startswith("running for ")
    assert lanes_of(story.record(), axis)[0][-1].note == "to come"


def test_nested_steps_are_deeper() -> None:
    assert [(row.title, row.depth) for row in lanes(sample_runs.healthy())][:3] == [
        ("Train expert", 0),
        ("Collect expert trajectories", 0),
        ("Rollout", 1),
    ]


def test_of_thousands_of_steps_all_together_the_failed_ones_and_both_ends_are_drawn() -> None:
    story = sample_runs.thousand()
    rows, left_out = lanes_of(story.record(), axis_of(story))
    titles = [row.title for row in rows]

    assert len(rows) == MOST_LANES
    assert left_out == 1000 - (MOST_LANES - 1)
    assert titles[0] == "all 1,000 steps"
    assert len(rows[0].bars) == 1000
    assert rows[0].bars[-1].status == "failed"
    assert {"trial_0000", "trial_0500", "trial_0999"} <= set(titles)
    assert titles[1:] == sorted(titles[1:])


def test_executions_without_end_are_drawn_in_part() -> None:
    story = Story("20260101T000000Z-a-aaaaaa")
    for _ in range(4_000):
        story.end(story.begin("epoch"))
    story.finish()
    rows, left_out = lanes_of(story.record(), axis_of(story))

    assert [row.title for row in rows] == ["all 4,000 steps"]
    assert 1_000 < len(rows[0].bars) <= 3_000
    assert left_out == 1


def test_ticks_are_round_and_few() -> None:
    for end in (0.003, 0.7, 6.2, 59, 400, 3_000, 86_400, 400_000, 1e8):
        found = ticks(end)
        assert found[0] == (0.0, "0")
        assert 2 <= len(found) <= 16
        assert all(0 <= at <= end for at, _ in found)
    assert [text for _, text in ticks(86_400)][:3] == ["0", "3h", "6h"]
    assert ticks(0.0) == [(0.0, "0")]


def test_a_moment_before_the_first_session_is_its_begin() -> None:
    assert Timeline((Session(100.0, 110.0, 5.0),)).at(0.0) == 0.0
