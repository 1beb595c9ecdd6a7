"""The fold: journal events in, the record of the run out.

Pure and incremental: events of several journals (owner and workers) may come interleaved in any
order that keeps each journal's own. The manifest of a finished run, of a running one and of one
that was killed all come from here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.eta_log import EtaLog
from robot_sf_otel.manifest.events import Event, rfc3339
from robot_sf_otel.manifest.execution import Execution, units
from robot_sf_otel.manifest.plan import Plan
from robot_sf_otel.manifest.schema import (
    TERMINAL_RUN,
    Anomaly,
    Artifact,
    Eta,
    FieldSummary,
    PerformanceRecommendation,
    PerformanceTestResult,
    PipelineRunRecord,
    PlanStep,
    Progress,
    RunStatus,
    RunSummary,
    SelfCost,
    StepExecutionEntry,
    StepSample,
    StepStatus,
    TelemetrySnapshot,
)
from robot_sf_otel.manifest.sessions import Sessions

AFTER_THE_END: Final = "began after the run had ended, and its end was not reported"
_TURNS: Final = (
    e.RunStarted,
    e.PlanChanged,
    e.StepStarted,
    e.StepFinished,
    e.StepSkipped,
    e.WorkerLost,
    e.RunResumed,
)


class RunFold:
    """Accumulates one run's events; `record()` is the manifest at any moment."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._declared: list[PlanStep] = []
        self._header: e.RunStarted | None = None
        self._pipeline: str | None = None
        self._scenario: str | None = None
        self.sessions = Sessions()
        """When the run ran, under which root span, and what closed it."""
        self._executions: dict[str, Execution] = {}
        self._identities: dict[str, dict[str, Any]] = {}
        self._skips: dict[str, e.StepSkipped] = {}
        self._facts: dict[str, dict[str, Any]] = {
            name: {} for name in ("params", "seeds", "host", "vcs", "runtime", "summary")
        }
        self._tags: list[str] = []
        self._artifacts: list[Artifact] = []
        self._artifact_at: dict[tuple[str, str | None, str | None], Artifact] = {}
        self._recommendations: dict[str, PerformanceRecommendation] = {}
        self._anomalies: dict[str, Anomaly] = {}
        self._perf_tests: list[PerformanceTestResult] = []
        self._eta = EtaLog()
        self._faults: dict[str, int] = {}
        self._self_cost: SelfCost | None = None
        self.turns = 0
        """Events so far that change what is still to be done."""

    @property
    def run_id(self) -> str | None:
        """The run's id, None until its start was seen."""
        return self._header.run_id if self._header else None

    @property
    def started(self) -> e.RunStarted | None:
        """The event that opened the run, None until it was seen."""
        return self._header

    @property
    def pipeline(self) -> str | None:
        """The pipeline's name, None until it was seen."""
        return self._pipeline

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that were logged so far."""
        return self._facts["params"]

    @property
    def scenario(self) -> str | None:
        """The scenario, None where none was named."""
        return self._scenario

    @property
    def metrics(self) -> dict[str, Any]:
        """What was logged of the run as a whole."""
        return self._facts["summary"]

    @property
    def tags(self) -> list[str]:
        """The tags that were given so far."""
        return self._tags

    @property
    def is_planned(self) -> bool:
        """Whether the steps were declared; otherwise the plan is what began so far."""
        return bool(self._declared)

    @property
    def status(self) -> RunStatus:
        """`pending` before the start, `running`, or how it ended."""
        if self.sessions.end is not None:
            return self.sessions.end.status
        return "running" if self._header else "pending"

    def apply(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case an event, nothing else
        """Take one event in."""
        self.turns += isinstance(event, _TURNS)
        match event:
            case e.RunStarted():
                self._on_run_started(event)
            case e.PlanChanged():
                self._on_plan_changed(event)
            case e.StepStarted():
                self._on_step_started(event)
            case e.StepProgress():
                self._on_step_progress(event)
            case e.StepFinished():
                self._on_step_finished(event)
            case e.StepSkipped():
                self._skips[event.step_id] = event
            case e.ArtifactLogged():
                self._on_artifact(event)
            case e.MetricLogged():
                self._on_metric(event)
            case e.ParamsLogged():
                for name, facts in self._facts.items():
                    facts.update(getattr(event, name))
                self._tags.extend(tag for tag in event.tags if tag not in self._tags)
            case e.EtaShown():
                self._on_eta(event)
            case e.AnomalyDetected():
                self._anomalies.setdefault(event.anomaly.id, event.anomaly)
            case e.RecommendationAdded():
                self._recommendations[event.recommendation.id] = event.recommendation
            case e.PerfTestRecorded():
                self._perf_tests.append(event.result)
            case e.WorkerLost():
                self._on_worker_lost(event)
            case e.TelemetryFault():
                key = f"{event.where}: {event.message}"
                self._faults[key] = self._faults.get(key, 0) + event.count
            case e.RunFinished() | e.RunRecovered():
                self._on_run_end(event)
            case e.RunResumed():
                self._on_run_resumed(event)

    def _on_run_started(self, event: e.RunStarted) -> None:
        if self._header is not None:
            return
        self._header = event
        self.sessions.start(event)
        self._pipeline = self._pipeline or event.pipeline
        self._scenario = self._scenario or event.scenario_config_path
        self._facts["params"] = {**event.params, **self._facts["params"]}
        self._facts["seeds"] = {**event.seeds, **self._facts["seeds"]}
        self._tags = [*event.tags, *(tag for tag in self._tags if tag not in event.tags)]
        self._declared = self._declared or event.plan

    def _on_plan_changed(self, event: e.PlanChanged) -> None:
        self._pipeline = event.pipeline or self._pipeline
        self._take_root_span(event)
        self._scenario = event.scenario_config_path or self._scenario
        self._declared = event.plan

    def _take_root_span(self, event: e.PlanChanged | e.RunFinished | e.RunRecovered) -> None:
        """Learn the root span from a later event where the start did not know it yet."""
        header = self._header
        if self.sessions.span_id is None and header is not None and header.span_id is None:
            self.sessions.span_id = event.span_id

    def _on_step_started(self, event: e.StepStarted) -> None:
        if event.process is not None and event.identity:
            self._identities[event.process] = event.identity
        key = event.span_id or f"{event.step_id}@{event.time_unix_nano}"
        if key in self._executions:
            return
        run = Execution(
            step_id=event.step_id,
            display_name=event.display_name or event.step_id,
            started_ns=event.time_unix_nano,
            span_id=event.span_id,
            parent_span_id=event.parent_span_id,
            process=event.process,
            progress=Progress(total=event.total, unit=event.unit),
            expected_seconds=event.expected_seconds,
        )
        self._executions[key] = run

    def _on_step_progress(self, event: e.StepProgress) -> None:
        if (run := self._executions.get(event.span_id or "")) and run.status == "running":
            run.measure(event.progress, event.time_unix_nano)

    def _on_step_finished(self, event: e.StepFinished) -> None:
        run = self._executions.get(event.span_id or "")
        if run is None or run.status != "running":
            return
        run.finish(event)

    def _on_artifact(self, event: e.ArtifactLogged) -> None:
        found = event.artifact
        key = (found.path, found.span_id, found.logged_at)
        known = self._artifact_at.setdefault(key, found)
        if known is not found and found.sha256 is not None:  # read since it was reported
            known.size_bytes, known.sha256 = found.size_bytes, found.sha256
            return
        if run := self._executions.get(event.span_id or ""):
            event.artifact.step_id = run.step_id
            run.artifacts.append(event.artifact)
        self._artifacts.append(event.artifact)

    def _on_metric(self, event: e.MetricLogged) -> None:
        if run := self._executions.get(event.span_id or ""):
            run.metrics.update(event.metrics)
        else:
            self._facts["summary"].update(event.metrics)

    def _on_eta(self, event: e.EtaShown) -> None:
        ran = event.elapsed_seconds
        if ran is None:
            ran = self.sessions.ran_until(event.time_unix_nano)
        self._eta.show(event.eta, ran, after_steps=self._has_completed(EtaLog.STEPS))
        run = self._executions.get(event.span_id or "")
        if run is not None and run.eta_seconds is None:
            run.eta_seconds = event.eta.remaining_seconds

    def _on_worker_lost(self, event: e.WorkerLost) -> None:
        for run in self._executions.values():
            if run.process == event.process and run.status == "running":
                run.close(event.time_unix_nano, "failed", event.reason)

    def _on_run_end(self, event: e.RunFinished | e.RunRecovered) -> None:
        if self.sessions.end is not None:
            return
        self.sessions.end = event
        self._take_root_span(event)
        if isinstance(event, e.RunFinished):
            self._self_cost = event.self_cost
        status: StepStatus = "cancelled" if event.status == "cancelled" else "failed"
        self._close_running(event.time_unix_nano, status, event.reason)

    def _on_run_resumed(self, event: e.RunResumed) -> None:
        # Its end closed them, unless the line that told of it is damaged, or a child went on.
        self._close_running(event.time_unix_nano, "failed", None)
        self.sessions.resume(event)
        self._self_cost = None

    def _close_running(self, now_ns: int, status: StepStatus, reason: str | None) -> None:
        for run in self._executions.values():
            if run.status == "running":
                run.close(now_ns, status, reason)

    def _is_top_level(self, run: Execution) -> bool:
        return (run.parent_span_id or "") not in self._executions

    @property
    def plan(self) -> Plan:
        """The plan as it stands: declared steps, then started ones that were not declared.

        Worked out from all that was seen and not as it comes, because a parent may be told of
        after its child (exporters see the end of spans only).
        """
        unique = {planned.step_id: planned for planned in self._declared}
        plan = Plan(unique.values())
        for skip in self._skips.values():
            plan.skip(skip.step_id, skip.reason)
        for run in self._in_order():
            if not self._is_top_level(run):
                continue
            earlier = self._skips.get(run.step_id)
            if earlier is None or run.started_ns > earlier.time_unix_nano:
                plan.add(run.step_id, run.display_name)
            if run.status == "skipped":
                plan.skip(run.step_id, run.skip_reason)
        return plan

    def take_progress(self, snapshot: TelemetrySnapshot) -> None:
        """Take the progress of running steps from a telemetry sample.

        A step's own events tell it only at the end; the samples tell how far it got meanwhile.
        """
        time_ns = snapshot.timestamp_ms * 1_000_000
        if snapshot.steps:
            for sample in snapshot.steps:
                self._note(sample, time_ns)
        elif snapshot.step_id is not None and snapshot.progress_done is not None:
            only = StepSample(
                step_id=snapshot.step_id,
                done=snapshot.progress_done,
                total=snapshot.progress_total,
                rate=snapshot.steps_per_sec,
            )
            self._note(only, time_ns)

    def _note(self, sample: StepSample, time_ns: int) -> None:
        run = self._executions.get(sample.span_id or "") or next(
            (
                run
                for run in reversed(self._executions.values())
                if run.step_id == sample.step_id and run.status == "running"
            ),
            None,
        )
        if run is not None and run.status == "running":
            unit = run.progress.unit
            run.measure(
                Progress(done=sample.done, total=sample.total, unit=unit, rate=sample.rate), time_ns
            )

    def _in_order(self) -> list[Execution]:
        """Executions by their start; of those that began at once the parents first."""
        return sorted(self._executions.values(), key=lambda run: (run.started_ns, self._depth(run)))

    def _depth(self, run: Execution) -> int:
        seen: set[str] = set()
        while (parent := run.parent_span_id or "") in self._executions and parent not in seen:
            seen.add(parent)
            run = self._executions[parent]
        return len(seen)

    def _has_completed(self, number: int) -> bool:
        """Return whether so many top-level steps have completed; most often the first ones have.

        Asked at each ETA, and a run may have thousands of both.
        """
        found: set[str] = set()
        for run in self._executions.values():
            if run.status == "completed" and self._is_top_level(run):
                found.add(run.step_id)
                if len(found) == number:
                    return True
        return False

    def completed(self) -> frozenset[str]:
        """Return the top-level steps that have completed in one of their attempts."""
        return frozenset(run.step_id for run in self.top_level() if run.status == "completed")

    def begun(self) -> frozenset[str]:
        """Return the top-level steps that began at least once."""
        return frozenset(run.step_id for run in self.top_level())

    def executions(self) -> list[Execution]:
        """Return all executions of steps, in the order of their start."""
        return self._in_order()

    def top_level(self) -> list[Execution]:
        """Return the executions of top-level steps, in the order in which they were seen."""
        return [run for run in self._executions.values() if self._is_top_level(run)]

    def artifacts(self) -> list[Artifact]:
        """Return the artifacts in the order in which they were reported."""
        return list(self._artifacts)

    def running(self) -> list[StepExecutionEntry]:
        """Return the executions that are under way, in the order in which they were seen."""
        return [run.entry(None, 1) for run in self._executions.values() if run.status == "running"]

    def processes_at_work(self) -> dict[str, dict[str, Any]]:
        """Return who the child processes with a step under way are, by the name of each.

        Those that did not say who they are, are left out.
        """
        return {
            run.process: self._identities[run.process]
            for run in self._executions.values()
            if run.status == "running" and run.process in self._identities
        }

    def record(
        self,
        *,
        telemetry: dict[str, FieldSummary] | None = None,
        worker_telemetry: dict[str, dict[str, FieldSummary]] | None = None,
        self_cost: SelfCost | None = None,
    ) -> PipelineRunRecord:
        """Return the record as of the events so far.

        Args:
            telemetry: Summary of the samples, which are not events.
            worker_telemetry: The same of processes on other hosts.
            self_cost: What telemetry cost so far; the final event's own figure wins.

        Raises:
            ValueError: No `run_started` was seen: the run has no identity.
        """
        header = self._header
        if header is None:
            msg = "the journal has no run_started event"
            raise ValueError(msg)
        plan = self.plan
        steps = self._entries(plan)
        end = self.sessions.end
        duration = self.sessions.duration()
        finished = end is not None and self.status in TERMINAL_RUN
        eta = Eta() if finished else self._eta.last
        if self.status == "completed" and duration is not None:
            eta = self._eta.of_completed(duration)
        cost = self._self_cost or self_cost or SelfCost()
        cost.faults = [
            text if count == 1 else f"{text} ({count} times)"
            for text, count in self._faults.items()
        ]
        return PipelineRunRecord(
            run_id=header.run_id,
            trace_id=header.trace_id,
            span_id=self.sessions.span_id,
            pipeline=self._pipeline or header.pipeline,
            created_at=rfc3339(header.time_unix_nano),
            completed_at=rfc3339(end.time_unix_nano) if end is not None and finished else None,
            duration_seconds=duration,
            status=self.status,
            status_reason=end.reason if end is not None else None,
            error=end.error if end is not None else None,
            initiator=header.initiator,
            argv=header.argv,
            cwd=header.cwd,
            scenario_config_path=self._scenario,
            params=self._facts["params"],
            seeds=self._facts["seeds"],
            tags=self._tags,
            enabled_steps=plan.ids,
            artifact_dir=header.artifact_dir,
            host=self._host(header),
            vcs=self._facts["vcs"],
            runtime=self._facts["runtime"],
            steps=steps,
            anomalies=list(self._anomalies.values()),
            recommendations=list(self._recommendations.values()),
            perf_tests=self._perf_tests,
            artifacts=self._artifacts,
            eta=eta,
            summary=self._summary(plan, steps, duration),
            telemetry=telemetry or {},
            worker_telemetry=worker_telemetry or {},
            imported=header.imported,
            self_cost=cost,
        )

    def _host(self, header: e.RunStarted) -> dict[str, Any]:
        """Return the facts of the host; of a run that ended before they were in, its name alone."""
        name = (header.process or "").rpartition(":")[0]
        return self._facts["host"] or ({"hostname": name} if name else {})

    def _entries(self, plan: Plan) -> list[StepExecutionEntry]:
        """Executions and skips in the order in which they came, then what was not reached."""
        rows: list[tuple[int, StepExecutionEntry]] = []
        end = self.sessions.end
        attempts: dict[tuple[str, str | None], int] = {}
        begun: set[str] = set()
        for run in self._in_order():
            parent = self._executions.get(run.parent_span_id or "")
            if parent is None:
                begun.add(run.step_id)
            slot = (run.step_id, run.parent_span_id if parent else None)
            attempts[slot] = attempts.get(slot, 0) + 1
            if end is not None and run.status == "running":
                run = replace(run)  # noqa: PLW2901 - its end may still come
                run.close(max(run.started_ns, end.time_unix_nano), "failed", AFTER_THE_END)
            rows.append((run.started_ns, run.entry(parent, attempts[slot])))
        pending: list[StepExecutionEntry] = []
        for planned in plan.steps:
            if planned.step_id in begun:
                continue
            skipped = plan.is_skipped(planned.step_id)
            entry = StepExecutionEntry(
                step_id=planned.step_id,
                display_name=planned.display_name or planned.step_id,
                order=0,
                status="skipped" if skipped else "pending",
                skip_reason=plan.skip_reason(planned.step_id),
            )
            if skipped and planned.step_id in self._skips:
                rows.append((self._skips[planned.step_id].time_unix_nano, entry))
            else:
                pending.append(entry)
        rows.sort(key=lambda row: row[0])
        entries = [entry for _, entry in rows] + pending
        for order, entry in enumerate(entries, start=1):
            entry.order = order
        return entries

    def _summary(
        self, plan: Plan, steps: list[StepExecutionEntry], duration: float | None
    ) -> RunSummary:
        top = self.top_level()
        ended = [
            run for run in top if run.status == "completed" and not plan.is_skipped(run.step_id)
        ]
        last = max(ended, key=lambda run: run.ended_ns or 0, default=None)
        timed = [run for run in top if run.duration and run.progress.done > 0]
        seconds = sum(run.duration or 0.0 for run in timed)
        done = units(timed)
        return RunSummary(
            total_duration_seconds=duration,
            steps_completed=len({run.step_id for run in ended}),
            steps_total=plan.total,
            avg_steps_per_sec=done / seconds if seconds > 0 else None,
            recommendation_count=len(self._recommendations),
            last_completed_step=last.step_id if last else None,
            running_steps=[entry.step_id for entry in steps if entry.status == "running"],
            custom=self._facts["summary"],
        )
