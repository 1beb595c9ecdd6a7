"""Views of the terminal: 80 columns, plain where the stream is plain, names that stay names."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.analysis.durations import StepDuration
from robot_sf_otel.manifest.schema import FieldSummary, TelemetrySnapshot
from robot_sf_otel.report.page import Page, write_text
from robot_sf_otel.report.status import add_status, milestones, status_line
from robot_sf_otel.report.summary import add_summary
from robot_sf_otel.report.tables import add_runs, parse_time, short_time
from tests.data import sample_runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.data.sample_runs import Story
    from tests.unit.report.conftest import PseudoTerminal

NOW = datetime(2026, 1, 1, 3, 2, tzinfo=UTC)
STORIES = [
    sample_runs.healthy,
    sample_runs.failed,
    sample_runs.cancelled,
    sample_runs.running,
    sample_runs.hostile,
    sample_runs.thousand,
]


def page(columns: int = 80, **environ: str) -> Page:
    return Page(io.StringIO(), {"COLUMNS": str(columns), **environ})


def status_of(story: Story, columns: int = 80) -> str:
    shown = page(columns)
    sample = story.samples[-1] if story.samples else None
    add_status(shown, story.record(), sample, [], NOW)
    return shown.text()


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("columns", [80, 200])
def test_reports_fit_the_page_and_hold_no_escapes(story: Callable[[], Story], columns: int) -> None:
    told = story()
    shown = page(columns)
    add_summary(shown, told.record(), ["a problem"], NOW)
    lines = (status_of(told, columns) + shown.text()).split("\n")

    # Tracebacks keep their lines: people copy them.
    assert max(len(line) for line in lines if not line.startswith("    ")) <= columns
    assert all(line.isprintable() for line in lines)


def test_the_list_shows_whole_run_ids_at_80_columns() -> None:
    records = [story().record() for story in STORIES]
    shown = page()
    add_runs(shown, records, NOW)
    lines = shown.text().splitlines()

    assert lines[0].split() == ["RUN", "STATUS", "STARTED", "DURATION", "STEPS"]
    assert [line.split()[0] for line in lines[1:]] == [record.run_id for record in records]
    assert lines[1].split()[-3:] == ["2m", "03s", "3/3"]


def test_a_wide_list_shows_why_a_run_failed() -> None:
    shown = page(160)
    add_runs(shown, [sample_runs.failed().record()], NOW)

    assert "ValueError: no | episodes" in shown.text()
    assert "imitation" in shown.text()


def test_status_of_a_running_run_has_eta_band_progress_and_time_so_far() -> None:
    text = status_of(sample_runs.running())

    assert text.startswith("imitation running for 2m, 1 of 3 steps\n")
    assert "ETA      11m (9m to 14m)" in text
    assert "running      1m 57s  120/500 episodes  3.20/s" in text
    assert text.rstrip().endswith("Telemetry\n  unavailable")


def test_a_wide_list_has_the_eta_of_live_runs() -> None:
    records = [sample_runs.running().record(), sample_runs.healthy().record()]
    wide, narrow, over = page(columns=120), page(columns=80), page(columns=120)
    for shown, listed in ((wide, records), (narrow, records), (over, records[1:])):
        add_runs(shown, listed, NOW)
    assert "11m (9m to 14m)" in wide.text()
    assert "ETA" not in narrow.text()
    assert "ETA" not in over.text()


def test_status_has_the_usual_duration_of_top_level_steps() -> None:
    record = sample_runs.healthy().record()
    history = [StepDuration(record.steps[0].step_id, "Train", 1.0, 41.2, 12)]
    shown = page(columns=120)
    add_status(shown, record, None, [], NOW, history=history)
    rows = [line.split() for line in shown.text().splitlines()]
    (train,) = (row for row in rows if row[:2] == ["1", "Train"])
    assert "41.2 s (12)" in " ".join(train)
    (clone,) = (row for row in rows if row[1:2] == ["Behavioural"])
    assert "--" in clone
    assert "USUALLY is the median of comparable earlier runs" in shown.text()


def test_without_earlier_runs_the_usual_duration_is_unknown() -> None:
    record = sample_runs.healthy().record()
    shown = page()
    add_status(shown, record, None, [], NOW, history=[])
    assert "USUALLY" in shown.text()
    assert "USUALLY is" not in shown.text()


def test_a_run_is_told_in_a_line() -> None:
    assert status_line(sample_runs.running().record(), NOW).partition(" ")[2] == (
        "imitation running for 2m, 1 of 3 steps, Collect expert trajectories 120/500 episodes, "
        "ETA 11m (9m to 14m)"
    )
    line = status_line(sample_runs.failed().record(), NOW)
    assert "\n" not in line
    assert " failed after " in line


def test_progress_and_time_are_no_milestones() -> None:
    before, after = (sample_runs.running().record() for _ in range(2))
    after.steps[0].progress.done += 1
    after.eta.remaining_seconds = 1.0
    assert milestones(before) == milestones(after)
    after.summary.steps_completed += 1
    assert milestones(before) != milestones(after)


def test_status_of_a_failed_run_says_why_and_which_attempt() -> None:
    text = status_of(sample_runs.failed())

    assert "Reason   ValueError: no | episodes" in text
    assert "Collect (attempt 2): ValueError: no | episodes" in text
    assert "Traceback" not in text


def test_status_shows_the_last_sample_with_units() -> None:
    text = status_of(sample_runs.healthy())

    assert "Telemetry, last sample" in text
    assert "Memory of the run (RSS)         1,000 MiB" in text
    assert "reward                              181.5" in text
    assert "gpu: no driver" in text


def test_status_says_how_old_the_sample_of_a_live_run_is() -> None:
    story = sample_runs.running()
    moment = NOW - timedelta(seconds=3)
    story.samples = [TelemetrySnapshot(timestamp_ms=int(moment.timestamp() * 1000), fps=3)]

    assert "Telemetry, 3s ago" in status_of(story)


def test_a_thousand_steps_show_both_ends_and_what_failed() -> None:
    text = status_of(sample_runs.thousand())

    assert "trial_0000" in text
    assert "trial_0500  failed" in text
    assert "trial_0999" in text
    assert "… 979 more steps" in text


def test_the_summary_has_every_section() -> None:
    told = sample_runs.healthy()
    shown = page()
    telemetry = {"fps": FieldSummary(count=1, mean=1, p95=2, maximum=3)}
    add_summary(shown, told.record(telemetry), [], NOW)
    text = shown.text()

    sections = ["Steps", "Recommendations", "Telemetry", "Artifacts", "Metrics", "Parameters"]
    for section in [*sections, "Seeds", "Environment"]:
        assert f"\n\n{section}\n" in text
    assert "evidence: cpu_percent_process = 97.1 % (threshold 90 %)" in text
    assert "- Use fewer workers" in text
    assert "(with uncommitted" in text


def test_the_summary_of_a_failure_has_the_traceback() -> None:
    shown = page()
    add_summary(shown, sample_runs.failed().record(), [], NOW)

    assert "    Traceback (most recent call last):" in shown.text()


def test_rich_markup_in_names_is_text() -> None:
    assert "[bold]_m_" in status_of(sample_runs.hostile())


def test_a_stream_without_unicode_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    shown = Page(stream, {"COLUMNS": "80"})
    told = sample_runs.healthy()
    told.begin("ü", "Übung 日本")
    add_summary(shown, told.record(), [], NOW)
    shown.write()

    assert b"> Rollout" in raw.getvalue()
    assert b"?bung ??" in raw.getvalue()


def test_text_that_cannot_be_encoded_is_replaced() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    write_text(stream, "ü–")

    assert raw.getvalue() == "ü?".encode("latin-1")


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(
    pseudo_terminal: PseudoTerminal, environ: dict[str, str], *, coloured: bool
) -> None:
    shown = Page(pseudo_terminal.stream, {"TERM": "xterm-256color", **environ})
    add_runs(shown, [sample_runs.failed().record()], NOW)

    assert ("\x1b[31m" in shown.text()) is coloured
    assert shown.width == 80


def test_a_pipe_without_columns_is_wide() -> None:
    assert Page(io.StringIO(), {}).width == 160
    assert Page(io.StringIO(), {"COLUMNS": "5"}).width == 40


@pytest.mark.parametrize("timestamp", [None, "", "yesterday"])
def test_a_time_that_is_none_is_dashes(timestamp: str | None) -> None:
    assert parse_time(timestamp) is None
    assert short_time(timestamp, NOW) == "--"


def test_times_are_short_as_ls_has_them() -> None:
    noon = "2026-06-15T12:00:00.000000Z"
    local = datetime(2026, 6, 15, 12, tzinfo=UTC).astimezone()

    assert short_time(noon, NOW) == local.strftime("Jun 15 %H:%M")
    assert short_time(noon, NOW.replace(year=2028)) == "Jun 15 2026"
