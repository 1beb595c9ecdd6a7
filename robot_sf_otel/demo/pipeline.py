"""The demo pipeline: five decorated functions that train, imitate and improve a robot policy.

This is the file to read first: everything that makes it a tracked pipeline is imported from
`robot_sf_otel`, and everything else is ordinary learning code that knows nothing of telemetry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from loguru import logger

from robot_sf_otel import current_run, current_step, pipeline, step, track
from robot_sf_otel.demo.cloning import Demonstrations, clone
from robot_sf_otel.demo.comparison import Comparison, Score, score
from robot_sf_otel.demo.policies import GaussianPolicy, Policy, RandomPolicy
from robot_sf_otel.demo.rollouts import episode_seeds, seed_sequence
from robot_sf_otel.demo.setting import Setting
from robot_sf_otel.demo.workers import Workers

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.demo.scenario import Budget, Scenario


# A function becomes a step of the run by its decorator. Its name is the step's id, its title is
# what people read. `track` is tqdm's loop: it tells how far the step is, hence when it will end.
@step(title="Train expert policy")
def train_expert(setting: Setting) -> GaussianPolicy:
    """Learn a policy from reward alone."""
    settings = setting.budget.train_expert
    trainer = setting.trainer(setting.new_policy("train_expert"), settings, "train_expert")
    for _ in track(range(settings.iterations), unit="iterations"):
        iteration = trainer.improve()
        current_step().log_metric("episode_reward", iteration.mean_return)
    keep("expert_policy.npz", trainer.best.save, kind="checkpoint")
    return trainer.best


# The episodes come from worker processes. Nothing has to be said about them: the telemetry of a
# run is that of its whole process tree.
@step(title="Collect expert trajectories")
def collect_trajectories(setting: Setting, expert: GaussianPolicy) -> Demonstrations:
    """Record what the expert does."""
    count = setting.budget.collect_trajectories.episodes
    seeds = episode_seeds(setting.seed, "collect_trajectories", count=count)
    played = setting.workers.play(expert, seeds, explore=True)
    episodes = list(track(played, total=count, unit="episodes"))
    demonstrations = Demonstrations.label(episodes, expert)
    current_step().log_metric("episode_reward", float(np.mean(demonstrations.returns)))
    keep("trajectories.npz", demonstrations.save, kind="dataset")
    return demonstrations


@step(title="Behaviour cloning")
def bc_pretrain(setting: Setting, demonstrations: Demonstrations) -> GaussianPolicy:
    """Learn to do what the expert did, without any reward."""
    settings = setting.budget.bc_pretrain
    policy = setting.new_policy("bc_pretrain")
    rng = np.random.default_rng(seed_sequence(setting.seed, "bc_pretrain", "minibatches"))
    losses = clone(policy, demonstrations, settings, rng)
    for loss in track(losses, total=settings.epochs, unit="epochs"):
        current_step().log_metric("loss", loss)
    keep("cloned_policy.npz", policy.save, kind="checkpoint")
    return policy


# Where there is no loop to wrap, as in a callback, progress is reported with `advance`.
@step(title="Fine-tune the clone", unit="timesteps")
def finetune(setting: Setting, cloned: GaussianPolicy) -> GaussianPolicy:
    """Let the clone practise, with reward again."""
    settings = setting.budget.finetune
    trainer = setting.trainer(cloned, settings, "finetune")
    this = current_step()
    this.set_progress(
        0, total=settings.iterations * settings.episodes * setting.workers.episode_steps
    )
    for _ in range(settings.iterations):
        iteration = trainer.improve()
        this.advance(iteration.timesteps)
        this.log_metric("episode_reward", iteration.mean_return)
    keep("finetuned_policy.npz", trainer.best.save, kind="checkpoint")
    return trainer.best


# Steps nest: each evaluation is a step inside this one. A block is a step as well as a function.
@step(title="Compare the policies", total=4, unit="policies")
def compare(setting: Setting, policies: dict[str, Policy]) -> Comparison:
    """Let every policy play the same episodes."""
    scores: list[Score] = []
    for name, policy in policies.items():
        with step(f"evaluate_{name}", title=f"Evaluate the {name} policy") as evaluation:
            scores.append(evaluate(setting, name, policy))
            evaluation.log_metric("episode_reward", scores[-1].mean)
        current_step().advance()
        current_run().log_metric(f"return_{name}", round(scores[-1].mean, 2))
    comparison = Comparison(tuple(scores))
    keep("comparison.md", comparison.save_markdown, kind="report")
    keep("comparison.json", comparison.save_json, kind="report")
    return comparison


def evaluate(setting: Setting, name: str, policy: Policy) -> Score:
    """Play the episodes of the comparison with one policy."""
    count = setting.budget.compare.episodes
    seeds = episode_seeds(setting.seed, "compare", count=count)
    # Without exploration a policy acts as well as it can; the random one is nothing without it.
    played = setting.workers.play(policy, seeds, explore=isinstance(policy, RandomPolicy))
    return score(name, list(track(played, total=count, unit="episodes")))


def keep(name: str, save: Callable[[Path], None], *, kind: str) -> None:
    """Save something in the run's own folder, and say so in its record.

    Outside a run there is no such folder and nothing is saved; a disk that is full is no reason
    to throw away what was learned.
    """
    folder = current_run().artifacts_dir
    if folder is None:
        return
    try:
        save(folder / name)
    except OSError as error:
        logger.warning("{} is not saved: {}", name, error)
    else:
        current_step().log_artifact(folder / name, kind=kind)


@dataclass(frozen=True)
class DemoResult:
    """What a run of the demo has to show.

    Attributes:
        comparison: The returns of the random, expert, cloned and fine-tuned policy.
        seed: The seed that decided everything random.
        mode: `quick` or `full`.
        run_id: Id of the run; None when telemetry is off.
        run_dir: Directory of the run; None when telemetry is off or it cannot be written.
    """

    comparison: Comparison
    seed: int
    mode: str
    run_id: str | None
    run_dir: Path | None


# The plan makes "Step 2/5" possible; the scenario, the parameters and the seeds tell later which
# runs can be compared. `@pipeline(...)` on a function does the same as the block.
def imitation(
    scenario: Scenario,
    budget: Budget,
    *,
    mode: str,
    name: str,
    seed: int,
    worker_count: int | None = None,
    start_method: str | None = None,
) -> DemoResult:
    """Run the pipeline."""
    with (
        pipeline(
            "imitation-demo",
            steps=[train_expert, collect_trajectories, bc_pretrain, finetune, compare],
            scenario=f"{name}-{mode}",
            params={"environment": scenario.environment, **msgspec.to_builtins(budget)},
            seeds=seed,
            tags=["demo", mode],
        ) as run,
        Workers(scenario.environment, count=worker_count, start_method=start_method) as workers,
    ):
        setting = Setting(scenario, budget, seed, workers)
        expert = train_expert(setting)
        demonstrations = collect_trajectories(setting, expert)
        cloned = bc_pretrain(setting, demonstrations)
        finetuned = finetune(setting, cloned)
        chance = RandomPolicy(workers.action_size)
        comparison = compare(
            setting,
            {"random": chance, "expert": expert, "cloned": cloned, "finetuned": finetuned},
        )
        return DemoResult(comparison, seed, mode, run.run_id, run.run_dir)
