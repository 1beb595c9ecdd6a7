"""Mirrors a run into TensorBoard: what its journals and samples have gained since the last time."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import decode_snapshot
from robot_sf_otel.manifest.schema import TERMINAL_RUN, MetricValue, TelemetrySnapshot
from robot_sf_otel.store.layout import RunPaths, slug
from robot_sf_otel.store.lines import LineTail
from robot_sf_otel.store.lock import owner_state
from robot_sf_otel.store.reader import worker_journals
from robot_sf_otel.store.tail import JournalTail
from robot_sf_otel_tensorboard.event_file import EventFile
from robot_sf_otel_tensorboard.texts import finding, report

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import Eta

_NANOSECONDS: Final = 1e9
_MILLISECONDS: Final = 1_000_000
"""Nanoseconds of one."""
_NOT_PLOTTED: Final = frozenset({"timestamp_ms", "progress_done", "progress_total"})
_ETA: Final = ("remaining_seconds", "low_seconds", "high_seconds")


class TensorBoardMirror:
    """A run as TensorBoard shows it; the run's own files are read and never written.

    `LOGDIR/RUN` has telemetry, the ETA, anomalies and recommendations over the seconds of the run.
    `LOGDIR/RUN/STEP` has progress and logged metrics of a step over its own units of progress; a
    further attempt is `STEP-2`. All times are those of the recording.

    Args:
        run_dir: The run's directory.
        logdir: What TensorBoard is started with.
    """

    def __init__(self, run_dir: Path, logdir: Path) -> None:
        self._run_dir = run_dir
        self._folder = logdir / run_dir.name
        self._telemetry = LineTail(RunPaths(run_dir).telemetry)
        self._tails: dict[Path, JournalTail] = {}
        self._start_ns: int | None = None
        self._steps: dict[str, _Step] = {}
        self._latest: dict[str, _Step] = {}
        self._attempts: dict[str, int] = {}
        self._files: dict[Path, EventFile] = {}
        self._ended = False

    def update(self) -> bool:
        """Add what is new; return whether nothing more will come.

        Raises:
            OSError: The event files cannot be written.
        """
        # Asked first: what its process wrote before it died is read after that.
        dead = owner_state(self._run_dir, time.time()) == "dead"
        for moment, what in heapq.merge(
            *(self._events(tail) for tail in self._journals()),
            self._samples(),
            key=lambda one: one[0],
        ):
            if isinstance(what, TelemetrySnapshot):
                self._add_sample(what, moment)
            else:
                self._add_event(what, moment)
        over = self._ended or dead
        if over and self._start_ns is not None:
            self._add_report()
        for file in self._files.values():
            file.flush()
        return over

    def close(self) -> None:
        """Close the event files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _journals(self) -> list[JournalTail]:
        for path in (RunPaths(self._run_dir).journal, *worker_journals(self._run_dir)):
            if path not in self._tails:
                self._tails[path] = JournalTail(path)
        return list(self._tails.values())

    @staticmethod
    def _events(tail: JournalTail) -> Iterator[tuple[int, e.Event | TelemetrySnapshot]]:
        for event in tail.events():
            yield event.time_unix_nano, event

    def _samples(self) -> Iterator[tuple[int, e.Event | TelemetrySnapshot]]:
        for line in self._telemetry.lines():
            with suppress(ValueError):  # invalid UTF-8
                sample = decode_snapshot(line)
                if (
                    sample is not None and sample.process is None
                ):  # those of other hosts are not its own
                    yield sample.timestamp_ms * _MILLISECONDS, sample

    def _file(self, folder: Path, moment: int) -> EventFile:
        if folder not in self._files:
            self._files[folder] = EventFile(folder, moment / _NANOSECONDS)
        return self._files[folder]

    def _run_file(self, moment: int) -> tuple[EventFile, int, float]:
        """Return the run's file, and a moment as its step (seconds of the run) and wall time."""
        if self._start_ns is None:
            self._start_ns = moment
        second = max(0, (moment - self._start_ns) // 1_000_000_000)
        return self._file(self._folder, self._start_ns), second, moment / _NANOSECONDS

    def _add_event(self, event: e.Event, moment: int) -> None:
        match event:
            case e.StepStarted():
                self._begin(event, moment)
            case e.StepFinished() if event.span_id in self._steps:
                step = self._steps[event.span_id]
                step.ended = True
                if event.progress is not None:
                    step.done = event.progress.done
                    self._add_progress(step, event.progress.done, event.progress.rate, moment)
            case e.MetricLogged() if event.span_id in self._steps:
                self._add_metrics(self._steps[event.span_id], event.metrics, moment)
            case e.EtaShown():
                self._add_eta(event.eta, moment)
            case e.AnomalyDetected():
                self._add_text(f"anomalies/{event.anomaly.trigger}", finding(event.anomaly), moment)
            case e.RecommendationAdded():
                advice = event.recommendation
                self._add_text(f"recommendations/{advice.trigger}", finding(advice), moment)
            case _:
                self._add_milestone(event, moment)

    def _add_milestone(self, event: e.Event, moment: int) -> None:
        match event:
            case e.RunStarted():
                self._run_file(moment)
            case e.RunFinished() | e.RunRecovered():
                self._ended = event.status in TERMINAL_RUN
            case e.RunResumed():
                self._ended = False
            case _:
                pass  # nothing that TensorBoard could show

    def _begin(self, event: e.StepStarted, moment: int) -> None:
        attempt = self._attempts[event.step_id] = self._attempts.get(event.step_id, 0) + 1
        name = slug(event.step_id) if attempt == 1 else f"{slug(event.step_id)}-{attempt}"
        step = _Step(self._folder / name, moment)
        self._latest[event.step_id] = step
        if event.span_id is not None:
            self._steps[event.span_id] = step

    def _add_progress(self, step: _Step, done: float, rate: float | None, moment: int) -> None:
        if not done or not math.isfinite(done):
            return  # a step without progress needs no file
        file, second = self._file(step.folder, step.begun), moment / _NANOSECONDS
        file.scalar("progress/done", done, int(done), second)
        if rate is not None:
            file.scalar("progress/rate", rate, int(done), second)

    def _add_metrics(self, step: _Step, metrics: dict[str, MetricValue], moment: int) -> None:
        if not metrics:
            return
        file = self._file(step.folder, step.begun)
        place = int(step.done) or max(0, (moment - step.begun) // 1_000_000_000)
        for name, value in metrics.items():
            file.scalar(f"metrics/{name}", float(value), place, moment / _NANOSECONDS)

    def _add_sample(self, sample: TelemetrySnapshot, moment: int) -> None:
        file, second, wall = self._run_file(moment)
        for name in sample.__struct_fields__:
            value: object = getattr(sample, name)
            if name not in _NOT_PLOTTED and isinstance(value, int | float):
                file.scalar(f"telemetry/{name}", value, second, wall)
        for gpu in sample.gpus:
            for name in gpu.__struct_fields__:
                reading: object = getattr(gpu, name)
                if name != "index" and isinstance(reading, int | float):
                    file.scalar(f"gpu{gpu.index}/{name}", reading, second, wall)
        for part in sample.steps:
            running = self._steps.get(part.span_id or "") or self._latest.get(part.step_id)
            if running is not None and not running.ended:
                running.done = part.done
                self._add_progress(running, part.done, part.rate, moment)
        step = self._latest.get(sample.step_id or "")
        # A sample may reach the disk after the end of the step that it was taken in.
        if step is None or step.ended:
            return
        if not sample.steps and sample.progress_done is not None:
            step.done = sample.progress_done
            self._add_progress(step, sample.progress_done, sample.steps_per_sec, moment)
        self._add_metrics(step, sample.metrics, moment)

    def _add_eta(self, eta: Eta, moment: int) -> None:
        file, second, wall = self._run_file(moment)
        for name in _ETA:
            value = getattr(eta, name)
            if value is not None:
                file.scalar(f"eta/{name}", value, second, wall)
        if eta.basis is not None:
            file.text("eta", eta.basis, second, wall)

    def _add_text(self, tag: str, markdown: str, moment: int) -> None:
        file, second, wall = self._run_file(moment)
        file.text(tag, markdown, second, wall)

    def _add_report(self) -> None:
        text, moment = report(self._run_dir)
        if text is not None:
            self._add_text("report", text, moment)


class _Step:
    """An execution of a step: where it goes, when it began, and how far it is."""

    def __init__(self, folder: Path, begun: int) -> None:
        self.folder = folder
        self.begun = begun
        self.done = 0.0
        self.ended = False
