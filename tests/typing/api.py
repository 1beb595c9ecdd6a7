"""The public API as users write it, for the type checkers: nothing here has to be run.

`assert_type` fails in pyright and mypy when a decorator loses a signature or a handle its type.
`test_api.py` runs the functions all the same, with telemetry off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_type

from robot_sf_otel import (
    child_env,
    configure,
    current_run,
    current_step,
    pipeline,
    shutdown,
    step,
    track,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Coroutine


# A decorator without parentheses keeps parameters, defaults and result.
@step
def collect_expert(episodes: int, *, seed: int = 0) -> Path:
    for episode in track(range(episodes), unit="episodes"):
        assert_type(episode, int)
    for name in track(["a", "b"], total=2):
        assert_type(name, str)
    return Path(str(seed))


@step("finetune_ppo", title="PPO fine-tuning", total=1_000_000, unit="timesteps")
def finetune(data: Path) -> Path:
    this = current_step()
    this.advance()
    this.advance(64)
    this.set_progress(128, total=1_000)
    this.log_metric("fps", 60.5)
    this.log_artifact(data, kind="checkpoint")
    this.log_artifact("policy.npz")
    return data


@step(expected_seconds=1.5, baseline_rate=20.0)
def declared() -> None:
    current_step().mark_skipped("nothing to do")


@step
async def fetch(url: str) -> bytes:
    return url.encode()


@step("fetch_all")
async def fetch_all(urls: list[str]) -> int:
    return sum([len(await fetch(url)) for url in urls])


class Trainer:
    @step
    def train(self, epochs: int) -> float:
        return epochs / 2

    @step("validate")
    def validate(self) -> bool:
        return True

    @step
    @staticmethod
    def version() -> str:
        return "1"


@pipeline("imitation", steps=[collect_expert, finetune, "evaluate"])
def main() -> int:
    data = finetune(collect_expert(3, seed=1))
    with step("evaluate", total=10, unit="episodes") as evaluate:
        evaluate.advance(10)
    return len(str(data))


@pipeline("plain")
def plain(times: int) -> str:
    return "x" * times


@pipeline(
    "described",
    scenario="scenarios/corridor.toml",
    params={"learning_rate": 3e-4, "layers": [64, 64]},
    seeds=[1, 2, 3],
    tags=["nightly"],
)
async def described() -> None:
    await fetch_all(["a"])


def signatures() -> None:
    """What the type checkers must see behind the decorators."""
    assert_type(collect_expert(3), Path)
    assert_type(finetune(data=Path()), Path)
    assert_type(main(), int)
    assert_type(plain(2), str)
    assert_type(Trainer().train(4), float)
    assert_type(Trainer().validate(), bool)
    assert_type(Trainer.version(), str)
    keeps: Callable[[str], Coroutine[object, object, bytes]] = fetch
    assert keeps is fetch


def mistakes() -> None:
    """What they must refuse: `warn_unused_ignores` and its kin fail if they do not."""
    collect_expert("three")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    finetune()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    step("late", total="many")  # type: ignore[call-overload] # pyright: ignore[reportArgumentType]


def blocks() -> None:
    """The forms with `with`, and the two of a notebook."""
    with pipeline("block", steps=["one", "two"]) as run:
        run.plan(["one", "two", "three"])
        run.skip("three", reason="not needed")
        with step("one"):
            current_run().skip("two", reason="not needed either")
    notebook = pipeline("notebook").start()
    with step("cell"):
        pass
    notebook.finish()


def runs() -> None:
    """What a run's handle offers."""
    run = current_run()
    assert_type(run.run_id, str | None)
    assert_type(run.run_dir, Path | None)
    bound = run.bind(plain)
    assert_type(bound(1), str)


def children() -> None:
    """Child processes that join the run."""
    assert_type(child_env({"A": "1"}), dict[str, str])
    assert_type(child_env(), dict[str, str])
    with step("evaluate") as this:
        done = this.run(["python", Path("evaluate.py")], env={}, check=False, timeout=60)
        typed: subprocess.CompletedProcess[bytes] = done
        assert typed is done


def switching() -> None:
    """On, with the values that have a default otherwise, and off."""
    configure()
    configure(artifact_root="output", interval=0.5, gpu="off", console="lines", watchdog=False)
    shutdown()
