"""The comparison of policies: their returns on the same episodes, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.demo.rollouts import Episode

FLOOR, REFERENCE = "random", "expert"
"""The policies that count as 0 % and as 100 %."""


@dataclass(frozen=True)
class Score:
    """How one policy did.

    Attributes:
        policy: Its name.
        mean: Mean return, undiscounted, in the environment's own rewards.
        deviation: Standard deviation of the return over the episodes; with start states that
            differ it does not become zero for a perfect policy.
        episodes: Number of episodes.
    """

    policy: str
    mean: float
    deviation: float
    episodes: int


@dataclass(frozen=True)
class Comparison:
    """The scores of several policies, the random one and the expert among them."""

    scores: tuple[Score, ...]

    def mean(self, policy: str) -> float:
        """Return the mean return of a policy.

        Raises:
            KeyError: If it was not compared.
        """
        return {score.policy: score.mean for score in self.scores}[policy]

    def relative(self, score: Score) -> float | None:
        """Return a score in percent, random being 0 and the expert 100; None if those are equal."""
        floor, reference = self.mean(FLOOR), self.mean(REFERENCE)
        return None if floor == reference else 100.0 * (score.mean - floor) / (reference - floor)

    def to_markdown(self) -> str:
        """Return the comparison as a Markdown table, readable as plain text too."""
        head = ("policy", "return (mean ± std)", "of the expert", "episodes")
        rows = [
            (
                score.policy,
                f"{score.mean:.1f} ± {score.deviation:.1f}",
                _percent(self.relative(score)),
                str(score.episodes),
            )
            for score in self.scores
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        rule = f"|{'-' * (widths[0] + 2)}|" + "".join(f"{'-' * (w + 1)}:|" for w in widths[1:])
        return "\n".join((_line(head, widths), rule, *(_line(row, widths) for row in rows))) + "\n"

    def to_json(self) -> str:
        """Return the comparison as a JSON object with one entry for each policy."""
        entries = [
            {**asdict(score), "percent_of_expert": self.relative(score)} for score in self.scores
        ]
        return json.dumps({"policies": entries}, indent=2) + "\n"

    def save_markdown(self, path: Path) -> None:
        """Write the table to a file."""
        path.write_text(f"# Comparison of policies\n\n{self.to_markdown()}", encoding="utf-8")

    def save_json(self, path: Path) -> None:
        """Write the JSON object to a file."""
        path.write_text(self.to_json(), encoding="utf-8")


def score(policy: str, episodes: Sequence[Episode]) -> Score:
    """Summarise the episodes of a policy."""
    returns = [episode.total_reward for episode in episodes]
    return Score(policy, float(np.mean(returns)), float(np.std(returns)), len(returns))


def _percent(value: float | None) -> str:
    return "--" if value is None else f"{value:.0f} %"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return f"| {first[0]:<{first[1]}} |" + "".join(f" {cell:>{width}} |" for cell, width in others)
