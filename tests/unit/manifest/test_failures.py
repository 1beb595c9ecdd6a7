"""What went wrong in a run: each error once, those outside of steps too."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel import pipeline, step
from robot_sf_otel.manifest.codec import decode_document, encode_document
from robot_sf_otel.manifest.events import RunResumed
from robot_sf_otel.manifest.failures import failures
from robot_sf_otel.manifest.schema import ErrorInfo, PipelineRunRecord
from robot_sf_otel.testing import capture_run
from tests.data import sample_runs
from tests.data.sample_runs import Story

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def fail() -> None:
    raise ValueError("no episodes")


@step("decorated")
def decorated() -> None:
    fail()


@step("awaited")
async def awaited() -> None:
    fail()


def block() -> None:
    with step("block"):
        fail()


def nested() -> None:
    with step("outer"), step("inner"):
        fail()


def outside() -> None:
    with step("fine"):
        pass
    fail()


def again() -> None:
    with step("tried"), suppress(ValueError):
        decorated()
    raise ValueError("no episodes")


def renamed() -> None:
    try:
        block()
    except ValueError as error:
        raise RuntimeError("cannot train") from error


def lost_traceback() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (decorated, ["decorated"]),
        (lambda: asyncio.run(awaited()), ["awaited"]),
        (block, ["block"]),
        (nested, ["outer", "inner"]),
        (outside, ["The run itself"]),
        (again, ["The run itself", "decorated"]),
        (renamed, ["The run itself", "block"]),
        (lost_traceback, ["The run itself"]),
    ],
)
def test_an_error_that_passed_through_a_step_is_told_once(
    tmp_path: Path, body: Callable[[], None], where: list[str]
) -> None:
    with capture_run(tmp_path) as runs:
        with pytest.raises((Exception, SystemExit)) as raised, pipeline("p"):
            body()
        assert [one.where for one in failures(runs.record)] == where
        assert runs.record.error is not None
        assert runs.record.error.type == raised.typename


def test_an_error_without_a_traceback_says_no_more_than_the_reason() -> None:
    record = sample_runs.healthy().record()
    record.error = ErrorInfo(type="exit", message="exit code 3", exit_code=3)
    assert failures(record) == []


def test_a_step_without_a_traceback_is_known_by_its_words() -> None:
    record = sample_runs.healthy().record()
    record.error = ErrorInfo(type="KeyError", message="x", stacktrace='File "a.py", line 1')
    record.steps[0].error = ErrorInfo(type="KeyError", message="x")
    assert [one.step for one in failures(record)] == [record.steps[0]]


def test_a_resumed_run_has_no_error_until_it_ends_again() -> None:
    story = Story("20260101T000000Z-a-aaaaaa")
    story.finish("failed", result="failure", error=ErrorInfo(type="KeyError"))
    assert story.record().error == ErrorInfo(type="KeyError")
    story.events.append(RunResumed(time_unix_nano=story.now()))
    assert story.record().error is None


def test_a_manifest_from_before_there_was_an_error_is_read() -> None:
    old = json.loads(encode_document(sample_runs.failed().record()))
    del old["error"]
    record = decode_document(json.dumps(old).encode(), PipelineRunRecord)
    assert record.error is None
    assert [one.attempt for one in failures(record)] == [1, 2]
