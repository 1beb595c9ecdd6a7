"""The index of a root that many use at once, that nobody may write to, or that is broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from robot_sf_otel.store.history import list_records
from robot_sf_otel.store.index import INDEX_NAME, RunIndex
from tests.data.ended_runs import write_run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

COMMAND: Final = [sys.executable, "-m", "robot_sf_otel.cli.main"]
RUNS: Final = 12


def make_runs(root: Path) -> None:
    for at in range(RUNS):
        write_run(root, f"r{at:02}", at=at, status="failed" if at % 3 == 0 else "completed")


def failed(scripts: Scripts, prefix: tuple[str, ...] = ()) -> list[str]:
    """The failed runs as `list` names them."""
    arguments = ("list", "--status", "failed", "--format", "json")
    done = scripts.start_command([*prefix, *COMMAND, *arguments]).ends()
    assert (done.code, done.errors) == (0, "")
    return [record["run_id"] for record in json.loads(done.out)]


FAILED: Final = ["r09", "r06", "r03", "r00"]

CROWD: Final = """
    import os, sys, traceback
    from pathlib import Path
    from robot_sf_otel import runs
    from robot_sf_otel.store.history import earlier_runs, list_records

    root = Path("output")

    def one(number):
        for _ in range(3):
            assert [run.run_id for run in list_records([root], host="here", status="failed")] == [
                "r09", "r06", "r03", "r00"
            ]
        mine = runs.start_run(initiator="test", enabled_steps=[], run_id=f"crowd-{number:02}")
        runs.update_run(mine, status="completed")
        assert [run.run_id for run in list_records([root], status="completed", limit=None)].count(
            f"crowd-{number:02}"
        ) == 1
        assert len(earlier_runs([root], pipeline="p")) == 8

    children = []
    for number in range(64):
        pid = os.fork()
        if pid == 0:
            try:
                one(number)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(pid)
    ends = [os.waitpid(pid, 0)[1] for pid in children]
    sys.exit(any(ends))
"""


def test_64_processes_that_list_and_end_runs_at_once_see_what_is_there(scripts: Scripts) -> None:
    root = scripts.folder / "output"
    make_runs(root)

    scripts.run(CROWD)

    everything = list_records([root], limit=None)
    assert len(everything) == RUNS + 64
    for status in ("completed", "failed"):
        expected = [record.run_id for record in everything if record.status == status]
        found = list_records([root], limit=None, status=status)
        assert [record.run_id for record in found] == expected
    names = set(RunIndex(root / "run-tracker").entries)
    assert {f"r{at:02}" for at in range(RUNS)} <= names
    left = {path.name for path in (root / "run-tracker").iterdir() if path.name.startswith(".")}
    assert left == {INDEX_NAME}


def read_only(folder: Path) -> tuple[str, ...]:
    """Return a command prefix under which a folder cannot be written to, by nobody."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs unshare and mount of Linux")
    prefix = ("unshare", "--mount", "--map-root-user") if os.geteuid() else ("unshare", "--mount")
    script = f'mount --bind "{folder}" "{folder}" && mount -o remount,ro,bind "{folder}" && '
    command = (*prefix, "sh", "-c", f'{script} exec "$@"', "sh")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")
    return command


@pytest.mark.parametrize("known", [False, True], ids=["without an index", "with an old index"])
def test_a_root_that_cannot_be_written_to_is_listed_all_the_same(
    scripts: Scripts, *, known: bool
) -> None:
    root = scripts.folder / "output"
    make_runs(root)
    if known:
        failed(scripts)
        write_run(root, "r99", at=99, status="failed")
    index = root / "run-tracker" / INDEX_NAME
    before = index.read_bytes() if known else None

    found = failed(scripts, read_only(root))

    assert found == (["r99", *FAILED] if known else FAILED)
    assert (index.read_bytes() if index.exists() else None) == before


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"SQLite format 3\0", b"[[[[", b"\xff\n"])
def test_a_broken_index_costs_nothing_and_is_made_anew(scripts: Scripts, content: bytes) -> None:
    root = scripts.folder / "output"
    make_runs(root)
    (root / "run-tracker" / INDEX_NAME).write_bytes(content)

    assert failed(scripts) == FAILED
    assert set(RunIndex(root / "run-tracker").entries) == {f"r{at:02}" for at in range(RUNS)}
    assert failed(scripts) == FAILED


def test_an_index_that_nobody_may_read_costs_nothing(scripts: Scripts) -> None:
    root = scripts.folder / "output"
    make_runs(root)
    failed(scripts)
    (root / "run-tracker" / INDEX_NAME).chmod(0)

    assert failed(scripts) == FAILED
