"""The earlier runs of a pipeline, for what compares a run with its history."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from robot_sf_otel.store.history import newest_first
from robot_sf_otel.store.reader import UnreadableRun, load_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord

LOOKED_AT: Final = 200
"""Runs that are read at most, the newest ones: a live run must not read 10,000."""


def earlier_runs(
    roots: Sequence[Path], pipeline: str, *, without: str, limit: int = 20
) -> list[PipelineRunRecord]:
    """Return the newest completed runs of a pipeline; those that cannot be read are left out.

    Args:
        roots: Artifact roots.
        pipeline: Name of the pipeline.
        without: Id of a run that is left out: the one that is compared.
        limit: How many at most.
    """
    found: list[PipelineRunRecord] = []
    for run_dir in islice(newest_first(roots), LOOKED_AT):
        if run_dir.name == without:
            continue
        try:
            record = load_run(run_dir, telemetry=False).record
        except (UnreadableRun, OSError, ValueError):
            continue
        if record.pipeline == pipeline and record.status == "completed":
            found.append(record)
            if len(found) >= limit:
                break
    return found
