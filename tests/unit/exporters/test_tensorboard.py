"""What TensorBoard's own reader finds in the files, and that the run's files stay as they are."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import tensorboard.backend.event_processing.event_accumulator as tensorboard_reader

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event, encode_snapshot
from robot_sf_otel.manifest.schema import (
    Anomaly,
    Eta,
    GpuSample,
    PerformanceRecommendation,
    Progress,
    StepSample,
    TelemetrySnapshot,
)
from robot_sf_otel_tensorboard import TensorBoardMirror
from tests.data import sample_runs
from tests.unit.cli.answer import Answer

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
_Accumulator: Callable[..., Any] = tensorboard_reader.EventAccumulator


class Point(NamedTuple):
    """A number as TensorBoard has it; the time is in seconds since the run began."""

    time: float
    step: int
    value: float


class Shown:
    """A folder as TensorBoard's own reader sees it."""

    def __init__(self, folder: Path, begun: float = 0.0) -> None:
        self._found = _Accumulator(str(folder)).Reload()
        self._begun = begun

    @property
    def tags(self) -> set[str]:
        found = self._found.Tags()
        return {*found["scalars"], *found["tensors"]}

    def scalars(self, tag: str) -> list[Point]:
        return [
            Point(round(one.wall_time - self._begun, 3), one.step, one.value)
            for one in self._found.Scalars(tag)
        ]

    def texts(self, tag: str) -> list[str]:
        found = self._found.Tensors(f"{tag}/text_summary")
        return [one.tensor_proto.string_val[0].decode() for one in found]


def story() -> sample_runs.Story:
    """A run with two attempts of a step, samples, an ETA, an anomaly and a recommendation."""
    told = sample_runs.Story("20260101T000000Z-imitation-aaaaaa", plan=("train",))
    for attempt in (1, 2):
        span = told.begin("train", "Train", total=100, unit="timesteps")
        moment = told.now()
        told.samples.append(
            TelemetrySnapshot(
                timestamp_ms=moment // 1_000_000,
                step_id="train",
                steps_per_sec=5.0,
                progress_done=40.0 * attempt,
                cpu_percent_process=50.0,
                gpus=[GpuSample(index=1, util_percent=80.0)],
                metrics={"reward": 1.5, "loss": "NaN"},
            )
        )
        told.end(
            span,
            "completed" if attempt == 2 else "failed",
            progress=Progress(done=100, total=100, unit="timesteps", rate=7.0),
        )
    told.events += [
        e.EtaShown(time_unix_nano=told.now(), eta=Eta(remaining_seconds=60, basis="pace")),
        e.AnomalyDetected(
            time_unix_nano=told.now(),
            anomaly=Anomaly(
                id="a",
                trigger="stalled",
                severity="warning",
                message="no progress",
                timestamp_ms=0,
                evidence={"seconds": 30},
            ),
        ),
        e.RecommendationAdded(
            time_unix_nano=told.now(),
            recommendation=PerformanceRecommendation(
                id="r",
                trigger="io_bound",
                severity="warning",
                message="disk | busy",
                suggested_actions=["Use a faster disk"],
                timestamp_ms=0,
            ),
        ),
    ]
    told.finish()
    return told


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return story().write(tmp_path / "output")


