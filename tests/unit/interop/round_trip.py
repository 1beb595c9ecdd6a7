"""A run out as OTLP JSON lines and back, and what of a record survives that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from robot_sf_otel.interop.otlp_import import import_files
from robot_sf_otel.interop.outbound import Outbound, write_files
from robot_sf_otel.redaction import Redactor
from robot_sf_otel.redaction.outgoing import Outgoing
from robot_sf_otel.store.imported import Written
from robot_sf_otel.store.reader import LoadedRun, load_run

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord

REDACT = Redactor()
NOW = 1_770_000_000_000_000_000


def export(run_dir: Path, folder: Path, *, private: bool = False) -> list[Path]:
    """Return the files that an export writes."""
    outbound = Outbound(run_dir, Outgoing(REDACT, private=private), dead=True)
    write_files(outbound, folder, "1.2.3")
    return sorted(folder.iterdir())


def bring(files: list[Path], root: Path) -> tuple[list[LoadedRun], list[str]]:
    """Return the runs that files are imported as, and what was said."""
    outcomes = list(import_files(files, root, NOW, REDACT))
    runs = [load_run(one.run_dir) for one in outcomes if isinstance(one, Written)]
    return runs, [one for one in outcomes if isinstance(one, str)]


def there_and_back(run_dir: Path, folder: Path) -> LoadedRun:
    """Return a run that was exported and imported."""
    (run,), problems = bring(export(run_dir, folder / "otlp"), folder / "imported")
    assert problems == []
    return run


def carried(record: PipelineRunRecord) -> dict[str, Any]:
    """Return of a record what OTLP carries: the page on importing lists what it does not."""
    told: dict[str, Any] = msgspec.to_builtins(record)
    for name in (
        *("argv", "cwd", "initiator", "params", "seeds", "vcs", "runtime", "host"),
        *("artifact_dir", "artifacts", "perf_tests", "eta", "self", "imported"),
        *("enabled_steps", "duration_seconds"),
    ):
        del told[name]
    for name in ("steps_total", "total_duration_seconds", "avg_steps_per_sec"):
        del told["summary"][name]
    told["summary"]["custom"] = {
        name: value for name, value in record.summary.custom.items() if isinstance(value, float)
    }
    # Steps that never began have no span.
    told["steps"] = [step for step in told["steps"] if step["started_at"] is not None]
    for step in told["steps"]:
        for name in (
            *("order", "usage", "artifacts", "eta_snapshot_seconds", "progress_curve"),
            "duration_seconds",
        ):
            del step[name]
        del step["progress"]["rate"]
        if step["error"] is not None:
            del step["error"]["exit_code"]
        step["metrics"] = {
            name: value for name, value in step["metrics"].items() if isinstance(value, float)
        }
    for finding in (*told["recommendations"], *told["anomalies"]):
        del finding["evidence"], finding["trigger"]
    return told
