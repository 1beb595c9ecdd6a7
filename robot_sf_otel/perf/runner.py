"""Runs the tests of a scenario: repetitions in child processes until the noise allows a verdict."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from robot_sf_otel import child_env, configure, pipeline, step
from robot_sf_otel.analysis.baseline import Baseline, host_class, is_narrow, judge
from robot_sf_otel.analysis.perf_samples import (
    MACHINE_SPEED,
    REPETITION,
    WARM_UP,
    NotMeasured,
    repetitions,
)
from robot_sf_otel.perf import baselines
from robot_sf_otel.perf.calibration import calibration_seconds, machine_speed
from robot_sf_otel.perf.children import ChildFailed, run_child
from robot_sf_otel.perf.recording import record_result, result_of
from robot_sf_otel.perf.results import Measured, Report
from robot_sf_otel.perf.worker import Task
from robot_sf_otel.perf.worker import log as log_elapsed
from robot_sf_otel.store.layout import slug
from robot_sf_otel.store.producer import let_go
from robot_sf_otel.store.reader import load_run
from robot_sf_otel.system_metrics.environment import host_facts, runtime_facts

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.perf.scenarios import Case, Scenario
    from robot_sf_otel.perf.stopwatch import Elapsed

PER_CHILD: Final = 3
"""Repetitions of a function in one process: memory and hashes lie otherwise in the next one, which
makes some per cent."""
BaselineOf = Callable[["Case"], Baseline | None]
"""Returns what a test is compared with."""


class NoRecord(RuntimeError):  # noqa: N818 - said to people as it is
    """Repetitions cannot be recorded, so they cannot be measured."""


def this_host_class() -> str:
    """Return the class of this machine."""
    return host_class(host_facts(), runtime_facts())


def run_scenario(
    scenario: Scenario,
    *,
    source: str,
    artifact_root: Path,
    run_name: str | None,
    tolerance: float,
    baseline_of: BaselineOf,
    finish: Callable[[Report, Path], None],
) -> Report:
    """Run the tests of a scenario, one after the other, as steps of one run.

    Args:
        scenario: What to run.
        source: Its name or path, as it is recorded.
        artifact_root: Where the run is recorded.
        run_name: Name of the run instead of a generated one.
        tolerance: Part below the baseline at which a test fails.
        baseline_of: Returns what a test is compared with.
        finish: Called with the report and the run's directory before the run is closed.

    Raises:
        NoRecord: Telemetry is switched off, or the run cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the children are gone and the record says so.
    """
    cases = list(scenario.cases())
    configure(artifact_root=artifact_root, run_name=run_name)
    params = {"tests": {case.test_id: case.params for case in cases}}
    with (
        _terminable(),
        pipeline(
            baselines.PIPELINE,
            steps=[case.test_id for case in cases],
            scenario=source,
            params=params,
        ) as run,
    ):
        run_dir = run.run_dir
        if run_dir is None:
            raise NoRecord(
                "perf-tests measures what is recorded, and telemetry is off or cannot be written"
            )
        host = this_host_class()
        tests: list[Measured] = []
        errors: dict[str, str] = {}
        for case in cases:
            try:
                tests.append(_measure(case, run_dir, host, tolerance, baseline_of(case)))
            except (ChildFailed, NotMeasured) as error:
                errors[case.test_id] = str(error)
        report = Report(
            name=scenario.name,
            run_id=run_dir.name,
            host_class=host,
            tests=tests,
            errors=errors,
        )
        finish(report, run_dir)
        let_go(run_dir)  # results are in a journal of their own beside the run's
        if errors:
            test_id, message = next(iter(errors.items()))
            run.finish("failed", reason=f"{test_id}: {message}")
    return report


def _measure(
    case: Case, run_dir: Path, host: str, tolerance: float, baseline: Baseline | None
) -> Measured:
    """Repeat a test until its interval is narrow enough or the time is up.

    Raises:
        ChildFailed: A repetition failed.
        NotMeasured: Repetitions do not tell the metric.
    """
    scenario = case.scenario
    began, started_ms = time.monotonic(), time.time_ns() // 1_000_000
    logs = run_dir / "artifacts"
    logs.mkdir(exist_ok=True)
    with step(case.test_id):
        batches = _batches(case, logs / f"{slug(case.test_id)}.log")
        while True:
            next(batches)()
            steps = load_run(run_dir, telemetry=False).record.steps
            samples, unit = repetitions(steps, case.test_id, scenario.metric, scenario.step)
            if not samples:
                raise NotMeasured("repetitions were made and not recorded: is the disk full?")
            judgement = judge(samples, baseline, host_class=host, tolerance=tolerance)
            narrow = judgement.decided or is_narrow(judgement, scenario.precision)
            seconds = time.monotonic() - began
            if seconds >= scenario.max_seconds or (narrow and len(samples) >= scenario.repetitions):
                break
    result = result_of(
        judgement,
        samples,
        test_id=case.test_id,
        matrix=case.matrix,
        metric=scenario.metric,
        unit=unit,
        tolerance=tolerance,
        seconds=seconds,
    )
    record_result(run_dir, result, step_id=case.test_id, started_ms=started_ms)
    return Measured(
        result=result, samples=samples, judgement=judgement, baseline=baseline, host_class=host
    )


def _batches(case: Case, log: Path) -> Generator[Callable[[], object]]:
    """Yield calls that each add repetitions: a worker with several, or a command once."""
    scenario = case.scenario
    if scenario.call is not None:
        task = Task(
            call=scenario.call,
            params=dict(case.params),
            unit=scenario.unit,
            warmup=scenario.warmup,
            repetitions=min(PER_CHILD, scenario.repetitions),
            cpu=scenario.metric == "cpu",
            calibrate=scenario.calibrate,
        )
        module = "robot_sf_otel.perf.worker"
        argv = [sys.executable, "-m", module, msgspec.json.encode(task).decode()]
        timeout = scenario.timeout * (task.warmup + task.repetitions)
        while True:
            yield lambda: run_child(argv, env=child_env(), timeout=timeout, log=log)
    command = _Command(case, log)
    for _ in range(scenario.warmup):
        command.warm_up()
    while True:
        yield command.repeat


class _Command:
    """A command that is repeated, with the machine's speed measured in between."""

    def __init__(self, case: Case, log: Path) -> None:
        self._scenario = case.scenario
        self._argv = case.command()
        self._log = log
        self._speed: float | None = None

    def warm_up(self) -> None:
        with step(WARM_UP):
            self._run()

    def repeat(self) -> None:
        cpu = self._scenario.metric == "cpu"
        with step(REPETITION) as this:
            if self._scenario.calibrate and self._speed is None:
                self._speed = machine_speed(cpu=cpu)
            took = self._run()
            log_elapsed(this, took)
            if self._speed is not None:
                after = machine_speed(calibration_seconds(took.seconds), cpu=cpu)
                this.log_metric(MACHINE_SPEED, (self._speed + after) / 2)
                self._speed = after

    def _run(self) -> Elapsed:
        return run_child(self._argv, env=child_env(), timeout=self._scenario.timeout, log=self._log)


@contextmanager
def _terminable() -> Generator[None]:
    """Let SIGTERM end the children and the record as Ctrl-C does."""

    def interrupt(signum: int, _: object) -> NoReturn:
        raise KeyboardInterrupt(signal.Signals(signum).name)

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
