"""`list`, `status`, `summary`, `export`: what comes out where, and with which exit code."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest.codec import decode_document
from robot_sf_otel.manifest.schema import ErrorInfo, PipelineRunRecord
from tests.data import sample_runs
from tests.data.ended_runs import write_run
from tests.data.sample_runs import Story
from tests.unit.cli.answer import Answer

if TYPE_CHECKING:
    from pathlib import Path

HEALTHY = "20260101T000000Z-imitation-aaaaaa"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An artifact root with a run of each kind."""
    for story in (
        sample_runs.healthy,
        sample_runs.failed,
        sample_runs.cancelled,
        sample_runs.hostile,
    ):
        story().write(tmp_path / "output")
    return tmp_path / "output"


@pytest.mark.parametrize("form", ["text", "markdown", "html", "json"])
def test_every_report_has_the_traceback_of_what_ended_the_run_outside_its_steps(
    root: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    story = Story("20260101T050000Z-outside-ffffff")
    story.end(story.begin("a"))
    trace = 'Traceback (most recent call last):\n  File "main.py", line 7\nKeyError: rate'
    error = ErrorInfo(type="KeyError", message="rate", stacktrace=trace)
    story.finish("failed", result="failure", reason="KeyError: rate", error=error)
    story.write(root)

    shown = Answer(capsys, "summary", story.run_id, "--format", form).out
    assert re.search(r"File \W+main\.py\W+, line 7", html.unescape(shown))
    if form == "json":
        record = decode_document(shown.encode(), PipelineRunRecord)
        assert record.error == error
        assert record.steps[0].error is None
    else:
        assert "The run itself" in shown


# -- which run ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [HEALTHY, "20260101T000000Z", f"output/run-tracker/{HEALTHY}"])
def test_a_run_is_an_id_a_prefix_or_a_path(
    root: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    answer = Answer(capsys, "status", text)

    assert answer.code == 0
    assert f"Run      {HEALTHY}\n" in answer.out
    assert not answer.err


def test_the_latest_run_is_the_default(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "20260101T040000Z-run-eeeeee" in Answer(capsys, "status").out
    assert "20260101T040000Z-run-eeeeee" in Answer(capsys, "show", "latest").out


def test_an_unknown_run_names_the_closest_in_one_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(capsys, "status", "20260101T000000Z-imitation-aaaaab")

    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("robot-sf-otel: no run '20260101T000000Z-imitation-aaaaab'")
    assert HEALTHY in answer.err
    assert answer.err.count("\n") == 1


def test_an_ambiguous_prefix_names_the_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "summary", "20260101T0")

    assert answer.code == 1
    assert "4 runs begin with '20260101T0'" in answer.err


@pytest.mark.parametrize("text", ["", "\x1b[2J", "a/b/c", "../..", "x" * 5000])
def test_no_name_of_a_run_makes_a_traceback(
    root: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    answer = Answer(capsys, "status", text)

    assert answer.code == 1
    assert answer.err.startswith("robot-sf-otel: ")
    assert "\x1b" not in answer.err


def test_a_run_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "output" / "run-tracker" / "broken"
    run_dir.mkdir(parents=True)
    (run_dir / "manifest.jsonl").write_text("{nonsense\n")
    answer = Answer(capsys, "status", "broken")

    assert answer.code == 1
    assert answer.err.count("\n") == 1


# -- list -----------------------------------------------------------------------------------------


def test_list_is_newest_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "list")

    started = [line.split()[0] for line in answer.out.splitlines() if line.startswith("2026")]
    assert answer.code == 0
    assert len(started) == 4
    assert started == sorted(started, reverse=True)


def test_list_as_json_is_one_array_without_steps(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(capsys, "list", "--format", "json")

    assert [record["status"] for record in answer.json] == [
        "failed",
        "cancelled",
        "failed",
        "completed",
    ]
    assert all("steps" not in record for record in answer.json)
    assert answer.json[-1]["summary"]["steps_completed"] == 3


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--limit", "1"], 1),
        (["--status", "failed"], 2),
        (["--status", "pending"], 0),
        (["--pipeline", "imitation"], 3),
        (["--scenario", "pendulum"], 1),
        (["--host", "box"], 1),
        (["--host", "elsewhere"], 0),
        (["--tag", "nightly"], 1),
        (["--since", "2026-01-01T01:00:00Z"], 3),
        (["--until", "2026-01-01T01:00:00Z"], 1),
        (["--since", "24h"], 0),
        (["--since", "2025-12-30", "--until", "2026-01-03"], 4),
    ],
)
def test_list_filters(
    root: Path, capsys: pytest.CaptureFixture[str], options: list[str], found: int
) -> None:
    answer = Answer(capsys, "list", "--format", "json", *options)

    assert answer.code == 0
    assert len(answer.json) == found


def test_an_empty_list_says_so_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Answer(capsys, "list")
    as_json = Answer(capsys, "list", "--format", "json")

    assert (text.code, text.out) == (0, "")
    assert text.err == "robot-sf-otel: no runs under output/run-tracker\n"
    assert (as_json.json, as_json.err) == ([], "")


def test_several_artifact_roots_are_listed_together(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_runs.thousand().write(tmp_path / "other")
    options = ["--artifact-root", str(root), "--artifact-root", str(tmp_path / "other")]

    assert len(Answer(capsys, *options, "list", "--format", "json").json) == 5


def test_the_environment_names_the_artifact_root(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_SF_ARTIFACT_ROOT", "nowhere")

    assert "nowhere/run-tracker" in Answer(capsys, "list").err


# -- status, summary, export ----------------------------------------------------------------------


def test_status_as_json_is_the_record_with_its_last_sample(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(capsys, "status", HEALTHY, "--format", "json")

    assert answer.json["run_id"] == HEALTHY
    assert len(answer.json["steps"]) == 4
    assert answer.json["latest_sample"]["cpu_percent_process"] == 52.0
    assert answer.json["problems"] == []


def test_status_has_the_duration_of_each_step_in_earlier_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for at, seconds in enumerate((2.0, 4.0, 9.0)):
        write_run(tmp_path / "output", f"r{at}", at=at, steps={"train": seconds})
    (row,) = Answer(capsys, "status", "--format", "json").json["history"]
    assert (row["step_id"], row["seconds"], row["earlier_median"], row["earlier_runs"]) == (
        "train",
        9.0,
        3.0,
        2,
    )
    assert "9.0 s  3.0 s (2)" in Answer(capsys, "status").out


def test_summary_as_json_is_a_valid_record(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "summary", HEALTHY, "--format", "json")

    record = decode_document(answer.out.encode(), PipelineRunRecord)
    assert record.run_id == HEALTHY


def test_messages_stay_out_of_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = root / "run-tracker" / HEALTHY / "manifest.jsonl"
    with journal.open("a") as file:
        file.write('{"event": "step_st')
    answer = Answer(capsys, "summary", HEALTHY, "--format", "json")

    assert answer.json["run_id"] == HEALTHY
    assert "manifest.jsonl" in answer.err


def test_summary_as_markdown_links_from_here(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(capsys, "summary", HEALTHY, "--format", "markdown")

    assert answer.out.startswith("# ✅ imitation: completed")
    assert f"(output/run-tracker/{HEALTHY}/artifacts/expert%20policy.zip)" in answer.out


@pytest.mark.parametrize(
    ("name", "options", "start"),
    [
        ("r.json", [], b"{\n"),
        ("r.md", [], b"# "),
        ("r.txt", ["--format", "markdown"], b"# "),
        ("r.md", ["--format", "json"], b"{\n"),
    ],
)
def test_export_writes_what_was_asked_for(
    root: Path, capsys: pytest.CaptureFixture[str], name: str, options: list[str], start: bytes
) -> None:
    target = root.parent / name
    answer = Answer(capsys, "export", HEALTHY, "--output", str(target), *options)

    assert (answer.code, answer.out) == (0, "")
    assert target.read_bytes().startswith(start)


def test_exported_links_lead_to_the_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root.parent / "reports").mkdir()
    target = root.parent / "reports" / "r.md"
    Answer(capsys, "export", HEALTHY, "--output", str(target))

    link = f"(../output/run-tracker/{HEALTHY}/artifacts/expert%20policy.zip)"
    assert link in target.read_text()


def test_export_to_nowhere_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "export", HEALTHY, "--output", "no/such/folder/r.md")

    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert "cannot write no/such/folder/r.md: No such file or directory" in answer.err


# -- usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--status", "done"], ["--status", "'done'", "completed"]),
        (["list", "--since", "yesterday"], ["--since", "'yesterday'", "RFC 3339"]),
        (["list", "--until", "2026-99-99"], ["--until", "2026-99-99"]),
        (["list", "--limit", "0"], ["--limit", "1"]),
        (["list", "--limit", "x"], ["--limit", "integer"]),
        (["list", "--format", "xml"], ["--format", "xml"]),
        (["status", "--format", "html"], ["--format", "html"]),
        (["status", "a", "b"], ["unexpected"]),
        (["export"], ["--output"]),
        (["export", "--output", "r.txt"], ["--format", ".json"]),
        (["export", "--output", "r.md", "--format", "pdf"], ["--format", "pdf"]),
        (["nonsense"], ["nonsense"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    answer = Answer(capsys, *arguments)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("robot-sf-otel: ")
    assert answer.err.count("\n") == 1
    assert [word for word in words if word not in answer.err] == []


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys)

    assert (answer.code, answer.out) == (2, "")
    for name in ("list", "status", "summary", "show", "export", "doctor", "demo", "run", "step"):
        assert f"\n  {name} " in answer.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "--version")

    assert answer.code == 0
    assert answer.out.startswith("robot-sf-otel 0.")
