"""Run directories as a tracker leaves them, written event by event for tests of what reads them."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event, encode_snapshot
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import (
    Artifact,
    ErrorInfo,
    Eta,
    FieldSummary,
    PerformanceRecommendation,
    PipelineRunRecord,
    PlanStep,
    Progress,
    RunStatus,
    StepStatus,
    TelemetrySnapshot,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SECOND: Final = 1_000_000_000
HOSTILE: Final = "a|b `c` <b>x</b>\n\x1b[31mred](javascript:alert(1)) [bold]_m_ https://e.x"
"""A name that tries everything: table, code, HTML, newline, escape sequence, link, rich markup."""


class Story:
    """Tells a run as its journal does, from the time in its id on, an event a second."""

    def __init__(self, run_id: str, *, plan: Iterable[str] = (), **header: Any) -> None:  # noqa: ANN401 - the fields of an event
        self.run_id = run_id
        begun = datetime.strptime(f"{run_id.partition('-')[0]}+0000", "%Y%m%dT%H%M%SZ%z")
        self.start_ns = int(begun.timestamp()) * SECOND
        self.events: list[e.Event] = []
        self.samples: list[TelemetrySnapshot] = []
        self._seconds = itertools.count()
        self._spans = itertools.count(1)
        planned = [PlanStep(step_id=name, display_name=name.title()) for name in plan]
        fields: dict[str, Any] = {"pipeline": "imitation", "artifact_dir": f"/runs/{run_id}"}
        started = e.RunStarted(
            time_unix_nano=self.now(),
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
            span_id="00000000000000ff",
            run_id=run_id,
            plan=planned,
            **{**fields, **header},
        )
        self.events.append(started)

    def now(self) -> int:
        """Return the time of the next event."""
        return self.start_ns + next(self._seconds) * SECOND

    def begin(self, step_id: str, title: str | None = None, **fields: Any) -> str:  # noqa: ANN401 - the fields of an event
        """Start a step and return its span id."""
        span_id = f"{next(self._spans):016x}"
        self.events.append(
            e.StepStarted(
                time_unix_nano=self.now(),
                span_id=span_id,
                step_id=step_id,
                display_name=title,
                **fields,
            )
        )
        return span_id

    def end(self, span_id: str, status: StepStatus = "completed", **fields: Any) -> None:  # noqa: ANN401 - the fields of an event
        """End a step after 40 seconds of work."""
        fields = {"duration_seconds": 40.0, "result": "success", **fields}
        self.events.append(
            e.StepFinished(time_unix_nano=self.now(), span_id=span_id, status=status, **fields)
        )

    def finish(self, status: RunStatus = "completed", **fields: Any) -> None:  # noqa: ANN401 - the fields of an event
        """End the run after 123 seconds."""
        fields = {"duration_seconds": 123.0, "result": "success", **fields}
        self.events.append(e.RunFinished(time_unix_nano=self.now(), status=status, **fields))

    def record(self, telemetry: dict[str, FieldSummary] | None = None) -> PipelineRunRecord:
        """Return the run as a manifest has it."""
        fold = RunFold()
        for event in self.events:
            fold.apply(event)
        return fold.record(telemetry=telemetry)

    def write(self, artifact_root: Path) -> Path:
        """Write the run directory and return it."""
        run_dir = artifact_root / "run-tracker" / self.run_id
        run_dir.mkdir(parents=True)
        (run_dir / "manifest.jsonl").write_bytes(b"".join(map(encode_event, self.events)))
        if self.samples:
            lines = b"".join(map(encode_snapshot, self.samples))
            (run_dir / "telemetry.jsonl").write_bytes(lines)
        return run_dir


def healthy() -> Story:
    """Return a completed run with everything that a record can hold."""
    story = Story(
        "20260101T000000Z-imitation-aaaaaa",
        plan=("train", "collect", "clone"),
        argv=["python", "train.py", "--seed", "1"],
        cwd="/home/me/project",
        params={"learning_rate": 0.0003, "layers": [64, 64]},
        seeds={"numpy": 7},
        tags=["nightly"],
        scenario_config_path="scenarios/pendulum.toml",
    )
    story.events.append(
        e.ParamsLogged(
            time_unix_nano=story.now(),
            host={"hostname": "box", "cpu_count": 8},
            vcs={"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": True},
            runtime={"python": "3.11.7"},
        )
    )
    train = story.begin("train", "Train expert", total=100_000, unit="timesteps")
    story.events.append(
        e.MetricLogged(time_unix_nano=story.now(), span_id=train, metrics={"reward": 181.5})
    )
    policy = Artifact(
        path="artifacts/expert policy.zip", name="expert", kind="checkpoint", size_bytes=7_000_000
    )
    story.events.append(
        e.ArtifactLogged(time_unix_nano=story.now(), span_id=train, artifact=policy)
    )
    story.end(
        train,
        progress=Progress(done=100_000, total=100_000, unit="timesteps", rate=2500.0),
        usage=Usage(cpu_seconds=39.5, memory_rss_peak_mb=1054.0),
    )
    collect = story.begin("collect", "Collect expert trajectories", total=500, unit="episodes")
    inner = story.begin("rollout", "Rollout", parent_span_id=collect)
    story.end(inner, duration_seconds=0.85)
    story.end(collect, duration_seconds=0.4)
    clone = story.begin("clone", "Behavioural cloning")
    story.end(clone, duration_seconds=3840.0)
    advice = PerformanceRecommendation(
        id="r1",
        trigger="cpu_saturation",
        severity="warning",
        message="CPUs were busy",
        suggested_actions=["Use fewer workers", "Use a larger machine"],
        timestamp_ms=story.start_ns // 1_000_000,
        evidence={"metric": "cpu_percent_process", "value": 97.1, "threshold": 90, "unit": "%"},
    )
    story.events.append(e.RecommendationAdded(time_unix_nano=story.now(), recommendation=advice))
    story.samples = [
        TelemetrySnapshot(
            timestamp_ms=story.start_ns // 1_000_000 + 1000 * index,
            cpu_percent_process=50.0 + index,
            memory_rss_mb=1000.0,
            metrics={"reward": 181.5},
            notes="gpu: no driver" if index == 2 else None,
        )
        for index in range(3)
    ]
    story.finish()
    return story


def failed() -> Story:
    """Return a run whose second step failed twice; the third was never reached."""
    story = Story("20260101T010000Z-imitation-bbbbbb", plan=("train", "collect", "clone"))
    story.end(story.begin("train", "Train expert"))
    for _ in range(2):
        collect = story.begin("collect", "Collect")
        error = ErrorInfo(
            type="ValueError",
            message="no | episodes",
            stacktrace='Traceback (most recent call last):\n  File "x.py", line 1\nValueError: no',
        )
        story.end(collect, "failed", error=error, result="failure", duration_seconds=1.5)
    story.finish("failed", reason="ValueError: no | episodes", result="failure")
    return story


def cancelled() -> Story:
    """Return a run that Ctrl-C ended, with a skipped step."""
    story = Story("20260101T020000Z-imitation-cccccc", plan=("train", "collect", "clone"))
    story.events.append(
        e.StepSkipped(time_unix_nano=story.now(), step_id="collect", reason="cached")
    )
    story.begin("train", "Train expert", total=10, unit="epochs")
    story.finish("cancelled", reason="KeyboardInterrupt", result="cancellation")
    return story


def running() -> Story:
    """Return a run in the middle of its second step, with an ETA."""
    story = Story("20260101T030000Z-imitation-dddddd", plan=("train", "collect", "clone"))
    story.end(story.begin("train", "Train expert"))
    collect = story.begin("collect", "Collect expert trajectories", total=500, unit="episodes")
    story.events.append(
        e.StepProgress(
            time_unix_nano=story.now(),
            span_id=collect,
            progress=Progress(done=120, total=500, unit="episodes", rate=3.2),
        )
    )
    eta = Eta(remaining_seconds=660, low_seconds=540, high_seconds=840)
    story.events.append(e.EtaShown(time_unix_nano=story.now(), eta=eta))
    return story


def hostile() -> Story:
    """Return a run in which every name was made to break what shows it."""
    story = Story(
        "20260101T040000Z-run-eeeeee",
        pipeline=HOSTILE,
        params={HOSTILE: HOSTILE},
        tags=[HOSTILE],
        argv=[HOSTILE],
        scenario_config_path=HOSTILE,
    )
    span = story.begin("x", HOSTILE, total=1, unit=HOSTILE)
    for path in (HOSTILE, "javascript:alert(1)", "//evil.example/x", "../../etc/passwd"):
        story.events.append(
            e.ArtifactLogged(
                time_unix_nano=story.now(),
                span_id=span,
                artifact=Artifact(path=path, name=HOSTILE, kind=HOSTILE),
            )
        )
    error = ErrorInfo(type=HOSTILE, message=HOSTILE, stacktrace=f"```\n</details>{HOSTILE}")
    story.end(span, "failed", error=error, result="failure")
    story.finish("failed", reason=HOSTILE, result="failure")
    return story


def thousand() -> Story:
    """Return a run of a thousand short steps, the 500th of which failed."""
    story = Story("20260101T050000Z-sweep-ffffff", pipeline="sweep")
    for index in range(1000):
        span = story.begin(f"trial_{index:04d}")
        if index == 500:
            story.end(span, "failed", error=ErrorInfo(type="OSError"), result="failure")
        else:
            story.end(span, duration_seconds=0.01)
    story.finish()
    return story
