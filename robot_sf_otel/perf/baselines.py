"""Baselines: in files that are committed, or made up of earlier good runs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import msgspec

from robot_sf_otel.analysis.baseline import Baseline, Sample, host_class
from robot_sf_otel.analysis.perf_samples import NotMeasured, repetitions
from robot_sf_otel.store.files import replace_atomically
from robot_sf_otel.store.history import list_loaded

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord
    from robot_sf_otel.perf.scenarios import Case

VERSION: Final = 1
PIPELINE: Final = "perf-tests"
"""Name of the pipeline that the runs of performance tests have."""
_GOOD: Final = frozenset({"passed", "no-baseline"})
_LOOKED_AT: Final = 200
"""Runs of performance tests among which the good ones of a test are looked for."""
_DIGITS: Final = 6


Taken = tuple[list[Sample], str]
"""The samples of a run, and their unit."""


class BaselineError(ValueError):
    """A baseline file cannot be used; the message is one line that names it."""


class _File(msgspec.Struct, kw_only=True):
    schema_version: int
    baselines: list[Baseline]


def read(path: Path, *, missing_ok: bool = False) -> list[Baseline]:
    """Return the baselines of a file.

    Raises:
        BaselineError: It cannot be read, or holds something else.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        if missing_ok:
            return []
        raise BaselineError(
            f"baseline file {path}: no such file; --update-baseline writes it"
        ) from error
    except OSError as error:
        raise BaselineError(f"baseline file {path}: {error.strerror}") from error
    try:
        found = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BaselineError(f"baseline file {path}: {error}") from error
    if found.schema_version > VERSION:
        raise BaselineError(f"baseline file {path}: of a newer version ({found.schema_version})")
    for one in found.baselines:
        if not one.samples or min(one.samples) <= 0 or any(speed <= 0 for speed in one.speeds):
            raise BaselineError(f"baseline file {path}: {one.test_id}: samples must be above 0")
    return found.baselines


def write(path: Path, baselines: Iterable[Baseline]) -> None:
    """Write a file whose differences can be read: one order, a line a field, samples in one line.

    Raises:
        BaselineError: It cannot be written.
    """
    blocks: list[str] = []
    for one in sorted(baselines, key=lambda one: (one.test_id, one.host_class)):
        fields = msgspec.to_builtins(one)
        lines = [f'      "{name}": {_json(value)}' for name, value in fields.items()]
        blocks.append("    {\n" + ",\n".join(lines) + "\n    }")
    inner = "[\n" + ",\n".join(blocks) + "\n  ]" if blocks else "[]"
    text = f'{{\n  "schema_version": {VERSION},\n  "baselines": {inner}\n}}\n'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(path, text.encode(), sync=True)
    except OSError as error:
        raise BaselineError(f"baseline file {path}: {error.strerror}") from error


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def update(path: Path, taken: Sequence[Baseline]) -> None:
    """Put baselines into a file in place of those of the same test and class of machines.

    Raises:
        BaselineError: It cannot be read or written.
    """
    replaced = {(one.test_id, one.host_class) for one in taken}
    kept = [
        one for one in read(path, missing_ok=True) if (one.test_id, one.host_class) not in replaced
    ]
    write(path, [*kept, *taken])


def make(
    *,
    test_id: str,
    host: str,
    metric: str,
    unit: str,
    samples: Sequence[Sample],
    date: str | None = None,
    reason: str | None = None,
) -> Baseline:
    """Return a baseline of samples, rounded to what can be read."""
    known = [sample.speed for sample in samples if sample.speed is not None]
    values = [_rounded(sample.value) for sample in samples]
    return Baseline(
        test_id=test_id,
        host_class=host,
        metric=metric,
        unit=unit,
        median=_rounded(statistics.median(values)),
        samples=values,
        speeds=[_rounded(speed) for speed in known] if len(known) == len(samples) else [],
        date=date,
        reason=reason,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def choose(
    baselines: Iterable[Baseline], *, test_id: str, host: str, metric: str
) -> Baseline | None:
    """Return the baseline of a test: of this class of machines, else the newest that has speeds."""
    fitting = [one for one in baselines if one.test_id == test_id and one.metric == metric]
    for one in fitting:
        if one.host_class == host:
            return one
    return max((one for one in fitting if one.speeds), key=lambda one: one.date or "", default=None)


def from_history(roots: Sequence[Path], case: Case, host: str) -> Baseline | None:
    """Return a baseline of the last good runs of a test on this class of machines.

    A run is good if the test passed, or had no baseline yet.
    """
    scenario = case.scenario
    taken: list[Taken] = []
    for run in list_loaded(roots, pipeline=PIPELINE, status="completed", limit=_LOOKED_AT):
        record = run.record
        if host_class(record.host, record.runtime) == host and _was_good(record, case):
            with suppress(NotMeasured):
                taken.append(
                    repetitions(record.steps, case.test_id, scenario.metric, scenario.step)
                )
        if len(taken) == scenario.history:
            break
    return together(taken, test_id=case.test_id, host=host, metric=scenario.metric)


def together(taken: Sequence[Taken], *, test_id: str, host: str, metric: str) -> Baseline | None:
    """Return the baseline that earlier runs make up, newest first; None where there are none."""
    samples = [sample for found, _ in taken for sample in found]
    if not samples:
        return None
    unit = next(unit for found, unit in taken if found)
    return make(test_id=test_id, host=host, metric=metric, unit=unit, samples=samples)


def _was_good(record: PipelineRunRecord, case: Case) -> bool:
    return any(
        test.test_id == case.test_id
        and test.status in _GOOD
        and test.metric == case.scenario.metric
        and _params_of(record, case.test_id) == case.params
        for test in record.perf_tests
    )


def _params_of(record: PipelineRunRecord, test_id: str) -> object:
    tests: object = record.params.get("tests")
    return cast("dict[str, object]", tests).get(test_id) if isinstance(tests, dict) else None
