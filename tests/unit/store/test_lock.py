from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store import lock
from robot_sf_otel.store.identity import ProcessIdentity, process_identity
from robot_sf_otel.store.lock import RunLock, is_locked, owner_state, read_owner

if TYPE_CHECKING:
    from pathlib import Path

NOW = 2_000_000_000.0
"""Unix seconds; the files of a test are years older unless it says otherwise."""


def write_owner(run_dir: Path, owner: ProcessIdentity) -> None:
    (run_dir / "run.lock").write_text(json.dumps(dataclasses.asdict(owner)))


def heartbeat(run_dir: Path, age: float) -> None:
    (run_dir / "telemetry.jsonl").touch()
    os.utime(run_dir / "telemetry.jsonl", (NOW - age, NOW - age))


def elsewhere(pid: int = 1) -> ProcessIdentity:
    return ProcessIdentity(
        host="another", boot_id="other", pid_namespace="pid:[9]", pid=pid, start_time=1
    )


def dead_here() -> ProcessIdentity:
    return dataclasses.replace(process_identity(), start_time=1)


def test_lock_names_its_owner(tmp_path: Path) -> None:
    held = RunLock.acquire(tmp_path / "run.lock", run_id="r")
    assert read_owner(tmp_path / "run.lock") == process_identity()
    assert json.loads((tmp_path / "run.lock").read_text())["run_id"] == "r"
    assert owner_state(tmp_path, NOW) == "alive"
    held.close()


def test_second_owner_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    held = RunLock.acquire(path)
    with pytest.raises(BlockingIOError, match="another process"):
        RunLock.acquire(path)
    held.close()
    held.close()
    assert is_locked(path) is False
    RunLock.acquire(path).close()


def test_lock_that_only_a_child_of_a_dead_owner_holds_can_be_taken(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    child = RunLock.acquire(path)
    write_owner(tmp_path, dead_here())
    held = RunLock.acquire(path)
    assert read_owner(path) == process_identity()
    child.close()
    assert is_locked(path) is True
    assert [item.name for item in tmp_path.iterdir()] == ["run.lock"]
    held.close()


def test_file_system_without_locks_still_gets_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    held = RunLock.acquire(tmp_path / "run.lock")
    assert owner_state(tmp_path, NOW) == "alive"
    held.close()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff", b'{"run_id":"old"}']
)
def test_foreign_lock_file_names_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.lock").write_bytes(content)
    assert read_owner(tmp_path / "run.lock") is None


def test_owner_of_this_host_is_dead_when_its_process_is_gone_whoever_holds_the_lock(
    tmp_path: Path,
) -> None:
    child = RunLock.acquire(tmp_path / "run.lock")
    write_owner(tmp_path, dead_here())
    heartbeat(tmp_path, age=0)
    assert owner_state(tmp_path, NOW) == "dead"
    child.close()


def test_owner_elsewhere_is_dead_when_lock_is_free_and_heartbeat_old(tmp_path: Path) -> None:
    write_owner(tmp_path, elsewhere())
    heartbeat(tmp_path, age=lock.HEARTBEAT_SECONDS + 1)
    assert owner_state(tmp_path, NOW) == "dead"


def test_owner_elsewhere_is_unknown_while_its_heartbeat_is_fresh(tmp_path: Path) -> None:
    write_owner(tmp_path, elsewhere())
    heartbeat(tmp_path, age=lock.HEARTBEAT_SECONDS - 1)
    assert owner_state(tmp_path, NOW) == "unknown"


def test_owner_elsewhere_that_holds_the_lock_lives_however_old_its_heartbeat(
    tmp_path: Path,
) -> None:
    write_owner(tmp_path, elsewhere())
    heartbeat(tmp_path, age=1e6)
    fd = os.open(tmp_path / "run.lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert owner_state(tmp_path, NOW) == "alive"
    os.close(fd)


def test_same_pid_on_another_host_says_nothing(tmp_path: Path) -> None:
    write_owner(tmp_path, elsewhere(pid=os.getpid()))
    heartbeat(tmp_path, age=0)
    assert owner_state(tmp_path, NOW) == "unknown"


def test_run_without_a_lock_is_given_a_day(tmp_path: Path) -> None:
    heartbeat(tmp_path, age=3600)
    assert owner_state(tmp_path, NOW) == "unknown"
    heartbeat(tmp_path, age=lock.UNOWNED_SECONDS + 1)
    assert owner_state(tmp_path, NOW) == "dead"
