"""Old runs go, live and foreign ones stay, and no reader ever sees a part of one."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.store import retention
from robot_sf_otel.store.history import find_runs, list_records
from robot_sf_otel.store.identity import process_identity
from robot_sf_otel.store.lock import RunLock
from robot_sf_otel.store.retention import prune

if TYPE_CHECKING:
    from collections.abc import Callable

OLD_TRACKER = Path(__file__).parents[2] / "data" / "runs" / "old-tracker"
HOUR = 3600.0


def make_run(root: Path, name: str, *, at: int = 0, closed: bool = True) -> Path:
    """Write a run that began `at` seconds after 1970, long ago."""
    run_dir = root / "run-tracker" / name
    run_dir.mkdir(parents=True)
    begun = at * e.NANOSECONDS
    events: list[e.Event] = [e.RunStarted(time_unix_nano=begun, run_id=name, pipeline="p")]
    if closed:
        end = e.RunFinished(time_unix_nano=begun + 1, status="completed", result="success")
        events.append(end)
    (run_dir / "manifest.jsonl").write_bytes(b"".join(map(encode_event, events)))
    return run_dir


def make_runs(root: Path, count: int) -> list[Path]:
    """Write closed runs, the last one newest."""
    return [make_run(root, f"run-{number:02d}", at=number) for number in range(count)]


def names(root: Path) -> list[str]:
    return sorted(run.name for run in find_runs([root]))


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lock_of(run_dir: Path, **fields: object) -> Path:
    """Write who owns a run: this process, unless told otherwise."""
    owner = {**msgspec.to_builtins(process_identity()), **fields}
    (run_dir / "run.lock").write_bytes(msgspec.json.encode(owner))
    return run_dir


def elsewhere(run_dir: Path, age: float) -> Path:
    """Let a process of another host own a run that was last heard of some seconds ago."""
    lock_of(run_dir, host="elsewhere", boot_id="another", pid=1)
    then = time.time() - age
    os.utime(run_dir / "manifest.jsonl", (then, then))
    return run_dir


def test_the_newest_runs_stay_and_the_older_ones_go(tmp_path: Path) -> None:
    make_runs(tmp_path, 5)

    done = prune(tmp_path, 2)

    assert [one.run_dir.name for one in done.removed] == ["run-02", "run-01", "run-00"]
    assert (done.kept, names(tmp_path)) == (2, ["run-03", "run-04"])
    assert listing(tmp_path / "run-tracker") == ["run-03", "run-04"]


def test_freed_space_is_what_the_files_took_on_the_disk(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "big")
    (run_dir / "artifacts" / "deep").mkdir(parents=True)
    (run_dir / "artifacts" / "deep" / "model.bin").write_bytes(os.urandom(300_000))
    with (run_dir / "sparse").open("wb") as file:
        file.truncate(1 << 30)

    planned = prune(tmp_path, 0, dry_run=True)
    done = prune(tmp_path, 0)

    assert planned.freed_bytes == done.freed_bytes
    assert 300_000 <= done.freed_bytes < 1_000_000


def test_a_file_that_lives_on_elsewhere_frees_nothing(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "a")
    (tmp_path / "data").write_bytes(os.urandom(300_000))
    (run_dir / "data").hardlink_to(tmp_path / "data")

    assert prune(tmp_path, 0).freed_bytes < 300_000
    assert (tmp_path / "data").stat().st_size == 300_000


def test_a_dry_run_deletes_nothing(tmp_path: Path) -> None:
    make_runs(tmp_path, 3)

    done = prune(tmp_path, 1, dry_run=True)

    assert [one.run_dir.name for one in done.removed] == ["run-01", "run-00"]
    assert len(names(tmp_path)) == 3


def test_a_root_without_runs_has_nothing_to_delete(tmp_path: Path) -> None:
    assert prune(tmp_path / "gone", 0) == retention.Pruned()


def test_a_negative_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep: -1"):
        prune(tmp_path, -1)


# -- what is never deleted ------------------------------------------------------------------------


def test_a_run_of_a_living_process_stays(tmp_path: Path) -> None:
    lock_of(make_run(tmp_path, "a", closed=False))

    done = prune(tmp_path, 0)

    assert [path.name for path in done.live] == names(tmp_path) == ["a"]


def test_a_closed_run_whose_lock_is_held_stays(tmp_path: Path) -> None:
    lock = RunLock.acquire(make_run(tmp_path, "a") / "run.lock")

    assert [path.name for path in prune(tmp_path, 0).live] == ["a"]
    lock.close()
    assert [one.run_dir.name for one in prune(tmp_path, 0).removed] == ["a"]


def test_a_closed_run_goes_although_its_process_lives_on(tmp_path: Path) -> None:
    lock_of(make_run(tmp_path, "a"))

    assert len(prune(tmp_path, 0).removed) == 1


def test_a_run_of_a_dead_process_goes(tmp_path: Path) -> None:
    lock_of(make_run(tmp_path, "a", closed=False), start_time=1)

    assert len(prune(tmp_path, 0).removed) == 1


@pytest.mark.parametrize(
    ("closed", "age", "stays"),
    [
        (False, 1.0, True),
        (False, HOUR, True),
        (False, 25 * HOUR, False),
        (True, 1.0, True),
        (True, HOUR, False),
    ],
)
def test_a_run_of_another_host_goes_only_when_it_was_silent_for_long(
    tmp_path: Path, *, closed: bool, age: float, stays: bool
) -> None:
    elsewhere(make_run(tmp_path, "a", closed=closed), age)

    prune(tmp_path, 0)

    assert names(tmp_path) == (["a"] if stays else [])


def test_a_fresh_worker_journal_is_a_sign_of_life(tmp_path: Path) -> None:
    run_dir = elsewhere(make_run(tmp_path, "a", closed=False), 48 * HOUR)
    (run_dir / "workers").mkdir()
    (run_dir / "workers" / "w.jsonl").write_text("")

    assert prune(tmp_path, 0).live == [run_dir]


def test_runs_of_the_original_tracker_stay_and_count_for_nothing(tmp_path: Path) -> None:
    make_runs(tmp_path, 2)
    shutil.copytree(OLD_TRACKER, tmp_path / "run-tracker" / "old")

    done = prune(tmp_path, 1)

    assert [path.name for path in done.old_tracker] == ["old"]
    assert names(tmp_path) == ["old", "run-01"]


def test_what_holds_no_readable_run_stays_and_counts_for_nothing(tmp_path: Path) -> None:
    make_runs(tmp_path, 2)
    tracker = tmp_path / "run-tracker"
    for number in range(5):
        (tracker / f"broken-{number}").mkdir()
        (tracker / f"broken-{number}" / "manifest.jsonl").write_text("nonsense\n")
    (tracker / "notes").mkdir()
    (tracker / "perf_test_results.json").write_text("{}")

    done = prune(tmp_path, 1)

    assert len(done.unreadable) == 5
    assert "run-01" in names(tmp_path)
    assert "run-00" not in names(tmp_path)
    assert {"notes", "perf_test_results.json"} <= set(listing(tracker))


def test_a_run_whose_first_line_is_damaged_is_still_a_run(tmp_path: Path) -> None:
    journal = make_run(tmp_path, "a") / "manifest.jsonl"
    journal.write_bytes(b"\0\0{torn\n" + journal.read_bytes())

    assert len(prune(tmp_path, 0).removed) == 1


# -- links ----------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nothing may touch."""
    folder = tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    (folder / "precious.txt").write_text("precious")
    (folder / "sub" / "more.txt").write_text("more")
    return folder


