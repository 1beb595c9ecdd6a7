"""`perf-tests`: throughput of a scenario, or of a past step, against its baseline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from robot_sf_otel.cli.common import (
    TableFormat,
    artifact_roots,
    complain,
    fail,
    load,
    new_page,
    show,
    write_json,
)

if TYPE_CHECKING:
    from robot_sf_otel.analysis.baseline import Baseline
    from robot_sf_otel.perf.results import Report
    from robot_sf_otel.perf.scenarios import Case, Scenario
    from robot_sf_otel.store.reader import LoadedRun

_DEFAULT_SCENARIO: Final = "minimal"
_INTERRUPTED: Final = 130
_TERMINATED: Final = 143
"""128 + SIGTERM, as shells have it."""


def perf_tests(  # noqa: PLR0917 - typer passes options by name
    context: typer.Context,
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario",
            metavar="FILE|NAME",
            help="Scenario file, or a built-in one: `minimal` (the default), `tracker-overhead`.",
        ),
    ] = None,
    num_resets: Annotated[
        int | None,
        typer.Option(
            "--num-resets",
            min=1,
            metavar="N",
            help="Environment resets in each repetition, for a scenario with a parameter `resets`.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="PART",
            help="Part below the baseline at which a test fails; half of it is a soft breach. "
            "Default: the scenario's, 0.25 where it has none.",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="Baseline file. Default: the scenario's; earlier good runs where it has none.",
        ),
    ] = None,
    update_baseline: Annotated[
        bool,
        typer.Option("--update-baseline", help="Write what was measured to the baseline file."),
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why the baseline changes; needed where it replaces another one.",
        ),
    ] = None,
    from_run: Annotated[
        str | None,
        typer.Option("--from-run", metavar="RUN", help="Test a step of this run instead."),
    ] = None,
    step: Annotated[
        str | None, typer.Option("--step", metavar="NAME", help="The step, with `--from-run`.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="NAME|PATH",
            help="Name of the run, or a folder or .json file that gets the results as well.",
        ),
    ] = None,
    form: Annotated[
        TableFormat, typer.Option("--format", help="For people, or for scripts.")
    ] = TableFormat.TABLE,
) -> None:
    """Test throughput against a baseline.

    Exit code: 0 passed, no baseline or too noisy to tell; 1 failed; 3 soft breach.
    """
    if tolerance is not None and not 0 < tolerance < 1:
        raise typer.BadParameter("must lie between 0 and 1", param_hint="'--tolerance'")
    if (from_run is None) != (step is None):
        raise typer.BadParameter("--from-run and --step go together", param_hint="'--step'")
    if from_run is not None and (scenario is not None or num_resets is not None):
        raise typer.BadParameter("a past step has no scenario", param_hint="'--from-run'")
    name, path = _output(output)
    update = _Update(baseline, reason) if update_baseline else None
    wanted = _Wanted(artifact_roots(context), name, path, tolerance, baseline, update)
    if from_run is not None and step is not None:
        report = _from_run(load(context, from_run, telemetry=False), step, wanted)
    else:
        report = _scenario(scenario or _DEFAULT_SCENARIO, num_resets, wanted)
    if form is TableFormat.JSON:
        from robot_sf_otel.perf.results import as_document

        write_json(as_document(report))
    else:
        _show(report)
    for message in _warnings(report):
        complain(message)
    raise typer.Exit(0 if update is not None and not report.errors else report.exit_code)


def _output(text: str | None) -> tuple[str | None, Path | None]:
    """Return the name of the run or the path of the results, whichever is meant."""
    if text is None:
        return None, None
    if os.sep in text or text.endswith(".json") or text in {".", ".."}:
        return None, Path(text)
    from robot_sf_otel.store.layout import check_run_name

    try:
        return check_run_name(text), None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--output'") from None


class _Update:
    """What is measured becomes the baseline."""

    def __init__(self, path: Path | None, reason: str | None) -> None:
        self._path = path
        self._reason = reason

    def check(self, path: Path | None, tests: Sequence[str], host: str) -> None:
        """Refuse before anything is measured.

        Raises:
            typer.BadParameter: There is no file, or a baseline would be replaced without a reason.
        """
        from robot_sf_otel.perf.baselines import read

        self._path = path
        if path is None:
            raise typer.BadParameter(
                "needs --baseline FILE, or a scenario that names one",
                param_hint="'--update-baseline'",
            )
        replaced = [
            one.test_id
            for one in read(path, missing_ok=True)
            if one.test_id in tests and one.host_class == host
        ]
        if replaced and not self._reason:
            raise typer.BadParameter(
                f"{path} has a baseline of {replaced[0]} already: say why it changes",
                param_hint="'--reason'",
            )

    def write(self, report: Report) -> None:
        """Write the baselines."""
        from robot_sf_otel.perf.baselines import make, update

        taken = [
            make(
                test_id=test.result.test_id,
                host=report.host_class,
                metric=test.result.metric,
                unit=test.result.unit,
                samples=test.samples,
                date=datetime.now(UTC).date().isoformat(),
                reason=self._reason or "first baseline",
            )
            for test in report.tests
        ]
        if taken and self._path is not None:
            update(self._path, taken)
            complain(f"baseline of {len(taken)} written to {self._path}")


def _finisher(path: Path | None, update: _Update | None) -> Callable[[Report, Path], None]:
    """Return what is done with a report before its run is closed."""
    from robot_sf_otel.perf.recording import keep_artifacts
    from robot_sf_otel.perf.results import RESULTS, write_files

    def finish(report: Report, run_dir: Path) -> None:
        files = write_files(report, run_dir / "artifacts")
        keep_artifacts(run_dir, files)
        if path is not None:
            folder, name = (path.parent, path.name) if path.suffix == ".json" else (path, RESULTS)
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copyfile(file, folder / (name if file.name == RESULTS else file.name))
        if update is not None:
            update.write(report)

    return finish


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the options ask for, whatever is tested."""

    roots: list[Path]
    run_name: str | None
    output: Path | None
    tolerance: float | None
    baseline: Path | None
    update: _Update | None


