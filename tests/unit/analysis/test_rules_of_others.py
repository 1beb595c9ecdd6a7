"""Rules that come by entry point: added to ours, each failing alone."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.analysis import rules_of_others
from robot_sf_otel.analysis.rule_settings import RulesError
from robot_sf_otel.analysis.rules.base import Rule, Thresholds

if TYPE_CHECKING:
    from pathlib import Path


class OwnThresholds(Thresholds, frozen=True, kw_only=True):
    """One threshold."""

    level: float = 1.0


class Own(Rule[OwnThresholds]):
    """A rule of somebody else."""

    id = "own"
    thresholds = OwnThresholds


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = __name__
    points = EntryPoints(
        EntryPoint(name, value, rules_of_others.GROUP)
        for name, value in (
            ("own", f"{here}:Own"),
            ("missing", "no_such_module:Rule"),
            ("other", "pathlib:Path"),
        )
    )

    def select(*, group: str) -> EntryPoints:
        return points.select(group=group)

    monkeypatch.setattr(rules_of_others, "entry_points", select)


def test_a_rule_of_others_is_added_and_what_is_none_is_named() -> None:
    said: list[str] = []

    chosen = rules_of_others.read_settings(None, said.append)

    assert "own" in {rule.id for rule, _ in chosen.rules}
    assert len(said) == 2
    assert said[0].startswith("rule 'missing' (no_such_module:Rule) is left out: ModuleNotFound")
    assert said[1] == "rule 'other' (pathlib:Path) is left out: it is no subclass of Rule"


def test_its_thresholds_are_set_like_those_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[own]\nlevel = 2")

    chosen = rules_of_others.read_settings(path, lambda _: None)

    assert chosen.thresholds("own") == OwnThresholds(level=2.0)


def test_a_file_that_is_wrong_or_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[owm]")

    with pytest.raises(RulesError, match="did you mean own"):
        rules_of_others.read_settings(path, lambda _: None)
    with pytest.raises(FileNotFoundError):
        rules_of_others.read_settings(tmp_path / "none.toml", lambda _: None)