def intact(outside: Path) -> bool:
    return (outside / "precious.txt").exists() and (outside / "sub" / "more.txt").exists()


def test_links_inside_a_run_are_deleted_and_not_followed(tmp_path: Path, outside: Path) -> None:
    run_dir = make_run(tmp_path, "a")
    (run_dir / "artifacts").symlink_to(outside)
    (run_dir / "workers").symlink_to(outside / "sub")
    (run_dir / "manifest.json").symlink_to(outside / "precious.txt")
    (run_dir / "dangling").symlink_to("nowhere")

    done = prune(tmp_path, 0)

    assert [one.error for one in done.removed] == [None]
    assert not run_dir.exists()
    assert intact(outside)


def test_a_link_to_a_run_elsewhere_is_no_run(tmp_path: Path) -> None:
    target = make_run(tmp_path / "elsewhere", "a")
    (tmp_path / "run-tracker").mkdir()
    (tmp_path / "run-tracker" / "a").symlink_to(target)

    assert prune(tmp_path, 0) == retention.Pruned()
    assert target.exists()


def test_a_folder_whose_journal_is_a_link_is_no_run(tmp_path: Path) -> None:
    target = make_run(tmp_path / "elsewhere", "a") / "manifest.jsonl"
    run_dir = tmp_path / "run-tracker" / "b"
    run_dir.mkdir(parents=True)
    (run_dir / "manifest.jsonl").symlink_to(target)

    assert prune(tmp_path, 0).unreadable == [run_dir]
    assert run_dir.exists()


def test_a_tracker_that_is_a_link_is_refused(tmp_path: Path) -> None:
    target = make_run(tmp_path / "elsewhere", "a")
    (tmp_path / "run-tracker").symlink_to(tmp_path / "elsewhere" / "run-tracker")

    with pytest.raises(OSError, match="symbolic link"):
        prune(tmp_path, 0)
    assert target.exists()


