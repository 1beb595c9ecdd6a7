"""The fixture `throughput` in a project's own tests, run by a pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TEST = """
def test_speed(throughput):
    result = throughput(lambda: sum(range({turns})), units={turns}, unit="items", max_seconds=20)
    assert result.unit == "items/s"
"""
DIFFERENT = """
def test_speed(throughput):
    throughput(lambda: sum(range({turns})), unit="items", max_seconds=20)
"""


def run(folder: Path, source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    # The options of the session that runs this test are not those of the one that it starts.
    environment = {name: text for name, text in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_function_that_got_slower_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nthroughput_baseline = baselines.json\n")
    quick, slow = DIFFERENT.format(turns=20_000), DIFFERENT.format(turns=60_000)

    first = run(tmp_path, quick, "--update-throughput-baseline", "first")
    same = run(tmp_path, quick)
    slower = run(tmp_path, slow)

    assert first.returncode == 0, first.stdout
    assert '"test_id": "test_it.py::test_speed"' in (tmp_path / "baselines.json").read_text()
    assert same.returncode == 0, same.stdout
    assert slower.returncode == 1, slower.stdout
    assert "below the baseline of" in slower.stdout
    assert "failed: test_it.py::test_speed" in slower.stdout


def test_a_missing_baseline_fails_nothing_and_is_listed(tmp_path: Path) -> None:
    done = run(tmp_path, TEST.format(turns=1_000))

    assert done.returncode == 0, done.stdout
    assert "no-baseline: test_it.py::test_speed" in done.stdout


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, TEST.format(turns=1_000), "--throughput-baseline", "none.json")

    assert done.returncode == 1
    assert "none.json: no such file" in done.stdout


def test_a_reason_without_a_file_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, TEST.format(turns=1_000), "--update-throughput-baseline", "why")

    assert done.returncode == 1
    assert "--throughput-baseline" in done.stdout


def test_a_session_that_does_not_use_it_loads_nothing_of_the_package(tmp_path: Path) -> None:
    source = """
import sys

def test_modules():
    ours = {name for name in sys.modules if name.startswith("robot_sf_otel")}
    assert ours == {"robot_sf_otel", "robot_sf_otel.perf", "robot_sf_otel.perf.pytest_plugin"}
    assert "msgspec" not in sys.modules
    assert "opentelemetry" not in sys.modules
"""
    done = run(tmp_path, source, "-p", "no:cov", "-p", "no:randomly", "-p", "no:xdist")

    assert done.returncode == 0, done.stdout
    assert "throughput" not in done.stdout
