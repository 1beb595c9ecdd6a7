"""The pages whose figures were measured: both follow from benchmarks/measured.json.

`make bench-page` measures, writes that file and these pages. No figure is typed by hand: a page
names a row of the table, and one that is not there is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks import overhead, step_cost, trackers
from benchmarks.table import Report, as_markdown, header, seconds

if TYPE_CHECKING:
    from benchmarks.results import Row

MEASURED = Path(__file__).parents[1] / "benchmarks/measured.json"
_NOTE = "<!-- Written by `make bench-page` from benchmarks/measured.json; changes belong there. -->"
_TEN = 10.0
"""Ratios from here on are shown without decimals."""


def pages() -> dict[str, str]:
    """Return the text of both pages, by their path below the repository's root."""
    report = msgspec.json.decode(MEASURED.read_bytes(), type=Report)
    return {
        "docs/reference/benchmark-results.md": results(report),
        "docs/explanation/overhead.md": costs(report),
    }


def results(report: Report) -> str:
    """Return the page with everything that was measured."""
    return "\n".join(
        [
            "# Measured",
            "",
            _NOTE,
            "",
            "What `make bench-page` last measured, in one go.",
            "[What the rows mean, and how to measure it yourself](benchmarks.md).",
            "",
            "## Beside other trackers",
            "",
            *_beside(report),
            "",
            "## Everything",
            "",
            as_markdown(report),
            "",
        ]
    )


def costs(report: Report) -> str:
    """Return the page that says what tracking costs, and why it costs no more."""
    pick = _Picked(report.rows)
    python, numpy = (
        pick(f"overhead, units of 1 ms in {kind}, interval 1 s", overhead.COST)
        for kind in ("pure Python", "NumPy")
    )
    group = next(row.group for row in report.rows if row.name == step_cost.STEP)
    step, span = pick(group, step_cost.STEP), pick(group, step_cost.SPAN)
    writes = pick(group, step_cost.WRITES)
    advance = pick("progress, in a step", "this.advance()")
    update = pick("progress, in a step", "tqdm.update()")
    sample = pick("telemetry, tree of 10, some 300 on the host", "one reading of all sensors")
    others = pick("telemetry, tree of 10, some 300 on the host", "psutil: children, oneshot")
    disk = pick("samples of a real run, tree of 10", "telemetry.jsonl of 24 h, a sample a second")
    opened = next(row for row in report.rows if row.name == "open the first run of a process")
    text = _COSTS.format(
        note=_NOTE,
        python=_share(python),
        numpy=_share(numpy),
        step=_wall(step),
        span=_wall(span),
        writes=_wall(writes),
        advance=_wall(advance),
        update=_wall(update),
        sample=_cpu(sample),
        psutil=_cpu(others),
        disk=_value(disk),
        opened=_wall(opened),
        table="\n".join(_beside(report)),
    )
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


class _Picked:
    """Finds rows by group and name.

    Args:
        rows: All rows.
    """

    def __init__(self, rows: list[Row]) -> None:
        self._rows = {(row.group, row.name): row for row in rows}

    def __call__(self, group: str, name: str) -> Row:
        """Return one row.

        Raises:
            LookupError: It was not measured.
        """
        if (group, name) not in self._rows:
            raise LookupError(f"no row {name!r} in {group!r}: measure again with `make bench-page`")
        return self._rows[group, name]


def _beside(report: Report) -> list[str]:
    """Return the table of all trackers, with ratios to this package, and the facts below it."""
    pick = _Picked(report.rows)
    groups = [*trackers.GROUPS.values(), trackers.WHOLE, trackers.KEPT]
    names = [row.name for row in report.rows if row.group == trackers.WHOLE]
    lines = [
        "| | opens a run | a step | a unit | closes it | CPU of the program | on disk |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        cells: list[str] = []
        for group in groups:
            if name == trackers.NOTHING and group != trackers.WHOLE:
                cells.append("")
                continue
            row = pick(group, name)
            if group == trackers.KEPT:
                cells.append(_value(row))
            elif group == trackers.WHOLE:
                cells.append(_with_ratio(_cpu(row), row.ratio))
            else:
                cells.append(_with_ratio(_wall(row), row.ratio))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    facts = [f"- {fact}" for fact in header(report)[:4]]
    return [*lines, "", _BESIDE, "", *facts]


def _with_ratio(text: str, ratio: float | None) -> str:
    if ratio is None:
        return text
    return f"{text} ({ratio:,.0f}×)" if ratio >= _TEN else f"{text} ({ratio:.2g}×)"


def _wall(row: Row) -> str:
    return seconds(row.wall.median if row.wall is not None else None)


def _cpu(row: Row) -> str:
    return seconds(row.cpu.median if row.cpu is not None else None)


def _value(row: Row) -> str:
    return "--" if row.figure is None else f"{row.figure.value:.3g} {row.figure.unit}"


def _share(row: Row) -> str:
    if row.figure is None or row.figure.low is None or row.figure.high is None:
        return _value(row)
    return f"{row.figure.value:.2f} % ({row.figure.low:.2f} to {row.figure.high:.2f})"


_BESIDE = """\
The same small training under each, in processes of their own and in turn: three steps of 500
units of 2 ms, progress at each unit, a metric at every tenth. The machine was in use meanwhile
(the load is below), so compare ratios. Medians; ratios are to this package, those of the
program's CPU time to the training alone, interpreter and imports included. They do not keep the
same: tqdm keeps nothing, W&B and MLflow keep every value of a metric, this package and the SDK
one a second. MLflow makes its database first, and writes each metric before it returns. The
first step of a process imports what later ones find loaded, and is one of three here. A step is
a child run in MLflow, a prefix in W&B, a bar in tqdm. Of this package a step is on the disk
when it returns."""

_COSTS = """\
# What it costs

{note}

Telemetry must not slow what it watches. This is what was measured, and why it is no more. [All
figures](../reference/benchmark-results.md), [how they are
measured](../reference/benchmarks.md); `make bench-page` measures again and rewrites both pages.

## A training loop

With a unit of progress each millisecond and a sample a second, tracking cost {python} of the
time of a loop in pure Python and {numpy} of one in NumPy (95 % interval in brackets). The limit
is 1 %.

## Where it goes

- **A unit of progress** is an addition: `advance()` takes {advance}, tqdm's `update()`
  {update}. No lock, no clock, no file; the monitor thread comes and looks. That is why the rate
  of a step is known to one interval and not to one unit.
- **A step** takes {step}, of which two bare synced appends take {writes}: its start and its end
  are on the disk when the code goes on. A span of the SDK with a batch processor takes {span}
  and is lost with the process. Steps are minutes, so durability is what counts; put `track` or
  `advance` into loops, not steps.
- **A sample** of a tree of ten processes on a host with 300 takes {sample} of CPU, by files of
  `/proc` that stay open; a walk with psutil takes {psutil}. It is taken by a thread, so that it
  costs the loop what the GIL and the caches cost. Samples that would take more than 1 % of a
  core are taken less often, and the record says so.
- **The manifest** is rewritten by that thread at most once a second, and less often where that
  takes over 1 % of the time.
- **The start of a run** takes {opened} and imports the SDK; without `configure()` neither
  happens.
- **On disk** a day of samples is {disk}.

Each record tells what its own telemetry cost: `self` in `manifest.json`, and the last lines of
`summary`. The rule `telemetry_overhead` speaks up where that is too much.

## Beside other trackers

{table}
"""
