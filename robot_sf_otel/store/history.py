"""The runs of one or more artifact roots: filtered, learned from, and named by people."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.manifest.schema import SelfCost
from robot_sf_otel.store.directories import (
    Folder,
    find_runs,
    first_line,
    folders_newest_first,
    holds_run,
    newest_first,
    precise_start,
    started_ns,
)
from robot_sf_otel.store.index import Entry, Facts, RunIndex, facts_of
from robot_sf_otel.store.layout import TRACKER_DIR, RunPaths
from robot_sf_otel.store.reader import LoadedRun, UnreadableRun, load_run, unreadable_record
from robot_sf_otel.store.stamp import take_stamp

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord, StepExecutionEntry

LATEST: Final = "latest"
LEARNED_STEPS: Final = 20_000
"""Steps of earlier runs that are read to learn from: 0.2 s and 50 MB. Runs of 10,000 steps need no
more than a few of their kind."""
_NAMED: Final = 3
"""How many similar run ids an answer names."""
_COMPARED: Final = 2_000
"""How many of the newest runs an unknown id is compared with."""
_SHOWN: Final = 120


class RunNotFound(LookupError):  # noqa: N818 - said to people as it is
    """No run has this name; the message names similar ones."""


class AmbiguousRun(LookupError):  # noqa: N818 - said to people as it is
    """Several runs begin like this; the message names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filter:
    """What runs are asked for; None asks for nothing."""

    status: str | None = None
    scenario: str | None = None
    pipeline: str | None = None
    host: str | None = None
    tag: str | None = None

    def asks(self) -> bool:
        """Return whether there is a run that it could leave out."""
        return self != _Filter()

    def takes(self, run: Facts) -> bool:
        """Return whether a run is one of those that are asked for."""
        return (
            (self.status is None or run.status == self.status)
            and (self.pipeline is None or run.pipeline == self.pipeline)
            and (self.host is None or self.host in run.hosts)
            and (self.tag is None or self.tag in run.tags)
            and (self.scenario is None or _is_scenario(run.scenario, self.scenario))
        )


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
    wanted = _Filter(status=status, scenario=scenario, pipeline=pipeline, host=host, tag=tag)
    folders = _between(folders_newest_first(roots), since_ns, until_ns)
    with closing(_matching(folders, wanted)) as matching:
        return list(itertools.islice(matching, limit))


def earlier_runs(
    roots: Sequence[Path],
    *,
    pipeline: str,
    before_ns: int | None = None,
    limit: int = 50,
    steps: int = LEARNED_STEPS,
    unread: int | None = None,
) -> list[PipelineRunRecord]:
    """Return the newest completed runs of a pipeline, oldest first, to learn durations from.

    Their records are slim: identity, parameters, host and summary, and of each step its outcome,
    times, progress and bill.

    Args:
        roots: Artifact roots.
        pipeline: Name of the pipeline.
        before_ns: Only runs that began before this time, Unix nanoseconds.
        limit: How many at most.
        steps: How many steps they may have together; the run that exceeds it is the last one.
        unread: How many runs that the index does not know are read at most, where an answer in
            time is worth more than a whole one; None for all.
    """
    wanted = _Filter(status="completed", pipeline=pipeline)
    folders = _between(folders_newest_first(roots), None, before_ns)
    with closing(_matching(folders, wanted, unread)) as matching:
        newest: list[PipelineRunRecord] = []
        seen = 0
        for run in itertools.islice(matching, limit):
            newest.append(_slim(run.record))
            seen += len(run.record.steps)
            if seen > steps:
                break
    return newest[::-1]


def _slim(record: PipelineRunRecord) -> PipelineRunRecord:
    return msgspec.structs.replace(
        record,
        argv=[],
        vcs={},
        runtime={},
        steps=[_slim_step(step) for step in record.steps],
        anomalies=[],
        recommendations=[],
        perf_tests=[],
        artifacts=[],
        telemetry={},
        self_cost=SelfCost(),
    )


def _slim_step(step: StepExecutionEntry) -> StepExecutionEntry:
    return msgspec.structs.replace(step, metrics={}, artifacts=[], error=None)


def _between(
    folders: Iterator[Folder], since_ns: int | None, until_ns: int | None
) -> Iterator[Folder]:
    """Yield the runs that began in a span of time, of those that come newest first."""
    if since_ns is None and until_ns is None:
        yield from folders
        return
    edges = {None if edge is None else edge // NANOSECONDS for edge in (since_ns, until_ns)}
    for folder in folders:
        begun = folder.second * NANOSECONDS
        if folder.second in edges:
            begun = precise_start(Path(folder.path))
        if until_ns is not None and begun >= until_ns:
            continue
        if since_ns is not None and begun < since_ns:
            if folder.second < since_ns // NANOSECONDS:
                break
            continue
        yield folder


def _matching(
    folders: Iterator[Folder], wanted: _Filter, unread: int | None = None
) -> Generator[LoadedRun]:
    """Yield the runs that are asked for; the index tells which ones need not be read."""
    if not wanted.asks():
        yield from filter(None, map(_readable, folders))
        return
    indexes: dict[str, RunIndex] = {}
    try:
        for folder in folders:
            index = indexes.get(folder.tracker)
            if index is None:
                index = indexes[folder.tracker] = RunIndex(Path(folder.tracker))
            entry = index.entries.get(folder.name)
            if entry is not None and entry.stamp == take_stamp(folder.path):
                run = _readable(folder) if wanted.takes(entry.facts) else None
            elif unread == 0:
                continue
            else:
                unread = None if unread is None else unread - 1
                run = _readable(folder)
                if run is not None:
                    _note(index, run)
            if run is not None and wanted.takes(facts_of(run.record)):
                yield run
    finally:
        for index in indexes.values():
            index.save()


def _note(index: RunIndex, run: LoadedRun) -> None:
    """Put a run into the index if it has ended for good and did not change while it was read."""
    if run.stamp is not None and run.stamp == take_stamp(str(run.run_dir)):
        index.add(Entry(run.run_dir.name, run.stamp, facts_of(run.record)))


def _readable(folder: Folder) -> LoadedRun | None:
    """Return a run, with the reason where it cannot be read; None where there is none."""
    run_dir = Path(folder.path)
    if not holds_run(folder.path):
        return None
    try:
        return load_run(run_dir, telemetry=False)
    except UnreadableRun as error:
        if not run_dir.exists():
            return None
        reason = str(error)
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{run_dir} cannot be read: {error}"
    return LoadedRun(run_dir, unreadable_record(run_dir, reason), [reason])


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


__all__ = [
    "LATEST",
    "AmbiguousRun",
    "RunNotFound",
    "earlier_runs",
    "find_runs",
    "first_line",
    "list_loaded",
    "list_records",
    "newest_first",
    "resolve_run",
    "started_ns",
]
