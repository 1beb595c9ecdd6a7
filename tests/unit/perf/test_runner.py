"""The runner where no child process is needed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from robot_sf_otel.bootstrap import shutdown
from robot_sf_otel.perf import runner, scenarios
from robot_sf_otel.perf.stopwatch import Elapsed
from robot_sf_otel.store.reader import load_run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from robot_sf_otel.perf.results import Report


def test_repetitions_that_left_no_record_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object, **__: object) -> Elapsed:
        return Elapsed(1.0, 0.0, 1.0)

    monkeypatch.setattr(runner, "run_child", nothing)
    monkeypatch.setenv("ROBOT_SF_OTEL_CONSOLE", "off")
    finished: list[Path] = []
    before = signal.getsignal(signal.SIGTERM)

    def finish(_: Report, run_dir: Path) -> None:
        finished.append(run_dir)

    try:
        report = runner.run_scenario(
            scenarios.load(scenarios.find("minimal")),
            source="minimal",
            artifact_root=tmp_path,
            run_name=None,
            tolerance=0.25,
            baseline_of=lambda _: None,
            finish=finish,
        )
    finally:
        shutdown()

    assert "not recorded" in report.errors["minimal"]
    assert load_run(finished[0]).record.status == "failed"
    assert signal.getsignal(signal.SIGTERM) == before
