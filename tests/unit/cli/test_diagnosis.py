"""`explain` and `recommend`: the evidence of what was recorded, the rules applied again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation, TelemetrySnapshot
from tests.data.sample_runs import SECOND, Story
from tests.unit.cli.answer import Answer

if TYPE_CHECKING:
    from pathlib import Path

RUN = "20260101T000000Z-imitation-aaaaaa"


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose container was stopped by its quota for two minutes."""
    monkeypatch.chdir(tmp_path)
    story = Story(RUN)
    span_id = story.begin("train")
    start_ms = story.start_ns // 1_000_000
    story.samples = [
        TelemetrySnapshot(timestamp_ms=start_ms + 1000 * second, cpu_throttled_percent=50.0)
        for second in range(1, 121)
    ]
    found = PerformanceRecommendation(
        id="cpu_throttled:train",
        trigger="cpu_throttled",
        severity="warning",
        message="The container was stopped",
        suggested_actions=["Raise the quota"],
        timestamp_ms=start_ms + 60_000,
        step_id="train",
        evidence={
            "metric": "cpu_throttled_percent",
            "value": 50.0,
            "threshold": 25.0,
            "unit": "%",
            "window_start": e.rfc3339(story.start_ns + SECOND),
            "window_end": e.rfc3339(story.start_ns + 61 * SECOND),
        },
    )
    story.events.append(e.RecommendationAdded(time_unix_nano=story.now(), recommendation=found))
    for name in ("stall:train", "stall:train:2"):
        anomaly = Anomaly(
            id=name, trigger="stall", severity="warning", message="stood", timestamp_ms=start_ms
        )
        story.events.append(e.AnomalyDetected(time_unix_nano=story.now(), anomaly=anomaly))
    story.events.append(
        e.StepFinished(
            time_unix_nano=story.start_ns + 121 * SECOND,
            span_id=span_id,
            status="completed",
            result="success",
            duration_seconds=119.0,
        )
    )
    story.events.append(
        e.RunFinished(
            time_unix_nano=story.start_ns + 122 * SECOND, status="completed", result="success"
        )
    )
    return story.write(tmp_path / "output")


@pytest.mark.parametrize("name", ["cpu_throttled:train", "cpu_throttled"])
def test_explain_shows_evidence_samples_and_actions(
    run_dir: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    answer = Answer(capsys, "explain", "latest", name)

    assert answer.code == 0
    assert "warning cpu_throttled:train: The container was stopped" in answer.out
    assert "•" in answer.out
    assert "- Raise the quota" in answer.out
    assert "docs/reference/recommendations.md#cpu_throttled" in answer.out


def test_explain_gives_scripts_the_samples(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Answer(capsys, "explain", RUN, "cpu_throttled", "--format", "json").json

    assert told["id"] == "cpu_throttled:train"
    assert told["series"]["points"][0][1] == 50.0


def test_an_anomaly_without_evidence_is_explained_as_far_as_it_goes(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(capsys, "explain", "latest", "stall:train")

    assert answer.code == 0
    assert "warning stall:train: stood" in answer.out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cpu_throtled:train", "no finding 'cpu_throtled:train'; there are cpu_throttled:train"),
        ("stall", "'stall' was found several times: stall:train, stall:train:2"),
    ],
)
def test_an_id_that_is_none_names_the_closest(
    run_dir: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    answer = Answer(capsys, "explain", "latest", name)

    assert (answer.code, answer.out) == (1, "")
    assert said in answer.err


def test_recommend_applies_the_rules_again_and_writes_nothing(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}

    answer = Answer(capsys, "recommend", "latest", "--format", "json")

    (found,) = answer.json["recommendations"]
    assert found["id"] == "cpu_throttled:train"
    assert found["evidence"]["samples"] >= 100
    assert "stopped in 50 %" in found["message"]
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_recommend_takes_thresholds_from_a_file_or_the_environment(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = run_dir.parent / "rules.toml"
    rules.write_text("[cpu_throttled]\nthrottled_percent = 60")

    by_option = Answer(capsys, "recommend", "--rules", str(rules))
    monkeypatch.setenv("ROBOT_SF_OTEL_RULES", str(rules))
    by_environment = Answer(capsys, "recommend")

    assert (by_option.code, by_option.out) == (0, "")
    assert by_option.err == by_environment.err
    assert "nothing is found" in by_option.err


def test_recommend_shows_people_evidence_and_actions(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(capsys, "recommend")

    assert "warning cpu_throttled (train):" in answer.out
    assert "evidence: cpu_throttled_percent = 50 % (threshold 25 %)" in answer.out
    assert "- Raise the container's CPU quota" in answer.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[cpu]\n", "there is no rule 'cpu'"),
        ("[stalled]\nseconds = 'x'", "stalled.seconds = 'x': expected `float`, got `str`"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(
    run_dir: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    rules = run_dir.parent / "rules.toml"
    rules.write_text(text)

    answer = Answer(capsys, "recommend", "--rules", str(rules))

    assert (answer.code, answer.out) == (1, "")
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_a_file_that_is_not_there_is_said(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(capsys, "recommend", "--rules", "none.toml")

    assert answer.code == 1
    assert "none.toml" in answer.err
