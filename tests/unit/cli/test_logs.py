"""`logs`: the log lines of a run, chosen and harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.log_file import LogFile, entry_text
from tests.data.ended_runs import write_run
from tests.unit.cli.answer import Answer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    made = write_run(tmp_path / "output", "a")
    log = LogFile(made)
    for number, (level, step) in enumerate(
        [("INFO", "train"), ("ERROR", "train"), ("INFO", "evaluate"), ("WARNING", "")]
    ):
        log.append(
            entry_text(
                when=f"2026-01-01T00:00:0{number}.000Z",
                level=level,
                step=step,
                span="0" * 16,
                source="app:1",
                message=f"line {number}\x1b[2J\nmore",
            )
        )
    log.close()
    return made


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), [0, 1, 2, 3]),
        (("--lines", "2"), [2, 3]),
        (("-n", "0"), []),
        (("--step", "train"), [0, 1]),
        (("--level", "warning"), [1, 3]),
        (("--level", "30", "--step", "train"), [1]),
        (("--follow",), [0, 1, 2, 3]),
        (("-f", "-n", "1"), [3]),
    ],
)
@pytest.mark.usefixtures("run_dir")
def test_entries_are_shown_whole(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], shown: list[int]
) -> None:
    answer = Answer(capsys, "logs", *arguments)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert [line.rpartition(" ")[2][:1] for line in lines[::2]] == [str(one) for one in shown]
    assert lines[1::2] == ["| more"] * len(shown)
    assert "\x1b" not in answer.out


@pytest.mark.usefixtures("run_dir")
def test_a_level_that_is_none_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "logs", "--level", "loud")
    assert answer.code == 2
    assert "expected a number or one of TRACE" in answer.err


def test_a_run_without_log_lines_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "output", "a")
    answer = Answer(capsys, "logs")
    assert (answer.code, answer.out) == (0, "")
    assert "has no log lines" in answer.err


def test_a_run_that_is_not_there_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert Answer(capsys, "logs", "nothing").code == 1
