"""Which rules apply, and their thresholds: defaults, changed by a TOML file. Pure.

```toml
[cpu_saturation]
busy_percent = 95
[gpu_starved]
enabled = false
```
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from robot_sf_otel.analysis.rules import BUILT_IN
from robot_sf_otel.analysis.rules.base import Rule, Thresholds

EVALUATION: Final = "evaluation"
"""Table of the TOML file that belongs to no rule."""


class RulesError(ValueError):
    """A file of thresholds is wrong; the message is one line that says where."""


class Evaluation(Thresholds, frozen=True, kw_only=True):
    """What can be set of the evaluation itself; `enabled = false` switches all rules off."""

    frame_seconds: Annotated[
        float, Meta(ge=0.1, le=60, description="Samples of so many seconds are looked at as one.")
    ] = 5.0


class RuleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The rules with the thresholds of each, and of the evaluation."""

    evaluation: Evaluation = Evaluation()
    rules: tuple[tuple[type[Rule[Any]], Thresholds], ...] = tuple(
        (rule, rule.thresholds()) for rule in BUILT_IN
    )

    def thresholds(self, rule_id: str) -> Thresholds:
        """Return the thresholds of a rule.

        Raises:
            KeyError: There is no such rule.
        """
        return {rule.id: limits for rule, limits in self.rules}[rule_id]


def parse_rules(text: str, further: Iterable[type[Rule[Any]]] = ()) -> RuleSettings:
    """Return the rules with the thresholds of a TOML text; what it leaves out has its default.

    Args:
        text: The text; empty for the defaults.
        further: Rules of others.

    Raises:
        RulesError: It is no TOML, or names no rule, or a threshold is unknown, of a wrong type or
            out of range.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"no TOML: {error}") from None
    rules = {rule.id: rule for rule in (*BUILT_IN, *further)}
    for name in tables:
        if name not in rules and name != EVALUATION:
            raise RulesError(f"there is no rule {name!r}{_closest(name, [*rules, EVALUATION])}")
    return RuleSettings(
        evaluation=_thresholds(EVALUATION, tables.get(EVALUATION, {}), Evaluation),
        rules=tuple(
            (rule, _thresholds(name, tables.get(name, {}), rule.thresholds))
            for name, rule in rules.items()
        ),
    )


def _thresholds(name: str, table: object, kind: type[Any]) -> Any:  # noqa: ANN401 - of the rule
    if not isinstance(table, Mapping):
        raise RulesError(f"{name} is not a table: write [{name}] and the thresholds below it")
    given: dict[str, Any] = dict(table)  # pyright: ignore[reportUnknownArgumentType] - TOML has string keys
    names = [field.name for field in msgspec.structs.fields(kind)]
    for key, value in given.items():
        if key not in names:
            raise RulesError(f"{name} has no threshold {key!r}{_closest(key, names)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise RulesError(f"{name}.{key} = {value} is not a finite number")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$.")
        key = path.rstrip("`")
        raise RulesError(
            f"{name}.{key} = {given.get(key)!r}: {said[0].lower()}{said[1:]}"
        ) from None


def _closest(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(names), n=3, cutoff=0.4)
    return f": did you mean {' or '.join(found)}?" if found else ""
