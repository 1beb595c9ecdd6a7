"""Run directories of the original tracker: finding them, and writing their runs as runs of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from robot_sf_otel.interop.robot_sf import PIPELINE, NotImportable, read_history
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.store.imported import write_imported
from robot_sf_otel.store.layout import TRACKER_DIR, RunPaths
from robot_sf_otel.store.legacy import OLD_FORMAT, STEPS_FILE, is_old

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from robot_sf_otel.redaction import Redactor
    from robot_sf_otel.store.imported import Written


def import_old_runs(
    places: Iterable[Path],
    root: Path,
    now_ns: int,
    *,
    pipeline: str = PIPELINE,
    redact: Redactor | None = None,
) -> Iterator[Written | str]:
    """Write runs of the original tracker as runs of ours; yield what became of each.

    Args:
        places: As `find_old_runs` takes them.
        root: The artifact root that they are written to; it may be the one they lie in.
        now_ns: Unix nanoseconds.
        pipeline: The pipeline that they count for.
        redact: Masks secrets.

    Yields:
        What was written, or in words what could not be imported.

    Raises:
        OSError: A run cannot be written.
    """
    done: set[Path] = set()  # several files of a run are one run
    for place in places:
        found = find_old_runs(place)
        if not found:
            yield f"{place} holds no run of the original {OLD_FORMAT} tracker"
        for run_dir in found:
            if run_dir in done:
                continue
            done.add(run_dir)
            try:
                history = read_history(
                    run_dir, pipeline=pipeline, redact=redact, now=now_ns / NANOSECONDS
                )
            except NotImportable as error:
                yield str(error)
                continue
            yield write_imported(
                root,
                run_id=history.run_id,
                events=history.events,
                snapshots=history.samples,
                format=OLD_FORMAT,
                sources=[str(run_dir.absolute())],
                now_ns=now_ns,
            )
            yield from (f"{run_dir.name}: {problem}" for problem in history.problems)


def find_old_runs(place: Path) -> list[Path]:
    """Return the run directories at a place, by name; those in our own format are left out.

    Args:
        place: A run directory of the original tracker or a file of one, the `run-tracker` folder of
            many, or an artifact root that has one.
    """
    if place.is_file():
        folder = place.parent
        names = {RunPaths(folder).journal.name, RunPaths(folder).telemetry.name, STEPS_FILE}
        return [folder] if place.name in names and is_old(folder) else []
    for folder in (place, place / TRACKER_DIR):
        if is_old(folder):
            return [folder]
        try:
            inside = sorted(folder.iterdir())
        except OSError:
            continue
        found = [
            path
            for path in inside
            if not path.name.startswith(".")
            and path.is_dir()
            and not path.is_symlink()
            and is_old(path)
        ]
        if found:
            return found
    return []