def _scenario(text: str, resets: int | None, wanted: _Wanted) -> Report:
    """Run the tests of a scenario.

    Raises:
        typer.Exit: It cannot be used, or was interrupted.
    """
    from robot_sf_otel.perf import baselines, runner, scenarios

    update = wanted.update
    try:
        source = scenarios.find(text)
        scenario = scenarios.load(source)
        if resets is not None:
            scenario = scenarios.with_resets(scenario, resets)
        file = wanted.baseline or _named(scenario, source)
        host = runner.this_host_class()
        if update is not None:
            update.check(file, [case.test_id for case in scenario.cases()], host)
        known = None if file is None or update is not None else baselines.read(file)
    except (scenarios.ScenarioError, baselines.BaselineError) as error:
        fail(str(error))

    def baseline_of(case: Case) -> Baseline | None:
        if update is not None:
            return None
        if known is None:
            return baselines.from_history(wanted.roots, case, host)
        metric = case.scenario.metric
        return baselines.choose(known, test_id=case.test_id, host=host, metric=metric)

    try:
        return runner.run_scenario(
            scenario,
            source=text,
            artifact_root=wanted.roots[0],
            run_name=wanted.run_name,
            tolerance=scenario.tolerance if wanted.tolerance is None else wanted.tolerance,
            baseline_of=baseline_of,
            finish=_finisher(wanted.output, update),
        )
    except (runner.NoRecord, baselines.BaselineError, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt as interrupt:
        complain("interrupted: what was measured so far is in the run's record")
        raise typer.Exit(_TERMINATED if interrupt.args else _INTERRUPTED) from None


def _named(scenario: Scenario, source: Path) -> Path | None:
    """Return the baseline file that a scenario names."""
    return None if scenario.baseline is None else source.parent / scenario.baseline


def _from_run(found: LoadedRun, step: str, wanted: _Wanted) -> Report:
    """Test a past step.

    Raises:
        typer.Exit: It cannot be tested.
    """
    from robot_sf_otel.analysis.baseline import DEFAULT_TOLERANCE, host_class
    from robot_sf_otel.analysis.perf_samples import NotMeasured
    from robot_sf_otel.perf import baselines, past

    update, baseline = wanted.update, wanted.baseline
    try:
        if update is not None:
            host = host_class(found.record.host, found.record.runtime)
            update.check(baseline, [past.test_id_of(found.record, step)], host)
        known = None if baseline is None or update is not None else baselines.read(baseline)
        return past.gate_step(
            found,
            step,
            artifact_root=wanted.roots[0],
            run_name=wanted.run_name,
            tolerance=DEFAULT_TOLERANCE if wanted.tolerance is None else wanted.tolerance,
            file=[] if update is not None else known,
            finish=_finisher(wanted.output, update),
        )
    except (baselines.BaselineError, NotMeasured, OSError) as error:
        fail(str(error))


def _show(report: Report) -> None:
    from robot_sf_otel.manifest.formats import number, percent
    from robot_sf_otel.report.page import plain

    page = new_page()
    rows = [
        [
            plain(test.result.test_id, 60),
            test.result.status,
            plain(f"{number(test.result.throughput_measured)} {test.result.unit}"),
            number(test.result.throughput_baseline),
            percent(None if test.result.ratio is None else 100 * test.result.ratio),
            str(len(test.result.samples)),
        ]
        for test in report.tests
    ]
    rows += [[plain(name, 60), "error", "--", "--", "--", "--"] for name in report.errors]
    head = ["TEST", "STATUS", "MEDIAN:", "BASELINE:", "OF BASELINE:", "SAMPLES:"]
    page.table(head, rows, wrap=0)
    page.line()
    page.line(f"{report.status}: run {report.run_id} on {report.host_class}")
    show(page)


def _warnings(report: Report) -> list[str]:
    from robot_sf_otel.perf.advice import sentence

    said = [
        f"{test.result.status}: {sentence(test.result)}"
        for test in report.tests
        if test.result.status != "passed"
    ]
    said += [
        f"{test.result.test_id}: {remark}" for test in report.tests for remark in test.remarks()
    ]
    return said + [f"{name}: {message}" for name, message in report.errors.items()]
