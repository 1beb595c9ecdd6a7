from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import traceback
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel import pipeline, step
from robot_sf_otel.instrument.outcome import MAX_STACKTRACE, TIMED_OUT, describe, of_exception
from robot_sf_otel.testing import capture_run

if TYPE_CHECKING:
    from pathlib import Path


def plain(text: str) -> str:
    return text


@pytest.mark.parametrize(
    ("error", "status", "result", "reason"),
    [
        (None, "completed", "success", None),
        (SystemExit(), "completed", "success", None),
        (SystemExit(0), "completed", "success", None),
        (SystemExit(2), "failed", "failure", "SystemExit: 2"),
        (SystemExit("out of memory"), "failed", "failure", "SystemExit: out of memory"),
        (ValueError("x"), "failed", "failure", "ValueError: x"),
        (ValueError(), "failed", "failure", "ValueError"),
        (KeyboardInterrupt(), "cancelled", "cancellation", "KeyboardInterrupt"),
        (asyncio.CancelledError(), "cancelled", "cancellation", "CancelledError"),
        (concurrent.futures.CancelledError(), "cancelled", "cancellation", "CancelledError"),
        (GeneratorExit(), "cancelled", "cancellation", "GeneratorExit"),
        (TimeoutError("slow"), "failed", "failure", "TimeoutError: slow"),
        (
            subprocess.TimeoutExpired("x", 1),
            "failed",
            "failure",
            "subprocess.TimeoutExpired: Command 'x' timed out after 1 seconds",
        ),
    ],
)
def test_outcome_follows_the_exception(
    error: BaseException | None, status: str, result: str, reason: str | None
) -> None:
    outcome = of_exception(error, plain)
    assert (outcome.status, outcome.result, outcome.reason) == (status, result, reason)
    assert (outcome.error is not None) == (status == "failed")


def test_timeout_arises_only_from_our_own_mark() -> None:
    expired = subprocess.TimeoutExpired("x", 1)
    setattr(expired, TIMED_OUT, True)
    outcome = of_exception(expired, plain)
    assert (outcome.status, outcome.result) == ("failed", "timeout")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (subprocess.CalledProcessError(3, ["x"]), 3),
        (SystemExit(4), 4),
        (SystemExit("text"), 1),
        (ValueError(), None),
    ],
    ids=repr,
)
def test_exit_code_is_kept(error: BaseException, code: int | None) -> None:
    assert describe(error, plain).exit_code == code


class PolicyError(Exception):
    pass


def test_type_is_named_with_its_module_but_builtins_are_not() -> None:
    assert describe(PolicyError(), plain).type == f"{__name__}.PolicyError"
    assert describe(KeyError("x"), plain).type == "KeyError"


class Unprintable(Exception):  # noqa: N818 - what it is
    def __str__(self) -> str:
        raise RuntimeError("no str")


def test_exception_that_cannot_be_printed_is_described_all_the_same() -> None:
    described = describe(Unprintable(), plain)
    assert described.message == "<str() failed with RuntimeError>"
    assert described.type.endswith("Unprintable")


def test_end_of_a_long_traceback_is_kept() -> None:
    described = describe(ValueError("x" * 100_000 + "the cause"), plain)
    assert described.stacktrace is not None
    assert len(described.stacktrace) <= MAX_STACKTRACE
    assert described.stacktrace.rstrip().endswith("the cause")


def test_message_and_traceback_are_redacted() -> None:
    described = describe(ValueError("secret"), lambda text: text.replace("secret", "*"))
    assert described.message == "*"
    assert described.stacktrace is not None
    assert "secret" not in described.stacktrace


def fails() -> None:
    raise ValueError("x")


def disk_fails() -> None:
    raise OSError("context")


def test_exception_that_leaves_is_the_same_object_with_its_traceback_cause_and_context(
    tmp_path: Path,
) -> None:
    cause = KeyError("cause")
    raised = ValueError("x")

    @step
    def train() -> None:
        try:
            disk_fails()
        except OSError:
            raise raised from cause

    @pipeline("p")
    def main() -> None:
        with step("outer"):
            train()

    with capture_run(tmp_path) as _, pytest.raises(ValueError, match="x") as caught:
        main()
    assert caught.value is raised
    assert raised.__cause__ is cause
    assert isinstance(raised.__context__, OSError)
    assert not hasattr(raised, "__notes__")
    names = [frame.name for frame in traceback.extract_tb(raised.__traceback__)]
    assert names[-1] == "train"
    assert "main" in names


def test_recorded_traceback_is_without_the_frames_of_this_package(tmp_path: Path) -> None:
    wrapped = step("train")(fails)
    with capture_run(tmp_path) as runs:
        with pytest.raises(ValueError, match="x"), pipeline("p"):
            wrapped()
        error = runs.record.steps[0].error
    assert error is not None
    assert error.stacktrace is not None
    assert "in fails" in error.stacktrace
    assert "instrument/step.py" not in error.stacktrace
