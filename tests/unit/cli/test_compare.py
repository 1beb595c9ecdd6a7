"""`compare`: what comes out, and with which exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.data.ended_runs import write_run
from tests.unit.cli.answer import Answer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def root(tmp_path: Path) -> Path:
    """An artifact root with a fast run, a slow one, and one that failed in its second step."""
    root = tmp_path / "output"
    write_run(root, "fast", at=1, steps={"train": 10, "test": 1}, params={"lr": 0.1, "n": 1})
    write_run(root, "slow", at=2, steps={"train": 15, "test": 1}, params={"lr": 0.2, "n": 1})
    write_run(root, "broken", at=3, steps={"train": 10, "test": 1}, status="failed")
    return root


def test_the_first_run_is_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "compare", "fast", "slow")
    assert answer.code == 0
    assert "train  10.0 s  15.0 s +50%" in answer.out
    assert "lr    0.1  0.2 *" in answer.out
    assert answer.err == ""


def test_json_has_the_same_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(
        capsys, "compare", "fast", "slow", "--format", "json", "--fail", "train:duration:25%"
    )
    assert answer.code == 1
    found = answer.json
    assert [run["change"] for run in found["runs"]] == [None, pytest.approx(16 / 11 - 1)]
    assert [step["step_id"] for step in found["steps"]] == ["train", "test"]
    assert found["steps"][0]["runs"][1]["change"] == pytest.approx(0.5)
    assert [row["name"] for row in found["parameters"]] == ["lr"]
    assert [one["breached"] for one in found["limits"]] == [True]


def test_equal_parameters_are_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("compare", "fast", "slow", "--format", "json")
    assert "n" not in [row["name"] for row in Answer(capsys, *arguments).json["parameters"]]
    assert "n" in [row["name"] for row in Answer(capsys, *arguments, "--all").json["parameters"]]


def test_a_limit_that_holds_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "compare", "fast", "slow", "--fail", "train:duration:60%")
    assert (answer.code, answer.err) == (0, "")


def test_what_breached_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(
        capsys,
        *("compare", "fast", "slow", "broken"),
        *("--fail", "train:duration:25%", "--fail", "total:duration:25%"),
    )
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert "step train took +50.0% in slow" in answer.err
    assert "the whole run did not complete (failed) in broken" in answer.err
    assert "Durations of steps" in answer.out


def test_where_nothing_can_be_compared_that_is_said_and_no_breach(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = Answer(capsys, "compare", "broken", "fast", "--fail", "test:duration:25%")
    assert answer.code == 0
    assert answer.err == (
        "robot-sf-otel: step test has no duration in broken: nothing to compare with\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fast", "slow", "--fail", "train:25%"), "such as train:duration:25%"),
        (("fast",), "name two runs or more"),
    ],
)
def test_a_wrong_call_is_answered_with_the_remedy(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    answer = Answer(capsys, "compare", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert says in answer.err


def test_a_run_that_is_not_there_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "compare", "fast", "sloww")
    assert (answer.code, answer.out) == (1, "")
    assert "the closest are slow" in answer.err
