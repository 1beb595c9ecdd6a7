"""What a report is made of, read from a run directory and its neighbours; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from robot_sf_otel.analysis.durations import comparable
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.formats import one_line
from robot_sf_otel.report.html.readings import Readings
from robot_sf_otel.report.html.timeline import Timeline, timeline_of
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.reader import UnreadableRun, load_run, run_events
from robot_sf_otel.store.telemetry import last_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_sf_otel.manifest.schema import Eta, PipelineRunRecord
    from robot_sf_otel.store.reader import LoadedRun

_MOST_ETAS: Final = 3_000
_MOST_TOLD: Final = 200


@dataclass(slots=True)
class Told:
    """What the journal says beyond the record.

    Attributes:
        marks: Events that open and close sessions.
        etas: ETAs that were shown, with the Unix second and the seconds that the run had run.
        faults: What failed in telemetry itself, with the Unix second.
        lost: Child processes that ended without a word, with the Unix second.
        last: Unix seconds of the last event, None where there is none.
    """

    marks: list[e.Event] = field(default_factory=list[e.Event])
    etas: list[tuple[float, float | None, Eta]] = field(
        default_factory=list[tuple[float, float | None, "Eta"]]
    )
    faults: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    lost: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    last: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A run with all that its report shows.

    Attributes:
        run: The run as it was read.
        told: What its journal says beyond the record.
        timeline: The axis.
        readings: The samples on it.
        earlier: Comparable completed runs before it, the oldest first; slim records.
        last_good: The last one of them, whole; None where there is none.
    """

    run: LoadedRun
    told: Told
    timeline: Timeline
    readings: Readings
    earlier: Sequence[PipelineRunRecord] = ()
    last_good: PipelineRunRecord | None = None


def read_source(run: LoadedRun, earlier: Sequence[PipelineRunRecord] = ()) -> Source:
    """Return what the report of a run is made of.

    Args:
        run: The run.
        earlier: Completed runs of its pipeline and root, the oldest first.
    """
    told, timeline = read_timeline(run)
    like = [record for record in earlier if comparable(run.record, record)]
    return Source(
        run=run,
        told=told,
        timeline=timeline,
        readings=Readings(run.telemetry(), timeline),
        earlier=like,
        last_good=_whole(run, like[-1]) if like else None,
    )


def read_timeline(run: LoadedRun) -> tuple[Told, Timeline]:
    """Return what the journal of a run says beyond its record, and its time axis."""
    told = _told(run)
    sample = last_snapshot(RunPaths(run.run_dir).telemetry)
    signs = [told.last, None if sample is None else sample.timestamp_ms / 1000]
    until = max((sign for sign in signs if sign is not None), default=None)
    return told, timeline_of(run.record, told.marks, until)


def _told(run: LoadedRun) -> Told:
    told = Told()
    for event in run_events(run.run_dir):
        moment = event.time_unix_nano / e.NANOSECONDS
        told.last = moment if told.last is None else max(told.last, moment)
        match event:
            case e.RunStarted() | e.RunResumed() | e.RunFinished() | e.RunRecovered():
                told.marks.append(event)
            case e.EtaShown():
                told.etas.append((moment, event.elapsed_seconds, event.eta))
            case e.TelemetryFault() if len(told.faults) < _MOST_TOLD:
                times = f" ({event.count} times)" if event.count > 1 else ""
                said = one_line(f"{event.where}: {event.message}{times}", 500)
                told.faults.append((moment, said))
            case e.WorkerLost() if len(told.lost) < _MOST_TOLD:
                why = f": {event.reason}" if event.reason else ""
                told.lost.append((moment, one_line(f"{event.process}{why}", 500)))
            case _:
                pass
    stride = -(-len(told.etas) // _MOST_ETAS)
    if stride > 1:
        told.etas = told.etas[::stride]
    return told


def _whole(run: LoadedRun, record: PipelineRunRecord) -> PipelineRunRecord:
    """Return an earlier run with its surroundings, which what durations are learned from lacks."""
    try:
        found = load_run(run.run_dir.parent / record.run_id, telemetry=False).record
    except (UnreadableRun, OSError, ValueError):
        return record
    return found if found.run_id == record.run_id else record
