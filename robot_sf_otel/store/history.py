"""The runs of one or more artifact roots: found, filtered, and named by people."""

from __future__ import annotations

import calendar
import difflib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.codec import decode_raw
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.store.layout import TRACKER_DIR, RunPaths
from robot_sf_otel.store.lines import BYTE_ORDER_MARK, bare, open_for_reading
from robot_sf_otel.store.reader import LoadedRun, UnreadableRun, load_run, unreadable_record

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord

LATEST: Final = "latest"
_STAMP: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-")
_NAMED: Final = 3
"""How many similar run ids an answer names."""
_HEAD: Final = 1024 * 1024
_COMPARED: Final = 2_000
"""How many of the newest runs an unknown id is compared with."""
_SHOWN: Final = 120


class RunNotFound(LookupError):  # noqa: N818 - said to people as it is
    """No run has this name; the message names similar ones."""


class AmbiguousRun(LookupError):  # noqa: N818 - said to people as it is
    """Several runs begin like this; the message names them."""


def find_runs(roots: Sequence[Path]) -> list[Path]:
    """Return the run directories under artifact roots, in no order; links are not followed."""
    found: dict[str, Path] = {}
    for root in roots:
        tracker = root / TRACKER_DIR
        try:
            with os.scandir(tracker) as entries:
                names = [
                    entry.name
                    for entry in entries
                    # A hidden one is what a `prune` has taken out but not deleted yet.
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                ]
        except (OSError, ValueError):
            continue
        real = os.path.realpath(tracker)  # two roots may be one
        for name in names:
            if os.path.isfile(f"{real}/{name}/manifest.jsonl"):  # noqa: PTH113 - 10,000 of them
                found.setdefault(f"{real}/{name}", tracker / name)
    return list(found.values())


def started_ns(run_dir: Path) -> int:
    """Return when a run began, in Unix nanoseconds: from its id, else from its first event."""
    stamp = stamp_seconds(run_dir.name)
    return _precise_start(run_dir) if stamp is None else stamp * NANOSECONDS


def stamp_seconds(name: str) -> int | None:
    """Return the time in a generated run id as Unix seconds, None where there is none."""
    stamp = _STAMP.match(name)
    if stamp is None:
        return None
    year, month, day, hour, minute, second = map(int, stamp.groups())
    try:
        return calendar.timegm((year, month, day, hour, minute, second))
    except (ValueError, OverflowError):
        return None


def _precise_start(run_dir: Path) -> int:
    first = first_line(run_dir)
    begun = first.get("time_unix_nano")
    if isinstance(begun, int):
        return begun
    created = first.get("created_at")  # the original tracker
    try:
        if isinstance(created, str):
            return int(datetime.fromisoformat(created).timestamp() * NANOSECONDS)
    except (ValueError, OverflowError):
        pass
    try:
        return run_dir.stat().st_mtime_ns
    except OSError:
        return 0


def first_line(run_dir: Path) -> dict[str, Any]:
    """Return what the first line of a run's journal holds, nothing where it cannot be read."""
    fd = open_for_reading(RunPaths(run_dir).journal)
    if fd is None:
        return {}
    try:
        line = os.pread(fd, _HEAD, 0).partition(b"\n")[0]
        return decode_raw(bare(line.removeprefix(BYTE_ORDER_MARK))) or {}
    except (OSError, ValueError):
        return {}
    finally:
        os.close(fd)


