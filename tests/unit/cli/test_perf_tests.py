"""`perf-tests` without child processes: past steps, usage, and what cannot be done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.reader import load_run
from tests.data.ended_runs import write_run
from tests.unit.cli.answer import Answer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five runs that took about ten seconds each, and later ones to be tested."""
    root = tmp_path / "output"
    for index, seconds in enumerate((9.9, 10.0, 10.1, 10.0, 9.95)):
        write_run(root, f"good-{index}", at=100 * index, steps={"train": seconds})
    write_run(root, "broken", at=600, steps={"train": 1}, status="failed")
    write_run(root, "same", at=1_000, steps={"train": 10.05})
    write_run(root, "soft", at=2_000, steps={"train": 11.9})
    write_run(root, "slow", at=3_000, steps={"train": 16})
    return root


@pytest.mark.parametrize(
    ("run", "status", "code"),
    [("same", "passed", 0), ("soft", "soft-breach", 3), ("slow", "failed", 1)],
)
def test_a_past_step_is_tested_against_earlier_runs(
    root: Path, capsys: pytest.CaptureFixture[str], run: str, status: str, code: int
) -> None:
    answer = Answer(
        capsys,
        "perf-tests",
        "--from-run",
        run,
        "--step",
        "train",
        "--format",
        "json",
        "--output",
        "r",
    )

    assert answer.code == code
    (result,) = answer.json["results"]
    assert (result["test_id"], result["status"], result["metric"]) == ("p:train", status, "wall")
    record = load_run(root / "run-tracker" / "r").record
    assert record.status == "completed"
    assert [test.status for test in record.perf_tests] == [status]
    assert [one.id for one in record.recommendations] == result["recommendations_ref"]
    assert record.summary.custom == {"from_run": run, "step": "train"}
    assert len(record.artifacts) == 3
    document = root / "run-tracker/r/artifacts/perf_test_results.json"
    assert json.loads(document.read_bytes()) == answer.json


def test_the_first_run_has_no_baseline(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(capsys, "perf-tests", "--from-run", "good-0", "--step", "train")

    assert answer.code == 0
    assert "no-baseline" in answer.out
    assert "robot-sf-otel: no-baseline: p:train: 0.101 runs/s" in answer.err


def test_a_baseline_file_is_written_and_then_decides(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("perf-tests", "--step", "train", "--baseline", "b.json")
    assert Answer(capsys, *asked, "--from-run", "good-1", "--update-baseline").code == 0
    written = json.loads((tmp_path / "b.json").read_bytes())["baselines"]
    assert [(one["test_id"], one["reason"], one["samples"]) for one in written] == [
        ("p:train", "first baseline", [0.1])
    ]

    # One sample against one: nobody knows how noisy it is.
    answer = Answer(capsys, *asked, "--from-run", "slow")
    assert answer.code == 0
    assert "does not say how noisy" in answer.err


def test_a_baseline_is_replaced_for_a_reason_only(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("perf-tests", "--from-run", "same", "--step", "train", "--baseline", "b.json")
    Answer(capsys, *asked, "--update-baseline")
    before = (tmp_path / "b.json").read_bytes()

    refused = Answer(capsys, *asked, "--update-baseline")
    assert refused.code == 2
    assert "b.json has a baseline of p:train already: say why it changes" in refused.err
    assert (tmp_path / "b.json").read_bytes() == before
    assert Answer(capsys, *asked, "--update-baseline", "--reason", "new data").code == 0
    assert '"reason": "new data"' in (tmp_path / "b.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from-run", "same", "--step", "trian"), "has no step 'trian'; the closest are train"),
        (("--from-run", "broken", "--step", "train"), "did not complete in broken"),
        (("--from-run", "none", "--step", "train"), "no run 'none'"),
        (("--scenario", "minmal"), "no scenario 'minmal'"),
        (("--baseline", "none.json"), "none.json: no such file; --update-baseline writes it"),
        (("--scenario", "tracker-overhead", "--num-resets", "3"), "no parameter `resets`"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_1(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    runs = len(find_runs([root]))

    answer = Answer(capsys, "perf-tests", *arguments)

    assert answer.code == 1
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert len(find_runs([root])) == runs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tolerance", "1.5"), "must lie between 0 and 1"),
        (("--from-run", "same"), "--from-run and --step go together"),
        (("--from-run", "same", "--step", "train", "--num-resets", "3"), "has no scenario"),
        (("--update-baseline",), "needs --baseline FILE"),
        (("--output", "latest"), "run name 'latest' is taken"),
        (("--num-resets", "0"), "--num-resets"),
    ],
)
def test_a_call_that_makes_no_sense_is_exit_code_2(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    answer = Answer(capsys, "perf-tests", *arguments)

    assert answer.code == 2
    assert said in answer.err


def test_telemetry_that_is_off_cannot_measure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_SF_OTEL_ENABLED", "false")

    answer = Answer(capsys, "perf-tests")

    assert answer.code == 1
    assert "telemetry is off" in answer.err


@pytest.mark.parametrize(
    ("output", "results"),
    [("./res", "res/perf_test_results.json"), ("deep/own.json", "deep/own.json")],
)
def test_results_go_to_a_path_as_well(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    output: str,
    results: str,
) -> None:
    asked = ("perf-tests", "--from-run", "same", "--step", "train", "--output", output)
    assert Answer(capsys, *asked).code == 0

    path = tmp_path / results
    assert json.loads(path.read_bytes())["status"] == "passed"
    assert {file.name for file in path.parent.iterdir()} == {
        path.name,
        "perf_test_summary.md",
        "perf_test_junit.xml",
    }
