"""Gates a step of a run that has ended, by the same rules as a scenario."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from robot_sf_otel.analysis.baseline import Baseline, host_class, judge
from robot_sf_otel.analysis.perf_samples import NotMeasured, executions
from robot_sf_otel.perf import baselines
from robot_sf_otel.perf.recording import record_result, result_of
from robot_sf_otel.perf.results import Measured, Report
from robot_sf_otel.runs import start_run, update_run
from robot_sf_otel.store.directories import precise_start
from robot_sf_otel.store.history import list_loaded

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord
    from robot_sf_otel.store.reader import LoadedRun

HISTORY: Final = 10
"""How many earlier runs make up the baseline where there is no file."""
_LOOKED_AT: Final = 200


def gate_step(
    run: LoadedRun,
    step_id: str,
    *,
    artifact_root: Path,
    run_name: str | None,
    tolerance: float,
    file: Sequence[Baseline] | None,
    finish: Callable[[Report, Path], None],
) -> Report:
    """Compare a past step with its baseline, and record the result as a run.

    Args:
        run: The run that has the step.
        step_id: The step; its completed executions are the samples.
        artifact_root: Where the result is recorded.
        run_name: Name of that run instead of a generated one.
        tolerance: Part below the baseline at which the step fails.
        file: Baselines of a file; earlier completed runs of the pipeline where None.
        finish: Called with the report and the run's directory before the run is closed.

    Raises:
        NotMeasured: The run has no completed execution of the step.
        OSError: The result cannot be recorded.
    """
    record = run.record
    samples, metric, unit = executions(record.steps, step_id)
    if not samples:
        raise NotMeasured(_no_step(record, step_id))
    host = host_class(record.host, record.runtime)
    test_id = test_id_of(record, step_id)
    if file is None:
        baseline = _from_history(run, step_id, metric, host)
    else:
        baseline = baselines.choose(file, test_id=test_id, host=host, metric=metric)
    judgement = judge(samples, baseline, host_class=host, tolerance=tolerance)
    now_ms = time.time_ns() // 1_000_000
    result = result_of(
        judgement,
        samples,
        test_id=test_id,
        matrix={},
        metric=metric,
        unit=unit,
        tolerance=tolerance,
        seconds=0.0,
    )
    written = start_run(
        initiator=f"{baselines.PIPELINE} --from-run {record.run_id} --step {step_id}",
        enabled_steps=[],
        run_id=run_name,
        pipeline=baselines.PIPELINE,
        artifact_root=artifact_root,
    )
    record_result(written.run_dir, result, step_id=step_id, started_ms=now_ms)
    tested = Measured(
        result=result, samples=samples, judgement=judgement, baseline=baseline, host_class=host
    )
    report = Report(
        name=test_id,
        run_id=written.record.run_id,
        host_class=host,
        tests=[tested],
        errors={},
    )
    finish(report, written.run_dir)
    update_run(written, status="completed", summary={"from_run": record.run_id, "step": step_id})
    return report


def test_id_of(record: PipelineRunRecord, step_id: str) -> str:
    """Return what the baseline of a past step is called by."""
    return f"{record.pipeline}:{step_id}"


def _no_step(record: PipelineRunRecord, step_id: str) -> str:
    names = list(dict.fromkeys(step.step_id for step in record.steps))
    if step_id in names:
        return f"step {step_id!r} did not complete in {record.run_id}"
    close = difflib.get_close_matches(step_id, names, n=3, cutoff=0.0)
    known = f"; the closest are {', '.join(close)}" if close else ""
    return f"{record.run_id} has no step {step_id!r}{known}"


def _from_history(run: LoadedRun, step_id: str, metric: str, host: str) -> Baseline | None:
    """Return a baseline of the same step in earlier completed runs of scenario and machine."""
    record = run.record
    taken: list[baselines.Taken] = []
    for earlier in list_loaded(
        [run.run_dir.parent.parent],
        pipeline=record.pipeline,
        status="completed",
        until_ns=precise_start(run.run_dir),
        limit=_LOOKED_AT,
    ):
        other = earlier.record
        same = other.scenario_config_path == record.scenario_config_path
        if same and host_class(other.host, other.runtime) == host:
            with suppress(NotMeasured):
                samples, _, unit = executions(other.steps, step_id, metric)
                taken += [(samples, unit)] if samples else []
        if len(taken) == HISTORY:
            break
    return baselines.together(taken, test_id=test_id_of(record, step_id), host=host, metric=metric)
