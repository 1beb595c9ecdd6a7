"""The timeline of characters in manifest.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from robot_sf_otel.manifest.bars import MOST_BARS, WIDTH, bars
from robot_sf_otel.manifest.markdown import render_markdown
from robot_sf_otel.manifest.schema import PipelineRunRecord
from tests.data import sample_runs

if TYPE_CHECKING:
    from tests.data.sample_runs import Story


def lines_of(story: Story) -> list[str]:
    return bars(story.record())


def test_a_step_is_a_bar_where_it_ran() -> None:
    assert lines_of(sample_runs.failed()) == [
        "│        █████████                                 │   40.0 s  Train expert",
        "│                         ▓▓▓▓▓▓▓▓▓                │    1.5 s  Collect (failed)",
        f"│{' ' * 41}▓▓▓▓▓▓▓▓▓│    1.5 s  Collect, attempt 2 (failed)",
        " 0                                               6s",
    ]


def test_nested_steps_are_indented_and_what_did_not_run_is_left_out() -> None:
    nested = "\n".join(lines_of(sample_runs.healthy()))
    cancelled = "\n".join(lines_of(sample_runs.cancelled()))

    assert "850 ms    Rollout" in nested
    assert "Clone" not in cancelled
    assert "Train expert (cancelled)" in cancelled


def test_of_many_steps_both_ends_are_drawn() -> None:
    lines = lines_of(sample_runs.thousand())

    assert len(lines) == MOST_BARS + 2
    assert f"… {1000 - MOST_BARS} more" in lines
    assert lines[-2].endswith("trial_0999")


def test_without_times_there_is_no_timeline() -> None:
    record = PipelineRunRecord(run_id="x", pipeline="x")
    strange = sample_runs.failed().record()
    for step in strange.steps:
        step.started_at = "soon" if step.started_at else None

    assert bars(record) == bars(strange) == []
    assert "## Timeline" not in render_markdown(record)


@given(st.text(max_size=80))
def test_no_name_shifts_a_bar_or_leaves_its_block(name: str) -> None:
    story = sample_runs.Story("20260101T000000Z-a-aaaaaa")
    story.end(story.begin("x", name))
    story.finish()
    text = render_markdown(story.record())

    (block,) = [
        token.content
        for token in MarkdownIt("commonmark").enable("table").parse(text)
        if token.type == "fence"
    ]
    first, last = block.splitlines()
    assert first[0] == first[WIDTH + 1] == "│"
    assert last.startswith(" 0")


def test_long_tables_are_folded() -> None:
    story = sample_runs.Story("20260101T000000Z-a-aaaaaa", params={str(n): n for n in range(13)})
    story.finish()

    assert "## Parameters\n\n<details>\n<summary>13 rows</summary>" in render_markdown(
        story.record()
    )
