"""The runs of one or more artifact roots: found, filtered, and named by people."""

from __future__ import annotations

import calendar
import difflib
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from robot_sf_otel.manifest.codec import decode_raw
from robot_sf_otel.store.layout import TRACKER_DIR, RunPaths
from robot_sf_otel.store.reader import UnreadableRun, load_run

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord

LATEST: Final = "latest"
_STAMP: Final = re.compile(r"(\d{8}T\d{6})Z-")
_NAMED: Final = 3
"""How many similar run ids an answer names."""
_HEAD: Final = 65_536


class RunNotFound(LookupError):  # noqa: N818 - said to people as it is
    """No run has this name; the message names similar ones."""


class AmbiguousRun(LookupError):  # noqa: N818 - said to people as it is
    """Several runs begin like this; the message names them."""


def find_runs(roots: Sequence[Path]) -> list[Path]:
    """Return the run directories under artifact roots, in no order; links are not followed."""
    found: list[Path] = []
    for root in roots:
        try:
            children = list((root / TRACKER_DIR).iterdir())
        except OSError:
            continue
        found.extend(
            path for path in children if not path.is_symlink() and RunPaths(path).journal.is_file()
        )
    return found


def started_ns(run_dir: Path) -> int:
    """Return when a run began, in Unix nanoseconds: from its id, else from its first event."""
    stamp = _STAMP.match(run_dir.name)
    if stamp is not None:
        try:
            return calendar.timegm(time.strptime(stamp[1], "%Y%m%dT%H%M%S")) * 1_000_000_000
        except ValueError:
            pass
    try:
        with RunPaths(run_dir).journal.open("rb") as file:
            first = decode_raw(file.readline(_HEAD))
            begun = (first or {}).get("time_unix_nano")
            return begun if isinstance(begun, int) else int(run_dir.stat().st_mtime_ns)
    except OSError:
        return 0


def newest_first(roots: Sequence[Path]) -> list[Path]:
    """Return the run directories under artifact roots, newest first."""
    return sorted(find_runs(roots), key=lambda run: (started_ns(run), run.name), reverse=True)


def list_records(
    roots: Sequence[Path],
    *,
    limit: int | None = 20,
    status: str | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
    scenario: str | None = None,
    pipeline: str | None = None,
    host: str | None = None,
    tag: str | None = None,
) -> list[PipelineRunRecord]:
    """Return records, newest first; a run that cannot be read never hides the others.

    Args:
        roots: Artifact roots.
        limit: How many at most; None for all.
        status: Only runs with this status.
        since_ns: Only runs that began at or after this time, Unix nanoseconds.
        until_ns: Only runs that began before this time, Unix nanoseconds.
        scenario: Only runs of this scenario: its identifier, path or file name.
        pipeline: Only runs of this pipeline.
        host: Only runs on this host.
        tag: Only runs with this tag.
    """
    found: list[PipelineRunRecord] = []
    for record in _readable(roots, since_ns, until_ns):
        if limit is not None and len(found) >= limit:
            break
        if (
            (status is None or record.status == status)
            and (pipeline is None or record.pipeline == pipeline)
            and (host is None or record.host.get("hostname") == host)
            and (tag is None or tag in record.tags)
            and (scenario is None or _is_scenario(record.scenario_config_path, scenario))
        ):
            found.append(record)
    return found


def _readable(
    roots: Sequence[Path], since_ns: int | None, until_ns: int | None
) -> Iterator[PipelineRunRecord]:
    for run_dir in newest_first(roots):
        begun = started_ns(run_dir)
        if until_ns is not None and begun >= until_ns:
            continue
        if since_ns is not None and begun < since_ns:
            break
        try:
            yield load_run(run_dir).record
        except (UnreadableRun, OSError, msgspec.MsgspecError):
            continue


def _is_scenario(recorded: str | None, wanted: str) -> bool:
    return recorded is not None and (
        recorded == wanted or Path(recorded).name == wanted or Path(recorded).stem == wanted
    )


def resolve_run(roots: Sequence[Path], text: str) -> Path:
    """Return the directory of a run that a person names.

    Args:
        roots: Artifact roots.
        text: A run id, a unique prefix of one, a path, or `latest`. An exact id beats a prefix, a
            directory name beats a recorded id.

    Raises:
        RunNotFound: There is none; the message names the closest ones.
        AmbiguousRun: Several begin like this.
    """
    runs = newest_first(roots)
    if text == LATEST and runs:
        return runs[0]
    exact = [run for run in runs if run.name == text]
    if exact:
        return exact[0]
    path = Path(text)
    if RunPaths(path).journal.is_file():
        return path.absolute()
    if path.is_file() and RunPaths(path.parent).journal.is_file():
        return path.parent.absolute()
    recorded = [run for run in runs if _recorded_id(run) == text]
    if recorded:
        return recorded[0]
    begun = [run for run in runs if run.name.startswith(text)] if text else []
    if len(begun) == 1:
        return begun[0]
    if begun:
        names = ", ".join(run.name for run in begun[:_NAMED])
        more = f" and {len(begun) - _NAMED} more" if len(begun) > _NAMED else ""
        raise AmbiguousRun(f"{len(begun)} runs begin with {text!r}: {names}{more}")
    raise RunNotFound(_not_found(roots, runs, text))


def _recorded_id(run_dir: Path) -> str | None:
    try:
        with RunPaths(run_dir).journal.open("rb") as file:
            recorded = (decode_raw(file.readline(_HEAD)) or {}).get("run_id")
    except OSError:
        return None
    return recorded if isinstance(recorded, str) else None


def _not_found(roots: Sequence[Path], runs: Sequence[Path], text: str) -> str:
    if not runs:
        places = ", ".join(str(root / TRACKER_DIR) for root in roots)
        return f"there are no runs under {places}"
    names = [run.name for run in runs]
    close = difflib.get_close_matches(text, names, n=_NAMED, cutoff=0.3) or names[:_NAMED]
    return f"no run {text!r}; the closest are {', '.join(close)}"
