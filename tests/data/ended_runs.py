"""Runs that have ended, with their derived files, written as a tracker leaves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.reader import load_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Ended = Literal["completed", "failed", "cancelled"]
SECOND: Final = 1_000_000_000
START: Final = 1_767_225_600
"""2026 in Unix seconds."""


def write_run(
    root: Path,
    name: str,
    *,
    at: int = 0,
    status: Ended = "completed",
    steps: Mapping[str, float] | None = None,
    derived: bool = True,
    **header: Any,  # noqa: ANN401 - the fields of an event
) -> Path:
    """Write a run that began `at` seconds after 2026 did, and return its directory.

    Args:
        root: The artifact root.
        name: Of the directory.
        at: When it began.
        status: How it ended.
        steps: Seconds that each step took; the last one ended as the run did.
        derived: Whether manifest.json is there.
        header: Fields of the first event.
    """
    run_dir = root / "run-tracker" / name
    run_dir.mkdir(parents=True, exist_ok=True)
    now = (START + at) * SECOND
    fields: dict[str, Any] = {"pipeline": "p", "run_id": name, **header}
    host = fields.pop("host", "here")
    durations = {"train": 1.0} if steps is None else steps
    ended: Ended
    told: list[e.Event] = [
        e.RunStarted(time_unix_nano=now, **fields),
        e.ParamsLogged(time_unix_nano=now, host={"hostname": host}),
    ]
    for index, (step, seconds) in enumerate(durations.items()):
        ended = status if index == len(durations) - 1 else "completed"
        told.append(e.StepStarted(time_unix_nano=now, span_id=step, step_id=step))
        now += int(seconds * SECOND)
        told.append(
            e.StepFinished(
                time_unix_nano=now,
                span_id=step,
                status=ended,
                result="success",
                duration_seconds=seconds,
            )
        )
    end = e.RunFinished(
        time_unix_nano=now,
        status=status,
        result="success",
        duration_seconds=sum(durations.values()),
    )
    RunPaths(run_dir).journal.write_bytes(b"".join(map(encode_event, [*told, end])))
    if derived:
        write_derived(run_dir, load_run(run_dir).record)
    return run_dir
