from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from loguru import logger

from robot_sf_otel import guard
from tests.unit.warned import warnings_said


@pytest.fixture
def said() -> Iterator[list[str]]:
    with warnings_said() as messages:
        yield messages


def test_message_with_braces_is_said_as_it_is(said: list[str]) -> None:
    guard.warn("params {'lr': 0.1} {}")
    assert said == ["params {'lr': 0.1} {}\n"]


def test_warning_names_the_code_that_gave_it() -> None:
    sources: list[str] = []
    sink = logger.add(
        lambda message: sources.append(str(message)), format="{name}", level="WARNING"
    )
    try:
        guard.warn("x")
    finally:
        logger.remove(sink)
    assert sources == [f"{__name__}\n"]


def test_warning_goes_to_stderr_where_loguru_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "loguru", None)
    guard.warn("the disk is full")
    assert capsys.readouterr().err == "robot_sf_otel: the disk is full\n"


def test_warning_is_dropped_where_there_is_no_stderr_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "loguru", None)
    monkeypatch.setattr(sys, "stderr", None)
    guard.warn("nobody hears this")


def test_a_key_is_warned_of_once(said: list[str]) -> None:
    assert guard.warn_once("key", "first")
    assert not guard.warn_once("key", "second")
    assert guard.warn_once("other", "third")
    assert said == ["first\n", "third\n"]


def test_a_key_that_is_taken_as_said_is_not_warned_of(said: list[str]) -> None:
    guard.take_as_said("key")
    assert not guard.warn_once("key", "first")
    assert said == []


def test_fault_is_said_once_a_place_and_counted_each_time(said: list[str]) -> None:
    for number in range(3):
        guard.fault("journal", RuntimeError(f"no {number}"))
    assert said == ["telemetry: journal failed, going on: RuntimeError: no 0\n"]
    assert sorted(guard.drain()) == [
        ("journal", "RuntimeError: no 0", 1),
        ("journal", "RuntimeError: no 1", 1),
        ("journal", "RuntimeError: no 2", 1),
    ]


def test_one_cause_that_fails_many_places_is_said_once(said: list[str]) -> None:
    guard.fault("step start", RuntimeError("broken"))
    guard.fault("step end", RuntimeError("broken"))
    guard.fault("step end", RuntimeError("broken again"))
    guard.fault("run end", RuntimeError("something else"))
    assert said == [
        "telemetry: step start failed, going on: RuntimeError: broken\n",
        "telemetry: run end failed, going on: RuntimeError: something else\n",
    ]
    assert len(guard.drain()) == 4


def test_another_kind_of_fault_in_the_same_place_is_said_too(said: list[str]) -> None:
    guard.fault("sample", RuntimeError("x"))
    guard.fault("sample", ValueError("y"))
    assert len(said) == 2


def test_storage_faults_of_any_file_are_one_warning(said: list[str]) -> None:
    guard.storage_fault("journal", OSError(28, "No space left on device"))
    guard.storage_fault("manifest", OSError(28, "No space left on device"))
    guard.storage_fault("run.lock", OSError(30, "Read-only file system"))
    (warning,) = said
    assert "No space left on device" in warning
    assert "The pipeline goes on" in warning
    assert len(guard.drain()) == 3


def test_storage_fault_that_is_no_matter_of_the_disk_is_said_as_what_it_is(
    said: list[str],
) -> None:
    guard.storage_fault("manifest", ValueError("year 10000"))
    assert said == ["telemetry: manifest failed, going on: ValueError: year 10000\n"]


def test_shielded_code_raises_no_further(said: list[str]) -> None:
    with guard.shielded("sample"):
        raise ZeroDivisionError("by zero")
    assert said == ["telemetry: sample failed, going on: ZeroDivisionError: by zero\n"]
    assert guard.drain() == [("sample", "ZeroDivisionError: by zero", 1)]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_a_shield(kind: type[BaseException]) -> None:
    with pytest.raises(kind), guard.shielded("sample"):
        raise kind


def test_equal_faults_are_drained_as_one_with_their_count(said: list[str]) -> None:
    for _ in range(5):
        guard.fault("sample", OSError("gone"))
    assert guard.drain() == [("sample", "OSError: gone", 5)]
    assert guard.drain() == []


def test_file_handles_that_ran_out_are_said_once_whichever_file_it_was(said: list[str]) -> None:
    for number in range(3):
        guard.fault(f"place {number}", OSError(24, "Too many open files", f"/file-{number}"))
    assert len(said) == 1
    assert len(guard.drain()) == 3


def test_fault_of_the_same_cause_as_one_of_the_disk_is_not_said_again(said: list[str]) -> None:
    guard.storage_fault("manifest", OSError(24, "Too many open files", "/manifest.json"))
    guard.fault("run start", OSError(24, "Too many open files", "/module.py"))
    assert len(said) == 1
