"""Scenario files (TOML): what a performance test runs, how often, and what it is measured by."""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from robot_sf_otel.analysis.baseline import DEFAULT_TOLERANCE
from robot_sf_otel.analysis.perf_samples import LOGGED

BUILTIN: Final = Path(__file__).parent / "builtin"
"""Folder of the scenarios that come with the package."""
METRICS: Final = ("advance", "wall", "cpu")
_CALL: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_]\w*)\}")

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000)]
Repetitions = Annotated[int, msgspec.Meta(ge=2, le=1_000)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Part = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
Scalar = bool | int | float | str


class ScenarioError(ValueError):
    """A scenario cannot be used; the message is one line that names the file and the key."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario file.

    Attributes:
        name: What tests and baselines are called by; the file's name by default.
        call: `module:function`, called in a child process that starts in the current folder. This
            or `command`.
        command: Program and arguments; `{name}` stands for a parameter. No shell.
        params: Keyword arguments of the function, or what placeholders of the command stand for.
        matrix: Parameters with several values each; every combination is a test of its own.
        metric: `advance` (units of progress a second), `wall` and `cpu` (repetitions a second, by
            the wall clock or by CPU time), or `logged:NAME` (what `log_metric` recorded, more
            is better).
        unit: What the progress of `call` counts, such as `episodes`.
        step: Step within a repetition that is measured; needed where several tell the metric.
        warmup: Repetitions that do not count: at the start of each child process of `call` (a new
            one every three repetitions), once of `command`.
        repetitions: Repetitions at least; more follow until the interval is narrow enough.
        precision: Reach of the interval to either side, as a part of the median, that is narrow
            enough.
        max_seconds: Seconds after which no further repetitions of a test are begun.
        timeout: Seconds that a single repetition may take.
        tolerance: Part below the baseline at which a test fails; half of it is a soft breach.
        calibrate: Whether throughput is put in relation to the machine's speed; `false` for what
            waits for a GPU, a disk or a network instead of computing.
        baseline: Baseline file, relative to the scenario file; earlier runs where there is none.
        history: How many earlier good runs make up the baseline where there is no file.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    call: str | None = None
    command: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    params: dict[str, Scalar] = {}
    matrix: dict[str, Annotated[list[Scalar], msgspec.Meta(min_length=1)]] = {}
    metric: str = "advance"
    unit: Annotated[str, msgspec.Meta(min_length=1, max_length=40)] = "it"
    step: str | None = None
    warmup: Count = 1
    repetitions: Repetitions = 6
    precision: Part = 0.02
    max_seconds: Positive = 60.0
    timeout: Positive = 120.0
    tolerance: Part = DEFAULT_TOLERANCE
    calibrate: bool = True
    baseline: str | None = None
    history: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 10

    def cases(self) -> Iterator[Case]:
        """Yield a test for each combination of the matrix."""
        for values in itertools.product(*self.matrix.values()):
            chosen = dict(zip(self.matrix, values, strict=True))
            shown = ",".join(f"{name}={_shown(value)}" for name, value in chosen.items())
            yield Case(
                test_id=f"{self.name}[{shown}]" if shown else self.name,
                matrix=chosen,
                params={**self.params, **chosen},
                scenario=self,
            )


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One test: a scenario with one value of each parameter.

    Attributes:
        test_id: The scenario's name, with the values of the matrix in brackets.
        matrix: Those values.
        params: All parameters.
        scenario: Where it comes from.
    """

    test_id: str
    matrix: dict[str, Scalar]
    params: dict[str, Scalar]
    scenario: Scenario

    def command(self) -> list[str]:
        """Return the command with its placeholders filled in."""
        filled = {name: _shown(value) for name, value in self.params.items()}
        return [
            _PLACEHOLDER.sub(lambda found: filled.get(found[1], found[0]), part)
            for part in self.scenario.command or ()
        ]


def _shown(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def builtin_names() -> list[str]:
    """Return the names of the scenarios that come with the package."""
    return sorted(path.stem for path in BUILTIN.glob("*.toml"))


def find(text: str) -> Path:
    """Return the scenario file that a name or path means.

    Raises:
        ScenarioError: There is none; the message names the closest built-in ones.
    """
    names = builtin_names()
    if text in names:
        return BUILTIN / f"{text}.toml"
    path = Path(text).expanduser()
    if path.is_file():
        return path
    close = difflib.get_close_matches(text, names, n=2, cutoff=0.0)
    raise ScenarioError(f"no scenario {text!r}: no such file, built in are {', '.join(close)}")


def load(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises:
        ScenarioError: It cannot be read, or a value is missing, unknown or bad.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"scenario {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"scenario {path}: no TOML: {error}") from error
    try:
        scenario = _convert({"name": path.stem, **table})
        _check(scenario)
    except ValueError as error:
        raise ScenarioError(f"scenario {path}: {error}") from error
    return scenario


def _convert(table: Mapping[str, Any]) -> Scenario:
    known = [one.name for one in msgspec.structs.fields(Scenario)]
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=2, cutoff=0.5) or known
            raise ValueError(f"unknown key {key!r}; there is {', '.join(close)}")
    try:
        return msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise ValueError(f"{where.rstrip('`') or 'scenario'}: {what.lower()}") from None


def _check(scenario: Scenario) -> None:
    if (scenario.call is None) == (scenario.command is None):
        raise ValueError("it needs either `call` or `command`")
    if scenario.call is not None and not _CALL.fullmatch(scenario.call):
        raise ValueError(f"call: {scenario.call!r} is not of the form module:function")
    logged = scenario.metric.removeprefix(LOGGED) if scenario.metric.startswith(LOGGED) else ""
    if scenario.metric not in METRICS and not logged:
        raise ValueError(
            f"metric: {scenario.metric!r} is none of {', '.join(METRICS)}, {LOGGED}NAME"
        )
    twice = sorted(scenario.params.keys() & scenario.matrix.keys())
    if twice:
        raise ValueError(f"{twice[0]!r} is in both `params` and `matrix`")
    given = {*scenario.params, *scenario.matrix}
    for part in scenario.command or ():
        for name in _PLACEHOLDER.findall(part):
            if name not in given:
                raise ValueError(f"command: {{{name}}} is no parameter of `params` or `matrix`")


def with_resets(scenario: Scenario, resets: int) -> Scenario:
    """Return a scenario with another number of environment resets in each repetition.

    Raises:
        ScenarioError: It has no parameter `resets`.
    """
    if "resets" not in scenario.params:
        raise ScenarioError(f"scenario {scenario.name!r} has no parameter `resets`")
    return msgspec.structs.replace(scenario, params={**scenario.params, "resets": resets})
