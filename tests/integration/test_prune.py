"""`prune` beside live runs, readers and other prunes, and after being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.store.history import list_records

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

LONG_RUN: Final = """
    import time
    from robot_sf_otel import configure, current_run, pipeline, step

    configure()
    with pipeline("p"), step("wait"):
        print(current_run().run_id, flush=True)
        time.sleep(600)
"""


def prune(scripts: Scripts, *arguments: str) -> subprocess.Popen[str]:
    """Start the command as a person does."""
    return subprocess.Popen(
        [sys.executable, "-m", "robot_sf_otel.cli.main", "prune", *arguments],
        cwd=scripts.folder,
        env=scripts.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_runs(root: Path, count: int, files: int = 3) -> None:
    """Write closed runs of long ago, each with some files."""
    for number in range(count):
        name = f"20200101T000000Z-p-{number:06x}"
        run_dir = root / "run-tracker" / name
        (run_dir / "artifacts").mkdir(parents=True)
        for file in range(files):
            (run_dir / "artifacts" / str(file)).write_bytes(b"x" * 5000)
        begun = (1_577_836_800 + number) * e.NANOSECONDS
        events: list[e.Event] = [
            e.RunStarted(time_unix_nano=begun, run_id=name, pipeline="p"),
            e.RunFinished(time_unix_nano=begun + 1, status="completed", result="success"),
        ]
        (run_dir / "manifest.jsonl").write_bytes(b"".join(map(encode_event, events)))


def test_a_live_run_stays_and_goes_when_it_was_killed(scripts: Scripts) -> None:
    running = scripts.start(LONG_RUN)
    assert running.process.stdout is not None
    run_id = running.process.stdout.readline().strip()
    make_runs(scripts.folder / "output", 2)

    out, err = prune(scripts, "--keep", "0", "--format", "json").communicate(timeout=60)
    (answer,) = json.loads(out)

    assert len(answer["deleted"]) == 2, err
    assert [os.path.basename(path) for path in answer["live"]] == [run_id]  # noqa: PTH119 - text
    assert running.process.poll() is None
    running.kill(signal.SIGKILL)
    running.ends()
    out, err = prune(scripts, "--keep", "0", "--format", "json").communicate(timeout=60)
    assert [one["run_id"] for one in json.loads(out)[0]["deleted"]] == [run_id], err
    assert listing(scripts.folder / "output" / "run-tracker") == []


def test_prunes_at_the_same_time_delete_each_run_once(scripts: Scripts) -> None:
    make_runs(scripts.folder / "output", 60)

    started = [prune(scripts, "--keep", "10", "--format", "json") for _ in range(3)]
    answers = [process.communicate(timeout=120) for process in started]

    assert [process.returncode for process in started] == [0, 0, 0], answers
    deleted = [one["run_id"] for out, _ in answers for one in json.loads(out)[0]["deleted"]]
    assert len(deleted) == len(set(deleted))
    assert len(list_records([scripts.folder / "output"], limit=None)) == 10


def test_a_reader_sees_whole_runs_or_none(scripts: Scripts) -> None:
    root = scripts.folder / "output"
    make_runs(root, 100)

    process = prune(scripts, "--keep", "0")
    seen: set[str] = set()
    while process.poll() is None:
        seen |= {record.status for record in list_records([root], limit=None)}
    process.communicate(timeout=60)

    assert seen <= {"completed"}
    assert list_records([root], limit=None) == []


def test_what_a_killed_prune_left_is_not_listed_and_goes_with_the_next(scripts: Scripts) -> None:
    root = scripts.folder / "output"
    make_runs(root, 1, files=1)
    tracker = root / "run-tracker"
    dying = f"""
        import os, signal
        from pathlib import Path
        from robot_sf_otel.store import retention

        def die(*arguments, **options):
            os.kill(os.getpid(), signal.SIGKILL)

        retention._delete_entry = die
        retention.prune(Path({str(root)!r}), 0)
    """
    assert scripts.start(dying).ends().code == -signal.SIGKILL

    (left,) = listing(tracker)
    assert left.startswith(".pruned-")
    assert list_records([root]) == []
    out, err = prune(scripts).communicate(timeout=60)
    assert "freed" in out, err
    assert listing(tracker) == []
