"""The rules of this installation: those of others by entry point, thresholds from a file."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.analysis.rule_settings import RuleSettings, parse_rules
from robot_sf_otel.analysis.rules.base import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GROUP: Final = "robot_sf_otel_rule"
"""Entry-point group; each names a subclass of `Rule`."""


def read_settings(path: Path | None, warn: Callable[[str], None]) -> RuleSettings:
    """Return the rules with the thresholds of a file, or the defaults.

    Args:
        path: TOML file; None for the defaults.
        warn: Told of rules of others that cannot be loaded.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is wrong (`RulesError`), or not UTF-8.
    """
    text = "" if path is None else path.read_text(encoding="utf-8")
    return parse_rules(text, list(_others(warn)))


def _others(warn: Callable[[str], None]) -> Iterator[type[Rule[Any]]]:
    """Yield the rules that entry points name; one that cannot be loaded is left out."""
    for point in entry_points(group=GROUP):
        try:
            found: Any = point.load()
        except Exception as error:  # noqa: BLE001 - whatever the import of others' code raises
            warn(f"rule {point.name!r} ({point.value}) is left out: {error!r}")
            continue
        if isinstance(found, type) and issubclass(found, Rule):
            yield found
        else:
            warn(f"rule {point.name!r} ({point.value}) is left out: it is no subclass of Rule")
