"""What is known of the surroundings of a run, as label and value, for every report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from robot_sf_otel.manifest.formats import number, percent

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import Eta, PipelineRunRecord


def environment_facts(record: PipelineRunRecord) -> dict[str, Any]:
    """Return commit, host, runtime, command and folders, in the order in which people ask."""
    facts: dict[str, Any] = {}
    if commit := record.vcs.get("commit"):
        facts["commit"] = f"{commit}{' (with uncommitted changes)' if is_dirty(record) else ''}"
    facts |= {name: item for name, item in record.vcs.items() if name not in {"commit", "dirty"}}
    facts |= {f"host {name}": item for name, item in record.host.items()}
    facts |= record.runtime
    if record.argv:
        facts["command"] = " ".join(record.argv)
    facts["working directory"] = record.cwd
    facts["run directory"] = record.artifact_dir
    facts["started by"] = record.initiator
    facts["trace id"] = record.trace_id
    return {name.replace("_", " "): item for name, item in facts.items() if item is not None}


def is_dirty(record: PipelineRunRecord) -> bool:
    """Return whether the working copy had changes that were not committed."""
    return bool(record.vcs.get("dirty"))


def evidence_sentence(evidence: dict[str, Any]) -> str:
    """Return `cpu_percent_process = 97.1 % (threshold 90 %)`, then whatever else was recorded."""
    rest = dict(evidence)
    parts: list[str] = []
    if (metric := rest.pop("metric", None)) is not None:
        unit = rest.pop("unit", None)
        ending = f" {unit}" if unit else ""
        text = f"{metric} = {value_phrase(rest.pop('value', None))}{ending}"
        if (threshold := rest.pop("threshold", None)) is not None:
            text += f" (threshold {value_phrase(threshold)}{ending})"
        parts.append(text)
    parts += [f"{name.replace('_', ' ')} {value_phrase(value)}" for name, value in rest.items()]
    return ", ".join(parts)


def eta_sentence(eta: Eta) -> str | None:
    """Return how good the ETAs of a completed run were, None where none was shown."""
    scores = eta.scores
    if scores is None or not scores.shown:
        return None
    parts = [
        f"off by {percent(error * 100)} of the run {when}"
        for error, when in (
            (scores.error_after_step_2, "after its second step"),
            (scores.error_at_half_time, "at half time"),
        )
        if error is not None
    ]
    if scores.share_inside_band is not None:
        parts.append(
            f"the end lay within the 80 % band in {percent(scores.share_inside_band * 100)}"
        )
    runs = "1 earlier run" if eta.history_runs == 1 else f"{eta.history_runs} earlier runs"
    times = "once" if scores.shown == 1 else f"{scores.shown} times"
    return f"An ETA was shown {times}, from {runs}: {', '.join(parts) or 'too late to be judged'}."


def value_phrase(value: object) -> str:
    """Return a recorded value as text: strings as they are, numbers short, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return number(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def exact_phrase(value: object) -> str:
    """Return a parameter or metric as text, its numbers with all the digits that matter."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**15:
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
