"""The comparison table, for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robot_sf_otel.demo.comparison import Comparison, Score, score
from robot_sf_otel.demo.rollouts import Episode

if TYPE_CHECKING:
    from pathlib import Path

COMPARISON = Comparison(
    (
        Score("random", -1200.0, 300.0, 100),
        Score("expert", -200.0, 120.4, 100),
        Score("cloned", -450.0, 250.0, 100),
    )
)


def test_a_score_is_mean_and_deviation_of_the_returns() -> None:
    episodes = [
        Episode(np.zeros((2, 1)), np.zeros((1, 1)), np.array([value]), terminated=False)
        for value in (1.0, 3.0)
    ]

    assert score("expert", episodes) == Score("expert", 2.0, 1.0, 2)


def test_the_table_is_markdown_with_aligned_columns() -> None:
    assert COMPARISON.to_markdown() == (
        "| policy | return (mean ± std) | of the expert | episodes |\n"
        "|--------|--------------------:|--------------:|---------:|\n"
        "| random |     -1200.0 ± 300.0 |           0 % |      100 |\n"
        "| expert |      -200.0 ± 120.4 |         100 % |      100 |\n"
        "| cloned |      -450.0 ± 250.0 |          75 % |      100 |\n"
    )


def test_a_percentage_that_means_nothing_is_unknown() -> None:
    equal = Comparison((Score("random", 5.0, 0.0, 3), Score("expert", 5.0, 0.0, 3)))

    assert equal.relative(equal.scores[1]) is None
    assert "-- |" in equal.to_markdown()
    assert '"percent_of_expert": null' in equal.to_json()


def test_the_json_has_an_entry_for_each_policy(tmp_path: Path) -> None:
    COMPARISON.save_json(tmp_path / "comparison.json")
    COMPARISON.save_markdown(tmp_path / "comparison.md")

    policies = json.loads((tmp_path / "comparison.json").read_text())["policies"]
    assert policies[2] == {
        "policy": "cloned",
        "mean": -450.0,
        "deviation": 250.0,
        "episodes": 100,
        "percent_of_expert": 75.0,
    }
    assert COMPARISON.to_markdown() in (tmp_path / "comparison.md").read_text(encoding="utf-8")


def test_a_policy_that_was_not_compared_has_no_mean() -> None:
    with pytest.raises(KeyError, match="stranger"):
        COMPARISON.mean("stranger")
