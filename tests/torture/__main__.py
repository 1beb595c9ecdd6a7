"""The long form: `python -m tests.torture [--kills 1000] [--runs 64] [--samples 86400]`.

Prints what fails as it fails, each kill with the seed that repeats it, and a line of figures. Zero
leaves a part out. The exit code is 1 if anything was wrong; times are only told.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.torture.killing import AT_ONCE, kill_many
from tests.torture.scripts import play_day, play_names

WITHIN_SECONDS: Final = 5.0
"""How soon the record of a killed run is to be closed."""


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def kills(first: int, count: int, folder: Path, at_once: int) -> int:
    """Play many kills; return in how many something was wrong."""
    began = time.monotonic()
    closed: Counter[str] = Counter()
    seconds: list[float] = []
    events = looks = wrong = hits = 0
    for result in kill_many(range(first, first + count), folder, at_once):
        closed[result.closed_by] += 1
        events += result.events
        looks += result.looks
        hits += result.hit
        wrong += bool(result.problems)
        if result.seconds is not None:
            seconds.append(result.seconds)
        if result.problems:
            say("\n  ".join([str(result.case), *result.problems]))
    slowest = f"{max(seconds):.2f} s" if seconds else "--"
    late = sum(took > WITHIN_SECONDS for took in seconds)
    say(
        f"{count} kills, {hits} of a live run: closed by the watchdog {closed['watchdog']} "
        f"(slowest {slowest}, {late} over {WITHIN_SECONDS:g} s), by recover "
        f"{closed['recover']}, ended by themselves {closed['pipeline']}, before their start "
        f"{closed['nothing']}; {events} events and samples checked, {looks} looks of readers, "
        f"{wrong} wrong; {time.monotonic() - began:.0f} s"
    )
    return wrong


def main() -> int:
    """Play all parts; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first kill")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="pipelines side by side")
    parser.add_argument("--runs", type=int, default=64, help="processes with one run name")
    parser.add_argument("--samples", type=int, default=86_400)
    chosen = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        if chosen.kills:
            wrong += kills(chosen.first, chosen.kills, folder / "kills", chosen.at_once)
        if chosen.runs:
            problems = play_names(folder / "names", chosen.runs)
            say("\n  ".join([f"{chosen.runs} runs of one name: {len(problems)} wrong", *problems]))
            wrong += len(problems)
        if chosen.samples:
            problems, measured = play_day(folder / "day", chosen.samples)
            say("\n  ".join([f"{chosen.samples} samples: {measured}", *problems]))
            wrong += len(problems)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
