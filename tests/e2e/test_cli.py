"""The installed command as a user has it: a process with its pipes and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data import sample_runs

COMMAND = Path(sys.executable).with_name("robot-sf-otel")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not COMMAND.exists(), reason="the package is not installed"),
]


def call(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environ}
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, check=False, env=env, timeout=60
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for story in (sample_runs.healthy, sample_runs.failed, sample_runs.thousand):
        story().write(tmp_path / "output")
    return tmp_path / "output"


def test_a_reader_that_leaves_early_is_no_error(root: Path) -> None:
    for command in ("summary", "summary --format json", "list", "list --format json"):
        line = f"'{COMMAND}' {command} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=60)

        assert (done.returncode, done.stderr) == (0, b"")


def test_json_on_stdout_messages_on_stderr(root: Path) -> None:
    good = call("list", "--format", "json")
    bad = call("status", "nonsense", "--format", "json")

    assert len(json.loads(good.stdout)) == 3
    assert not good.stderr
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.startswith("robot-sf-otel: no run 'nonsense'; the closest are ")


def test_an_ascii_terminal_reads_ascii(root: Path) -> None:
    done = call("summary", "20260101T000000Z", PYTHONIOENCODING="ascii", COLUMNS="80")

    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "> Rollout" in done.stdout


def test_reading_imports_no_opentelemetry(root: Path) -> None:
    program = (
        "import sys\n"
        "from robot_sf_otel.cli.main import run_command\n"
        "code = run_command(['status'])\n"
        "heavy = {'opentelemetry', 'psutil', 'loguru', 'numpy', 'gymnasium'}\n"
        "sys.exit(code or ' '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_starts_at_once() -> None:
    def took(run: Callable[[], object]) -> float:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    bare = [sys.executable, "-c", "import typer, rich.console"]
    pairs = [
        (took(lambda: call("--version")), took(lambda: subprocess.run(bare, check=True)))
        for _ in range(5)
    ]
    # Beside what it cannot do without, in turn: how fast the machine is does not count.
    assert min(ours for ours, _ in pairs) < 2 * min(theirs for _, theirs in pairs)
