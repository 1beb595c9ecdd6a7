"""The cost of `configure()` and of opening and closing a run, in fresh interpreters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks import fresh, limits
from benchmarks.interpreters import environment, start_in_turn
from benchmarks.results import Counts, Row, over, stat

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURE = "configure()"
BY_HAND = "OTel SDK set up by hand"


def measure(counts: Counts, directory: Path, label: str) -> list[Row]:
    """Return the cost of switching on, and of the first and a later run of a process.

    Args:
        counts: How often to measure.
        directory: A folder for the runs and for byte code.
        label: How to call the disk that it is on.
    """
    printed: dict[str, list[Mapping[str, Sequence[float]]]] = {CONFIGURE: [], BY_HAND: []}
    start_in_turn(
        {
            CONFIGURE: ["-m", fresh.__name__, "runs", str(directory / "output")],
            BY_HAND: ["-m", fresh.__name__, "sdk"],
        },
        counts.interpreters,
        environment(directory / "bytecode"),
        seen=lambda name, text: printed[name].append(json.loads(text)),
    )
    set_up = f"switching on in a fresh interpreter, {label}"
    by_hand = _row(set_up, BY_HAND, printed[BY_HAND], "set_up", None)
    configure = _row(set_up, CONFIGURE, printed[CONFIGURE], "configure", None)
    runs = f"run, {label}"
    names = {
        "first_start": "open the first run of a process",
        "first_finish": "close it",
        "start": "open a later run",
        "finish": "close it again",
    }
    reference = _row(runs, names["start"], printed[CONFIGURE], "start", None)
    return [
        _row(set_up, CONFIGURE, printed[CONFIGURE], "configure", by_hand),
        _row(set_up, BY_HAND, printed[BY_HAND], "set_up", by_hand),
        _row(set_up, "imports of the public names", printed[CONFIGURE], "import", configure),
        *(_row(runs, name, printed[CONFIGURE], key, reference) for key, name in names.items()),
    ]


def _row(
    group: str,
    name: str,
    printed: Sequence[Mapping[str, Sequence[float]]],
    key: str,
    reference: Row | None,
) -> Row:
    wall = stat([times[key][0] for times in printed])
    return Row(
        group=group,
        name=name,
        wall=wall,
        cpu=stat([times[key][1] for times in printed]),
        ratio=over(wall, reference.wall) if reference is not None else None,
        ratio_to=reference.name if reference is not None else None,
        limit_wall=limits.RUN_START if key in {"first_start", "start"} else None,
    )
