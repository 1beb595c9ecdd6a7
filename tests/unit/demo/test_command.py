"""`robot-sf-otel demo`: options, what it prints, and errors in one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import demo as demo_package
from robot_sf_otel.cli import demo as command
from robot_sf_otel.cli.main import run_command
from robot_sf_otel.demo.comparison import Comparison, Score
from robot_sf_otel.demo.errors import DemoError
from robot_sf_otel.demo.pipeline import DemoResult

if TYPE_CHECKING:
    from pathlib import Path

COMPARISON = Comparison((Score("random", -1200.0, 3.0, 5), Score("expert", -150.0, 2.0, 5)))


def result(run_dir: Path | None, run_id: str | None = "some-run") -> DemoResult:
    return DemoResult(COMPARISON, seed=1, mode="quick", run_id=run_id, run_dir=run_dir)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Replace the pipeline and `configure`; return how they were called."""
    made: list[dict[str, Any]] = []

    def run_demo(**options: Any) -> DemoResult:  # noqa: ANN401 - whatever the command passes
        made.append(options)
        return result(tmp_path / "output" / "run-tracker" / "some-run")

    def configure(**options: Any) -> None:  # noqa: ANN401 - whatever the command passes
        made.append(options)

    monkeypatch.setattr(demo_package, "run_demo", run_demo)
    monkeypatch.setattr("robot_sf_otel.bootstrap.configure", configure)
    for variable in command.ONE_THREAD:  # set first, so that what the command sets is undone
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    return made


def test_telemetry_is_on_before_the_demo_runs(calls: list[dict[str, Any]]) -> None:
    assert run_command(["demo"]) == 0

    assert calls == [{"artifact_root": None}, {"quick": False, "scenario": None, "seed": None}]


@pytest.mark.usefixtures("calls")
def test_one_thread_a_process_computes_unless_the_user_wants_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")

    run_command(["demo"])

    assert os.environ["OMP_NUM_THREADS"] == "4"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


def test_options_reach_the_demo(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    scenario = tmp_path / "mine.toml"
    options = ["--quick", "--scenario", str(scenario), "--seed", "7"]

    assert run_command(["--artifact-root", str(tmp_path), "demo", *options]) == 0

    assert calls == [
        {"artifact_root": tmp_path},
        {"quick": True, "scenario": scenario, "seed": 7},
    ]


@pytest.mark.usefixtures("calls")
def test_it_prints_the_table_and_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["demo"])

    out = capsys.readouterr().out
    assert "| expert |        -150.0 ± 2.0 |" in out
    assert "output/run-tracker/some-run/\n" in out
    assert "manifest.md" in out
    assert "\nrobot-sf-otel status " in out
    assert "\nrobot-sf-otel summary " in out


def test_what_to_type_names_an_artifact_root_that_is_not_the_default(tmp_path: Path) -> None:
    run_dir = tmp_path / "my runs" / "run-tracker" / "some-run"

    assert "robot-sf-otel --artifact-root 'my runs' status" in command.where_to_look(
        result(run_dir)
    )


def test_an_artifact_root_from_the_environment_need_not_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_SF_ARTIFACT_ROOT", str(tmp_path / "elsewhere"))
    run_dir = tmp_path / "elsewhere" / "run-tracker" / "some-run"

    assert "\nrobot-sf-otel status" in command.where_to_look(result(run_dir))


def test_it_says_why_there_is_nothing_to_look_at() -> None:
    assert "Telemetry is off" in command.where_to_look(result(None, run_id=None))
    assert "could not be written" in command.where_to_look(result(None))


def test_an_error_is_one_line_on_stderr_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
    calls: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(**options: object) -> None:
        raise DemoError("scenario file 'x.toml': No such file or directory")

    monkeypatch.setattr(demo_package, "run_demo", fails)

    assert run_command(["demo", "--scenario", "x.toml"]) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "scenario file 'x.toml': No such file or directory" in captured.err


def test_a_negative_seed_is_a_usage_error(calls: list[dict[str, Any]]) -> None:
    assert run_command(["demo", "--seed", "-1"]) == 2
    assert calls == []