def newest_first(roots: Sequence[Path]) -> Iterator[Path]:
    """Yield the run directories under artifact roots, newest first.

    The time in a run id orders them without a file being read; only runs of the same second, and
    those with names of their own, are looked into.
    """
    runs = sorted(
        ((started_ns(run_dir), run_dir) for run_dir in find_runs(roots)),
        key=lambda run: run[0] // NANOSECONDS,
        reverse=True,
    )
    for _, same_second in itertools.groupby(runs, key=lambda run: run[0] // NANOSECONDS):
        together = [run_dir for _, run_dir in same_second]
        if len(together) > 1:
            together.sort(key=lambda run_dir: (_precise_start(run_dir), run_dir.name), reverse=True)
        yield from together


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
    """Return records without their steps, newest first.

    A run that cannot be read is listed with the reason, and never hides the others.

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
    records = [
        run.record
        for run in list_loaded(
            roots,
            limit=limit,
            status=status,
            since_ns=since_ns,
            until_ns=until_ns,
            scenario=scenario,
            pipeline=pipeline,
            host=host,
            tag=tag,
        )
    ]
    for record in records:
        record.steps = []
    return records


def list_loaded(
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
) -> list[LoadedRun]:
    """Return what `list_records` does, with the steps and the directory of each run."""
    matching = (
        run
        for run in _readable(roots, since_ns, until_ns)
        if (status is None or run.record.status == status)
        and (pipeline is None or run.record.pipeline == pipeline)
        and (host is None or host in {run.record.host.get("hostname"), run.record.host.get("name")})
        and (tag is None or tag in run.record.tags)
        and (scenario is None or _is_scenario(run.record.scenario_config_path, scenario))
    )
    return list(itertools.islice(matching, limit))


def _readable(
    roots: Sequence[Path], since_ns: int | None, until_ns: int | None
) -> Iterator[LoadedRun]:
    for run_dir in newest_first(roots):
        begun = started_ns(run_dir)
        if begun in {_second(since_ns), _second(until_ns)}:
            begun = _precise_start(run_dir)
        if until_ns is not None and begun >= until_ns:
            continue
        if since_ns is not None and begun < since_ns:
            if begun < (since_ns // NANOSECONDS) * NANOSECONDS:
                break
            continue
        try:
            run = load_run(run_dir, telemetry=False)
        except UnreadableRun as error:
            if not run_dir.exists():  # deleted since it was found
                continue
            run = LoadedRun(run_dir, unreadable_record(run_dir, str(error)), [str(error)])
        except (OSError, ValueError, RecursionError) as error:
            reason = f"{run_dir} cannot be read: {error}"
            run = LoadedRun(run_dir, unreadable_record(run_dir, reason), [reason])
        yield run


def _second(time_ns: int | None) -> int | None:
    """Return the second of a time, as it stands in a run id."""
    return None if time_ns is None else time_ns // NANOSECONDS * NANOSECONDS


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
    runs = find_runs(roots)
    if text == LATEST and runs:
        return next(newest_first(roots))
    exact = [run for run in runs if run.name == text]
    if exact:
        return _only(exact, text, "are named")
    path = _path_of_run(text)
    if path is not None:
        return path
    recorded = [run for run in runs if _records_id(run, text)] if text else []
    if recorded:
        return _only(recorded, text, "recorded the id")
    begun = [run for run in runs if run.name.startswith(text)] if text else []
    if begun:
        return _only(begun, text, "begin with")
    raise RunNotFound(_not_found(roots, text))


def _only(runs: Sequence[Path], text: str, how: str) -> Path:
    if len(runs) == 1:
        return runs[0]
    distinct = len({run.name for run in runs}) == len(runs)
    shown = sorted((run.name if distinct else str(run) for run in runs), reverse=True)
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    raise AmbiguousRun(f"{len(runs)} runs {how} {text!r}: {', '.join(shown[:_NAMED])}{more}")


def _path_of_run(text: str) -> Path | None:
    """Return the run directory that a path names, or that holds the file which it names."""
    if not text.strip():
        return None
    try:
        path = Path(text).expanduser()
        for candidate in (path, path.parent):
            if path.exists() and RunPaths(candidate).journal.is_file():
                return candidate.absolute()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no such user's home
        pass
    return None


def _records_id(run_dir: Path, text: str) -> bool:
    return first_line(run_dir).get("run_id") == text


def _not_found(roots: Sequence[Path], text: str) -> str:
    names = [run.name for run in itertools.islice(newest_first(roots), _COMPARED)]
    if not names:
        places = ", ".join(str(root / TRACKER_DIR) for root in roots)
        return f"there are no runs under {places}"
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    close = difflib.get_close_matches(text[:_SHOWN], names, n=_NAMED, cutoff=0.0)
    return f"no run {shown!r}; the closest are {', '.join(close)}"