def test_an_artifact_root_that_is_a_link_is_fine(tmp_path: Path) -> None:
    make_run(tmp_path / "real", "a")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert len(prune(tmp_path / "link", 0).removed) == 1


# -- interrupted, concurrent, refused -------------------------------------------------------------


def test_what_an_interrupted_deletion_left_is_not_listed_and_goes_with_the_next(
    tmp_path: Path,
) -> None:
    make_run(tmp_path, "a").rename(tmp_path / "run-tracker" / f".pruned-{'0' * 16}")
    make_run(tmp_path, "b")

    assert [record.run_id for record in list_records([tmp_path])] == ["b"]
    done = prune(tmp_path, 20)
    assert done.leftovers_bytes > 0
    assert listing(tmp_path / "run-tracker") == ["b"]


def test_a_dry_run_leaves_leftovers(tmp_path: Path) -> None:
    left = tmp_path / "run-tracker" / f".pruned-{'0' * 16}"
    make_run(tmp_path, "a").rename(left)

    assert prune(tmp_path, 20, dry_run=True).leftovers_bytes > 0
    assert left.exists()


def test_hidden_folders_and_links_of_others_stay(tmp_path: Path, outside: Path) -> None:
    tracker = tmp_path / "run-tracker"
    (tracker / ".pruned-by-me").mkdir(parents=True)
    (tracker / f".pruned-{'1' * 16}").symlink_to(outside)

    prune(tmp_path, 0)

    assert len(listing(tracker)) == 2
    assert intact(outside)


def interfering(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[Path], object]) -> None:
    """Let something happen right after a run was found to be over."""
    real = retention.is_over

    def is_over(run_dir: Path, now: float) -> bool:
        answer = real(run_dir, now)
        if run_dir.name == name:
            act(run_dir)
        return answer

    monkeypatch.setattr(retention, "is_over", is_over)


def test_a_run_that_somebody_else_deletes_meanwhile_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path, 3)
    interfering(monkeypatch, "run-01", shutil.rmtree)

    done = prune(tmp_path, 0)

    assert [one.run_dir.name for one in done.removed] == ["run-02", "run-00"]
    assert done.failed == []


def test_a_run_that_is_resumed_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path, 2)
    locks: list[RunLock] = []
    interfering(monkeypatch, "run-00", lambda run: locks.append(RunLock.acquire(run / "run.lock")))
    assert [run.name for run in prune(tmp_path, 1).live] == ["run-00"]
    locks.pop().close()


def test_a_run_that_was_resumed_and_closed_again_meanwhile_stays_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = make_run(tmp_path, "a")
    journal = run_dir / "manifest.jsonl"
    interfering(monkeypatch, "a", lambda run: journal.write_bytes(journal.read_bytes() * 2))

    assert prune(tmp_path, 0).live == [run_dir]


def test_a_lock_that_is_a_link_keeps_the_run(tmp_path: Path, outside: Path) -> None:
    run_dir = make_run(tmp_path, "a")
    (run_dir / "run.lock").symlink_to(outside / "precious.txt")

    assert prune(tmp_path, 0).live == [run_dir]
    assert intact(outside)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may delete what others may not")
def test_a_run_that_may_not_be_deleted_is_named_with_the_reason(tmp_path: Path) -> None:
    make_runs(tmp_path, 2)
    tracker = tmp_path / "run-tracker"
    tracker.chmod(0o555)
    try:
        done = prune(tmp_path, 1)
    finally:
        tracker.chmod(0o755)
    assert [one.run_dir.name for one in done.failed] == ["run-00"]
    assert "Permission denied" in (done.failed[0].error or "")


def test_what_cannot_be_deleted_is_told_and_the_next_run_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(tmp_path, 2)
    (runs[1] / "stubborn").write_text("x")
    real = os.unlink

    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        if path == "stubborn":
            raise PermissionError(1, "Operation not permitted", path)
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    done = prune(tmp_path, 0)

    assert [one.run_dir.name for one in done.removed] == ["run-00"]
    assert [one.error for one in done.failed] == ["Operation not permitted: stubborn"]
    assert names(tmp_path) == []
    monkeypatch.undo()
    prune(tmp_path, 0)
    assert listing(tmp_path / "run-tracker") == []


def test_pipes_and_sockets_are_deleted_too(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "a")
    os.mkfifo(run_dir / "pipe")
    assert stat.S_ISFIFO((run_dir / "pipe").stat().st_mode)

    assert prune(tmp_path, 0).failed == []
    assert not run_dir.exists()
