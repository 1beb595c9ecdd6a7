"""The demo's scenario file (TOML): what to learn, and how much of it in the quick and full mode."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec

from robot_sf_otel.demo.errors import DemoError

DEFAULT_SCENARIO: Final = Path(__file__).parent / "scenarios" / "pendulum.toml"

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Rate = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; a misspelt key is an error, not a default."""


class Reinforcement(Table, frozen=True):
    """How a policy learns from reward.

    Attributes:
        iterations: Updates of the policy.
        episodes: Episodes that are played for each update.
        discount: Weight of the next step's reward; 0.9 looks about 10 steps ahead, 0.97 about 30.
        learning_rate: Of Adam; falls to zero over the iterations.
        exploration: Standard deviation of the actions at the start, 1 being half their range.
        value_warmup: First iterations in which only the value function learns.
        validate_every: Iterations between validations; the best validated policy is kept.
        validation_episodes: Episodes of a validation, the same ones each time.
    """

    iterations: Count
    episodes: Count
    discount: Rate
    learning_rate: Rate
    exploration: Positive
    validate_every: Count
    validation_episodes: Count
    value_warmup: Annotated[int, msgspec.Meta(ge=0)] = 0


class Collection(Table, frozen=True):
    """How many trajectories the expert shows."""

    episodes: Count


class Cloning(Table, frozen=True):
    """How a policy learns from the expert's trajectories."""

    epochs: Count
    minibatch: Count
    learning_rate: Rate


class Evaluation(Table, frozen=True):
    """How many episodes each policy plays for the comparison, the same ones for all of them."""

    episodes: Count


class Budget(Table, frozen=True):
    """What each step of the pipeline may spend; one table for each step, under its name."""

    train_expert: Reinforcement
    collect_trajectories: Collection
    bc_pretrain: Cloning
    finetune: Reinforcement
    compare: Evaluation


class Scenario(Table, frozen=True):
    """A scenario file.

    Attributes:
        environment: Gymnasium name of an environment with bounded continuous spaces.
        seed: Everything random derives from it.
        hidden_layers: Units of each hidden layer of policies and value functions.
        reward_scale: Factor that brings rewards to the order of one for the value function.
        quick: Budget of the quick mode, seconds.
        full: Budget of the full mode, minutes.
    """

    environment: str
    seed: Annotated[int, msgspec.Meta(ge=0)]
    hidden_layers: Annotated[tuple[Count, ...], msgspec.Meta(min_length=1)]
    reward_scale: Positive
    quick: Budget
    full: Budget


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises:
        DemoError: If it does not exist, is no TOML, or a value is missing, unknown or bad; the
            message names the file and the value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DemoError(f"scenario file {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DemoError(f"scenario file {str(path)!r} is not UTF-8 text") from error
    try:
        return msgspec.convert(tomllib.loads(text), Scenario)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DemoError(f"scenario file {str(path)!r}: {error}") from error
