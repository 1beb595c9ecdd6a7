"""What a report does not know, said plainly: gaps, faults, lost processes, missing readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.formats import duration, number, percent, size, unavailable
from robot_sf_otel.report.html.axis import tick_text
from robot_sf_otel.report.html.parts import count, said

if TYPE_CHECKING:
    from robot_sf_otel.report.html.source import Source

_MOST: Final = 12


def honest_notes(source: Source) -> list[str]:
    """Return sentences, the most important first."""
    record, timeline = source.run.record, source.timeline
    notes = [said(problem, 500) for problem in source.run.problems]
    for pause in timeline.pauses:
        said_why = said(pause.reason, 200)
        notes.append(
            f"Closed at {tick_text(pause.at)} ({said_why}) and resumed {duration(pause.seconds)} "
            "later; the pause is left out of the time axis."
        )
    notes += _gaps(source)
    notes += [
        f"Lost process at {tick_text(timeline.at(at))}: {why}" for at, why in source.told.lost
    ]
    faults = [
        f"Telemetry fault at {tick_text(timeline.at(at))}: {what}"
        for at, what in source.told.faults
    ]
    notes += faults or [f"Telemetry fault: {said(fault, 500)}" for fault in record.self_cost.faults]
    if len(source.run.record.telemetry):
        missing = unavailable(record.telemetry)
        if missing:
            notes.append(missing)
    notes += [f"Sensors at {tick_text(at)}: {what}" for at, what in source.readings.notes[:_MOST]]
    if left := source.readings.metrics_left_out:
        notes.append(f"{count(left, 'more metric')} without a chart; all are in telemetry.jsonl.")
    cost = record.self_cost
    if cost.cpu_seconds is not None:
        share = percent(cost.share_of_run * 100) if cost.share_of_run is not None else "--"
        notes.append(
            f"Telemetry cost {duration(cost.cpu_seconds)} of CPU ({share} of the run), wrote "
            f"{size(cost.bytes_written)}, took {number(cost.samples_taken)} samples, missed "
            f"{number(cost.samples_missed)}, dropped {number(cost.events_dropped)} events."
        )
    return notes


def _gaps(source: Source) -> list[str]:
    if not source.readings.thinner.count:
        return ["No telemetry was recorded." if source.run.record.status != "pending" else ""]
    gaps = [
        (low, high)
        for low, high in source.readings.thinner.gaps()
        if not any(low <= pause.at <= high for pause in source.timeline.pauses)
    ]
    notes = [
        f"No samples from {tick_text(low)} to {tick_text(high)} ({duration(high - low)})."
        for low, high in gaps[:_MOST]
    ]
    if len(gaps) > _MOST:
        notes.append(f"{count(len(gaps) - _MOST, 'more gap')} in the samples.")
    return notes
