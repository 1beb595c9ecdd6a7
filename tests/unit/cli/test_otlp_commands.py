"""`export --format otlp`, `import` and `replay`: what they say, and with which exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.cli import replaying
from robot_sf_otel.interop import transport
from robot_sf_otel.interop.transport import Answer
from tests.data import sample_runs
from tests.unit.cli.answer import Answer as Said

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.interop.batches import Signal


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A completed run under ./output."""
    monkeypatch.chdir(tmp_path)
    return sample_runs.healthy().write(tmp_path / "output")


class Taking:
    """A transport that takes everything, or answers what it was made with."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer or Answer("taken")
        self.sent: list[Signal] = []

    def send(self, signal: Signal, body: bytes) -> Answer:
        self.sent.append(signal)
        return self.answer

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Taking:
    """What requests are sent to."""
    taking = Taking()

    def connect(*_: object) -> Taking:
        return taking

    monkeypatch.setattr(transport, "connect", connect)
    return taking


def test_export_writes_a_file_a_signal(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "export", run_dir.name, "--format", "otlp", "--output", "files")

    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("robot-sf-otel: wrote traces.jsonl (5), metrics.jsonl (")
    names = sorted(path.name for path in (run_dir.parents[2] / "files").iterdir())
    assert names == ["logs.jsonl", "metrics.jsonl", "traces.jsonl"]


def test_export_over_a_file_fails(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir.parents[2] / "files").write_text("mine")
    said = Said(capsys, "export", run_dir.name, "--format", "otlp", "--output", "files")

    assert said.code == 1
    assert "cannot write files" in said.err
    assert (run_dir.parents[2] / "files").read_text() == "mine"


def test_export_of_a_run_of_the_old_tracker_says_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    old = tmp_path / "output" / "run-tracker" / "old"
    old.mkdir(parents=True)
    (old / "manifest.jsonl").write_text('{"run_id": "old", "status": "completed"}\n')
    said = Said(capsys, "export", "old", "--format", "otlp", "--output", "files")

    assert said.code == 1
    assert "tells of no start of a run" in said.err


def test_import_says_what_became_of_each_run(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Said(capsys, "export", run_dir.name, "--format", "otlp", "--output", "files")
    files = sorted(map(str, (run_dir.parents[2] / "files").iterdir()))
    first = Said(capsys, "--artifact-root", "other", "import", *files)
    again = Said(capsys, "--artifact-root", "other", "import", "--from", "otlp", *files)
    told = Said(capsys, "--artifact-root", "other", "import", "--format", "json", "files")

    assert (first.code, again.code, told.code) == (0, 0, 0)
    assert first.out == f"imported {run_dir.name} (completed, 4 steps)\n"
    assert again.out == f"already imported as {run_dir.name}\n"
    assert [(one["run_id"], one["imported"]) for one in told.json] == [(run_dir.name, False)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("gone.jsonl",), 2, "gone.jsonl"),
        (("notes.txt",), 1, "there is no line of OTLP JSON"),
        (("notes.txt", "output"), 1, "several kinds"),
        (("output",), 1, "output holds no run of the original robot_sf tracker"),
    ],
)
def test_import_of_what_is_none_says_why(
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    (run_dir.parents[2] / "notes.txt").write_text("hello\n")
    said = Said(capsys, "import", *arguments)

    assert (said.code, said.out) == (code, "")
    assert words in said.err


def test_replay_warns_in_advance_and_tells_at_the_end(
    run_dir: Path, endpoint: Taking, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Said(capsys, "replay", run_dir.name, "--endpoint", "http://c:4317")

    assert said.code == 0
    assert "1 of 1 runs began over an hour ago: a Prometheus" in said.err
    assert said.out.splitlines()[:2] == ["1 run to http://c:4317", "traces: 5 accepted"]
    assert set(endpoint.sent) == {"traces", "metrics", "logs"}


def test_replay_of_one_signal_of_all_runs(
    run_dir: Path, endpoint: Taking, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_runs.running().write(run_dir.parents[1])
    arguments = ("replay", "--all", "--signal", "traces", "--endpoint", "http://c:4317")
    said = Said(capsys, *arguments, "--format", "json")

    assert said.code == 0
    assert set(endpoint.sent) == {"traces"}
    assert said.json["runs"] == 2
    assert said.json["signals"]["traces"]["accepted"] > 5


@pytest.mark.parametrize(
    ("variable", "option", "used"),
    [
        ("", (), "grpc"),
        ("http/protobuf", (), "http/protobuf"),
        ("http/json", (), "http/protobuf, with a warning"),
        ("http/json", ("--protocol", "grpc"), "grpc"),
    ],
)
def test_replay_takes_the_protocol_of_the_option_else_of_the_environment(  # noqa: PLR0917 - fixtures
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    option: tuple[str, ...],
    used: str,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", variable)
    protocols: list[str] = []

    def connect(_endpoint: str, protocol: str, _environ: object) -> Taking:
        protocols.append(protocol)
        return Taking()

    monkeypatch.setattr(transport, "connect", connect)
    said = Said(capsys, "replay", run_dir.name, "--endpoint", "http://c", *option)

    warned = "OTEL_EXPORTER_OTLP_PROTOCOL='http/json' is neither" in said.err
    assert (said.code, protocols) == (0, [used.partition(",")[0]])
    assert warned is used.endswith("with a warning")


def test_replay_that_is_refused_ends_with_1(
    run_dir: Path, endpoint: Taking, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.answer = Answer("refused", reason="HTTP 401")
    said = Said(capsys, "replay", run_dir.name, "--endpoint", "http://c:4317")

    assert said.code == 1
    assert "HTTP 401" in said.out


def test_replay_that_reaches_nobody_says_how_to_go_on(
    run_dir: Path, endpoint: Taking, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.answer = Answer("later", reason="UNAVAILABLE")
    arguments = ("replay", run_dir.name, "--endpoint", "http://c:4317", "--patience", "0")
    said = Said(capsys, *arguments)

    assert said.code == 1
    assert "stopped: UNAVAILABLE; the same command sends what is missing" in said.err


@pytest.mark.parametrize(
    "arguments", [(), ("--endpoint", "ftp://c"), ("--endpoint", "http://c", "--protocol", "x")]
)
def test_replay_to_nowhere_is_a_mistake_of_usage(
    run_dir: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert Said(capsys, "replay", run_dir.name, *arguments).code == 2


def test_replay_of_an_unknown_run_ends_with_1(
    run_dir: Path, endpoint: Taking, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Said(capsys, "replay", "20260101T000000Z-imitation-aaaaab", "--endpoint", "http://c")

    assert said.code == 1
    assert run_dir.name in said.err


def test_replay_shows_a_line_now_and_then_where_there_is_no_terminal(
    run_dir: Path,
    endpoint: Taking,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replaying, "LINE_SECONDS", 0.0)
    said = Said(capsys, "replay", run_dir.name, "--endpoint", "http://c")

    assert "1 of 1 runs, " in said.err


def test_replay_shows_a_bar_on_a_terminal(
    run_dir: Path,
    endpoint: Taking,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    said = Said(capsys, "replay", run_dir.name, "--endpoint", "http://c")

    assert said.code == 0
    assert "items" not in said.out
