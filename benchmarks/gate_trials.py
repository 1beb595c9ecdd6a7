"""`python -m benchmarks.gate_trials`: does `perf-tests` fail what is slower, and nothing else?

A baseline is taken once; then the same work is tested again and again through the command line:
unchanged, with 15 % and with 40 % less throughput, in turn, so that all see the same machine. Every
trial is a process of its own that records a run of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.interpreters import undisturbed
from robot_sf_otel import current_step
from robot_sf_otel.perf.builtin import Pendulum

ROOT: Final = Path(__file__).parents[1]
EPISODES: Final = 100
STEPS: Final = 1_000
SCENARIO: Final = """\
name = "gate"
call = "benchmarks.gate_trials:work"
unit = "episodes"

[params]
throughput = {throughput}
"""
SLOWER_15: Final = 0.85
WANTED: Final[Mapping[float, str]] = {1.0: "passed", SLOWER_15: "soft-breach", 0.6: "failed"}
"""What is to come out, by the throughput that is left."""


class Trial(msgspec.Struct, kw_only=True):
    """One trial.

    Attributes:
        throughput: What is left of the baseline's.
        status: What came out.
        exit_code: Of the command.
        ratio: What was measured, as a part of the baseline.
        unscaled: The same without the machine's speed.
        samples: Repetitions that it took.
        seconds: How long the command took.
        load: Load average over a minute, after it.
    """

    throughput: float
    status: str
    exit_code: int
    ratio: float | None
    unscaled: float
    samples: int
    seconds: float
    load: float


def work(throughput: float) -> float:
    """Play episodes, each with so much more to do that this part of the throughput is left."""
    environment = Pendulum()
    this = current_step()
    total = 0.0
    for episode in range(EPISODES):
        observation = environment.reset(episode)
        for _ in range(round(STEPS / throughput)):
            observation, reward = environment.step(-observation[1])
            total += reward
        this.advance()
    return total


def schedule(counts: Mapping[float, int]) -> list[float]:
    """Return what is tried, the kinds spread evenly over the whole."""
    places = [
        ((index + 0.5) / count, kind) for kind, count in counts.items() for index in range(count)
    ]
    return [kind for _, kind in sorted(places)]


def perf_tests(here: Path, throughput: float, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code and the result.

    Raises:
        RuntimeError: It did not work.
    """
    scenario = here / f"{throughput}.toml"
    scenario.write_text(SCENARIO.format(throughput=throughput), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "robot_sf_otel.cli.main"),
        *("--artifact-root", str(here / "output"), "perf-tests"),
        *("--scenario", str(scenario), "--baseline", str(here / "baselines.json")),
        *("--format", "json"),
    ]
    environ = undisturbed()
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [*command, *arguments], env=environ, capture_output=True, text=True, check=False, cwd=here
    )
    try:
        return done.returncode, json.loads(done.stdout)["results"][0]
    except (ValueError, LookupError) as error:
        raise RuntimeError(done.stderr) from error


def trials(here: Path, counts: Mapping[float, int]) -> Iterator[Trial]:
    """Take a baseline and yield one trial after the other."""
    _, baseline = perf_tests(here, 1.0, "--update-baseline")
    for throughput in schedule(counts):
        began = time.monotonic()
        code, result = perf_tests(here, throughput)
        yield msgspec.convert(
            {
                "throughput": throughput,
                "status": result["status"],
                "exit_code": code,
                "ratio": result["ratio"],
                "unscaled": result["throughput_measured"] / baseline["throughput_measured"],
                "samples": len(msgspec.convert(result["samples"], list[float])),
                "seconds": time.monotonic() - began,
                "load": os.getloadavg()[0],
            },
            Trial,
        )


def table(done: Sequence[Trial]) -> str:
    """Return what came out as a Markdown table."""
    lines = [
        "| throughput left | trials | came out | wanted | ratio measured | repetitions | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for throughput, wanted in WANTED.items():
        kind = [trial for trial in done if trial.throughput == throughput]
        if not kind:
            continue
        outcomes = Counter(trial.status for trial in kind)
        ratios = [trial.ratio for trial in kind if trial.ratio is not None]
        came = ", ".join(f"{count} {status}" for status, count in outcomes.most_common())
        lines.append(
            f"| {throughput:.0%} | {len(kind)} | {came} | {wanted} | "
            f"{min(ratios):.3f} to {max(ratios):.3f} | "
            f"{statistics.median(trial.samples for trial in kind):g} | "
            f"{statistics.median(trial.seconds for trial in kind):.1f} |"
        )
    loads = [trial.load for trial in done]
    seconds = sum(trial.seconds for trial in done)
    load = f"Load average from {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} CPUs"
    lines += ["", f"{load}; {seconds:.0f} s in all."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials; return 1 where a slow one passed, or an unchanged one did not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate_trials", description=__doc__)
    parser.add_argument("--unchanged", type=int, default=50)
    parser.add_argument("--slower-15", type=int, default=20)
    parser.add_argument("--slower-40", type=int, default=20)
    chosen = parser.parse_args(arguments)
    counts = {1.0: chosen.unchanged, SLOWER_15: chosen.slower_15, 0.6: chosen.slower_40}
    done: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="gate-trials-") as name:
        for trial in trials(Path(name), counts):
            done.append(trial)
            sys.stderr.write(f"{len(done)} {msgspec.json.encode(trial).decode()}\n")
    print(table(done))
    wrong = [
        trial
        for trial in done
        if trial.throughput != SLOWER_15 and trial.status != WANTED[trial.throughput]
    ]
    soft = [trial for trial in done if trial.throughput == SLOWER_15]
    most = 2 * sum(trial.status == WANTED[SLOWER_15] for trial in soft) >= len(soft)
    return 1 if wrong or not most else 0


if __name__ == "__main__":
    sys.exit(main())
