"""The table of runs that differ in their seeds only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.facts import exact_phrase
from robot_sf_otel.manifest.formats import UNKNOWN, duration, number
from robot_sf_otel.report.page import Page, plain
from robot_sf_otel.report.tables import short_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from robot_sf_otel.analysis.groups import RunGroup, Spread

_WIDE: Final = 110
_CELL: Final = 40
_METRICS: Final = 3
_SEEDS: Final = 24
_STATES: Final = ("running", "pending", "completed", "failed", "cancelled")


def add_groups(page: Page, groups: Sequence[RunGroup], now: datetime) -> None:
    """Add a row for each group; a narrow page leaves out the range of durations and the metrics."""
    wide = page.width >= _WIDE
    head = ["GROUP", "RUNS:", "STATUS", "SEEDS", "DURATION:", "NEWEST"]
    head = [*head[:5], "METRICS", *head[5:]] if wide else head[:5]
    rows: list[list[str]] = []
    for group in groups:
        row = [
            _name(group),
            str(group.runs),
            _states(group, brief=not wide),
            plain(_seeds(group), _SEEDS if wide else _SEEDS // 2) or UNKNOWN,
            _durations(group.duration_seconds, wide=wide),
        ]
        if wide:
            row += [_metrics(group), short_time(group.newest, now)]
        rows.append(row)
    page.table(head, rows, wrap=0)
    page.line("Durations are the median (and range), metrics mean ± sd, of completed runs.", "dim")


def _name(group: RunGroup) -> str:
    parts = [plain(group.pipeline, _CELL)]
    if group.scenario:
        parts.append(plain(group.scenario, _CELL))
    parts += [
        f"{plain(name, _CELL)}={plain(exact_phrase(value), _CELL)}"
        for name, value in group.params.items()
    ]
    return " ".join(parts)


def _states(group: RunGroup, *, brief: bool) -> str:
    if brief and len(group.statuses) == 1:
        return next(iter(group.statuses))
    return ", ".join(
        f"{group.statuses[state]} {state}" for state in _STATES if state in group.statuses
    )


def _seeds(group: RunGroup) -> str:
    """Return the seeds, whole numbers in a row as a range: `0-4, 7`."""
    values = [value for seeds in group.seeds for value in seeds.values()]
    whole = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    if len(whole) < len(values):
        return ", ".join(dict.fromkeys(exact_phrase(value) for value in values))
    ranges: list[list[int]] = []
    for value in sorted(set(whole)):
        if ranges and value == ranges[-1][-1] + 1:
            ranges[-1][1:] = [value]
        else:
            ranges.append([value])
    return ", ".join("-".join(map(str, part)) for part in ranges)


def _durations(spread: Spread | None, *, wide: bool) -> str:
    if spread is None:
        return UNKNOWN
    middle = duration(spread.median)
    if not wide or spread.runs == 1:
        return middle
    return f"{middle} ({duration(spread.minimum)} to {duration(spread.maximum)})"


def _metrics(group: RunGroup) -> str:
    shown = [
        f"{plain(name, _CELL)} {_mean(spread)}"
        for name, spread in list(group.metrics.items())[:_METRICS]
    ]
    more = len(group.metrics) - len(shown)
    return ", ".join(shown) + (f", … {more} more" if more else "")


def _mean(spread: Spread) -> str:
    mean = number(spread.mean)
    return mean if spread.sd is None else f"{mean} ± {number(spread.sd)}"


def as_json(groups: Sequence[RunGroup]) -> list[dict[str, Any]]:
    """Return the groups as JSON has them."""
    import msgspec

    return [msgspec.to_builtins(group) for group in groups]