def test_telemetry_has_its_own_times_and_the_seconds_of_the_run(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Answer(capsys, "tensorboard", "latest", "--logdir", "tb").code == 0

    told = story()
    shown = Shown(tmp_path / "tb" / run_dir.name, told.start_ns / SECOND)
    first, second = (sample.timestamp_ms / 1000 - told.start_ns / SECOND for sample in told.samples)
    assert shown.scalars("telemetry/cpu_percent_process") == [
        (first, int(first), 50.0),
        (second, int(second), 50.0),
    ]
    assert [one.value for one in shown.scalars("gpu1/util_percent")] == [80.0, 80.0]
    assert [one.value for one in shown.scalars("eta/remaining_seconds")] == [60.0]
    assert "telemetry/progress_done" not in shown.tags


def test_a_step_has_its_own_units_as_steps_and_each_attempt_a_folder(
    run_dir: Path, tmp_path: Path
) -> None:
    mirror = TensorBoardMirror(run_dir, tmp_path / "tb")
    assert mirror.update()
    mirror.close()

    first = Shown(tmp_path / "tb" / run_dir.name / "train")
    second = Shown(tmp_path / "tb" / run_dir.name / "train-2")
    assert [one[1:] for one in first.scalars("progress/done")] == [(40, 40.0), (100, 100.0)]
    assert [one[1:] for one in second.scalars("progress/rate")] == [(80, 5.0), (100, 7.0)]
    assert [one[1:] for one in second.scalars("metrics/reward")] == [(80, 1.5)]
    (loss,) = first.scalars("metrics/loss")
    assert math.isnan(loss.value)


def test_a_sample_that_was_written_after_the_end_of_its_step_is_no_progress(
    tmp_path: Path,
) -> None:
    told = sample_runs.Story("20260101T000000Z-imitation-cccccc")
    told.end(told.begin("train"), progress=Progress(done=5))
    late = TelemetrySnapshot(
        timestamp_ms=told.now() // 1_000_000, step_id="train", progress_done=4, metrics={"x": 1.0}
    )
    told.samples.append(late)
    told.finish()
    run_dir = told.write(tmp_path / "output")
    mirror = TensorBoardMirror(run_dir, tmp_path / "tb")
    mirror.update()
    mirror.close()

    shown = Shown(tmp_path / "tb" / run_dir.name / "train")
    assert shown.tags == {"progress/done"}
    assert [one.step for one in shown.scalars("progress/done")] == [5]


def test_findings_and_the_report_are_texts(run_dir: Path, tmp_path: Path) -> None:
    mirror = TensorBoardMirror(run_dir, tmp_path / "tb")
    mirror.update()
    mirror.close()

    shown = Shown(tmp_path / "tb" / run_dir.name)
    (advice,) = shown.texts("recommendations/io_bound")
    assert "disk \\| busy" in advice
    assert "1. Use a faster disk" in advice
    assert "- seconds: 30" in shown.texts("anomalies/stalled")[0]
    assert shown.texts("eta") == ["pace"]
    assert shown.texts("report")[0].startswith("# ✅ imitation: completed")


def test_the_runs_own_files_stay_as_they_are(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run_dir)

    assert Answer(capsys, "tensorboard", "latest", "--logdir", "tb").code == 0
    assert Answer(capsys, "enable-tensorboard", "latest", "--logdir", "tb").code == 0

    assert contents(run_dir) == before


def test_a_second_time_replaces_the_first_and_leaves_other_files(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tb" / run_dir.name
    folder.mkdir(parents=True)
    other = folder / "events.out.tfevents.1.somebody"
    other.write_bytes(b"")

    for _ in range(2):
        Answer(capsys, "tensorboard", "latest", "--logdir", "tb")

    assert other.exists()
    assert len(Shown(folder).scalars("eta/remaining_seconds")) == 1


def test_a_live_run_is_followed_without_doubling_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alive(run_dir: Path, now: float) -> str:
        return "alive"

    monkeypatch.setattr("robot_sf_otel_tensorboard.mirror.owner_state", alive)
    told = story()
    run_dir = told.write(tmp_path / "output")
    journal, telemetry = run_dir / "manifest.jsonl", run_dir / "telemetry.jsonl"
    journal.write_bytes(b"".join(map(encode_event, told.events[:2])))
    telemetry.write_bytes(b"")
    mirror = TensorBoardMirror(run_dir, tmp_path / "tb")

    assert not mirror.update()
    with telemetry.open("ab") as file:
        file.write(encode_snapshot(told.samples[0]))
    assert not mirror.update()
    shown = Shown(tmp_path / "tb" / run_dir.name)
    assert len(shown.scalars("telemetry/cpu_percent_process")) == 1, "seen while it is written"
    assert "report/text_summary" not in shown.tags
    with journal.open("ab") as file:
        file.write(b"".join(map(encode_event, told.events[2:])))
    assert mirror.update()
    mirror.close()

    shown = Shown(tmp_path / "tb" / run_dir.name)
    assert len(shown.scalars("telemetry/cpu_percent_process")) == 1
    assert len(shown.scalars("eta/remaining_seconds")) == 1


def test_several_running_steps_have_a_folder_each(tmp_path: Path) -> None:
    told = sample_runs.Story("20260101T000000Z-imitation-bbbbbb")
    spans = [told.begin(name, name) for name in ("left", "right")]
    told.samples.append(
        TelemetrySnapshot(
            timestamp_ms=told.now() // 1_000_000,
            steps=[
                StepSample(step_id="left", span_id=spans[0], done=3, rate=1.0),
                StepSample(step_id="right", span_id=spans[1], done=4),
            ],
        )
    )
    told.finish()
    run_dir = told.write(tmp_path / "output")
    mirror = TensorBoardMirror(run_dir, tmp_path / "tb")
    mirror.update()
    mirror.close()

    left, right = (Shown(tmp_path / "tb" / run_dir.name / name) for name in ("left", "right"))
    assert [one[1:] for one in left.scalars("progress/done")] == [(3, 3.0)]
    assert right.tags == {"progress/done"}


def test_a_folder_that_cannot_be_made_is_one_line(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    answer = Answer(capsys, "tensorboard", "latest", "--logdir", "file")

    assert answer.code == 1
    assert answer.err == "robot-sf-otel: file: Not a directory\n"


def test_without_the_extra_one_line_says_what_to_install(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "robot_sf_otel_tensorboard.mirror", raising=False)
    monkeypatch.delitem(sys.modules, "robot_sf_otel_tensorboard.event_file", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)

    answer = Answer(capsys, "tensorboard", "latest", "--logdir", "tb")

    assert answer.code == 1
    assert answer.err == (
        "robot-sf-otel: TensorBoard files need tensorboardX: "
        "pip install 'robot-sf-otel[tensorboard]'\n"
    )
