"""`python -m benchmarks.diagnosis`: runs the programs, and prints what was found of what is true.

Exit code 0: every condition was found and no healthy program got a warning; 1: otherwise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.diagnosis import gpu_phases
from benchmarks.diagnosis.cases import CONDITIONS, HEALTHY, Case
from benchmarks.diagnosis.groups import NoGroupsError, limited
from robot_sf_otel.store.history import newest_first
from robot_sf_otel.store.reader import load_run

ROOT: Final = Path(__file__).parents[2]
RULES: Final = Path(__file__).with_name("laboratory.toml")
INTERVAL: Final = "0.25"
BUSY_HOST: Final = 0.2
"""Part of the CPUs that others must take for `noisy_neighbour` to be true of a healthy program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was found in one run of a program."""

    case: Case
    repetition: int
    found: dict[str, str]
    """Severity by rule."""
    others: float
    """Part of the host's CPUs that other processes took."""
    skipped: str | None = None

    @property
    def missed(self) -> frozenset[str]:
        """What is true and was not found."""
        return frozenset() if self.skipped else self.case.expects - set(self.found)

    @property
    def false_alarms(self) -> list[str]:
        """Warnings of what is not true."""
        true = self.case.expects | self.case.may
        if self.case.hogs or self.others >= BUSY_HOST:
            true |= {"noisy_neighbour"}
        return [
            f"{name} ({severity})"
            for name, severity in self.found.items()
            if severity != "info" and name not in true
        ]


def run_case(case: Case, repetition: int, *, defaults: bool) -> Result:
    """Run a program as a real run, and read what was found from its record."""
    with tempfile.TemporaryDirectory(prefix=".laboratory-", dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        environ = {
            **os.environ,
            "ROBOT_SF_ARTIFACT_ROOT": name,
            "ROBOT_SF_OTEL_CONSOLE": "off",
            "PYTHONPATH": str(ROOT),
        }
        if not defaults:
            environ |= {"ROBOT_SF_OTEL_RULES": str(RULES), "ROBOT_SF_OTEL_INTERVAL": INTERVAL}
        command = [sys.executable, "-m", "benchmarks.diagnosis.programs", case.program]
        if defaults:
            environ["LABORATORY_SCALE"] = str(case.scale)
        for _ in range(case.before):
            subprocess.run(command, env=environ, check=True)
        if case.before:
            environ["LABORATORY_SLOW"] = "1"
        try:
            with (
                limited(f"laboratory-{os.getpid()}", case.limits) as joining,
                _hogs(2 * (os.cpu_count() or 1) if case.hogs else 0),
            ):
                before = _cpu_seconds()
                subprocess.run([*joining, *command], env=environ, check=True)
                others = _others(before, _cpu_seconds())
        except NoGroupsError as error:
            return Result(
                case=case, repetition=repetition, found={}, others=0.0, skipped=str(error)
            )
        busy = f"other processes took {others:.0%} of the CPUs" if others > case.others else None
        record = load_run(next(newest_first([folder]))).record
        found: dict[str, str] = {one.trigger: one.severity for one in record.anomalies}
        found |= {one.trigger: one.severity for one in record.recommendations}
        return Result(case=case, repetition=repetition, found=found, others=others, skipped=busy)


@contextmanager
def _hogs(count: int) -> Generator[None]:
    """Let other processes compute meanwhile."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _cpu_seconds() -> tuple[float, float, float]:
    """Return busy and all CPU time of the host so far, and that of ended children, in seconds."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    spent = os.times()
    busy = sum(fields) - fields[3] - fields[4]
    return busy / ticks, sum(fields) / ticks, spent.children_user + spent.children_system


def _others(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    busy, whole, own = (late - early for early, late in zip(before, after, strict=True))
    return max(0.0, busy - own) / whole if whole > 0 else 0.0


def gpu_results(recording: Path) -> list[Result]:
    """Replay the phases of a recording; each is a case of its own."""
    results: list[Result] = []
    for phase, found in gpu_phases.replay(recording).items():
        expected = gpu_phases.EXPECTED.get(phase)
        case = Case(
            program=f"gpu: {phase}",
            expects=frozenset() if expected is None else frozenset({expected}),
        )
        said: dict[str, str] = {one.trigger: one.severity for one in found}
        results.append(Result(case=case, repetition=1, found=said, others=0.0))
    return results


def table(results: Sequence[Result]) -> str:
    """Return the confusion matrix: programs by what is true, what was found in how many runs."""
    by_case: dict[str, list[Result]] = {}
    for result in results:
        by_case.setdefault(result.case.program, []).append(result)
    lines = [f"{'program':24} {'true':34} {'found':>7} {'false':>6}  said (runs)"]
    for program, runs in by_case.items():
        case = runs[0].case
        ran = [run for run in runs if run.skipped is None]
        if not ran:
            lines.append(f"{program:24} not true here: {runs[0].skipped}")
            continue
        hits = sum(not run.missed for run in ran)
        false = sum(bool(run.false_alarms) for run in ran)
        counts: dict[str, int] = {}
        for run in ran:
            for name, severity in run.found.items():
                text = f"{name} {severity}"
                counts[text] = counts.get(text, 0) + 1
        said = ", ".join(f"{text} ({count})" for text, count in sorted(counts.items()))
        true = ", ".join(sorted(case.expects)) or "healthy"
        found = f"{hits}/{len(ran)}" if case.expects else "--"
        lines.append(f"{program:24} {true:34} {found:>7} {false:>6}  {said}")
    return "\n".join(lines)


def verdict(results: Sequence[Result]) -> tuple[str, bool]:
    """Return the sums in words, and whether all is as it should be."""
    ran = [result for result in results if result.skipped is None]
    conditions = [result for result in ran if result.case.expects]
    healthy = [result for result in ran if not result.case.expects]
    missed = [result for result in conditions if result.missed]
    alarms = [result for result in healthy if result.false_alarms]
    beside = [result for result in conditions if result.false_alarms]
    lines = [
        f"conditions found: {len(conditions) - len(missed)} of {len(conditions)} runs",
        (
            f"false alarms in healthy programs: {len(alarms)} of {len(healthy)} runs "
            f"({len({result.case.program for result in healthy})} programs)"
        ),
        f"warnings beside the condition: {len(beside)} of {len(conditions)} runs",
        f"not run, or not true on this machine now: {len(results) - len(ran)}",
        (
            f"CPU that other processes took, mean of the runs: "
            f"{100 * sum(result.others for result in ran) / max(1, len(ran)):.0f} %"
        ),
    ]
    lines += [
        f"  missed: {result.case.program} {result.repetition}: {', '.join(sorted(result.missed))}"
        for result in missed
    ]
    lines += [
        f"  false: {result.case.program} {result.repetition}: {', '.join(result.false_alarms)}"
        for result in (*alarms, *beside)
    ]
    return "\n".join(lines), not missed and not alarms and bool(ran)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diagnosis", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each program")
    parser.add_argument("--only", action="append", default=[], metavar="PROGRAM")
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="the rules' own times and interval; a part of the programs, which take minutes then",
    )
    parser.add_argument("--nvml", type=Path, metavar="FILE", help="recording of a GPU to replay")
    chosen = parser.parse_args(arguments)
    results: list[Result] = []
    began = time.monotonic()
    for repetition in range(1, chosen.repeat + 1):
        for case in (*CONDITIONS, *HEALTHY):
            if (chosen.only and case.program not in chosen.only) or (
                chosen.defaults and not case.scale
            ):
                continue
            result = run_case(case, repetition, defaults=chosen.defaults)
            results.append(result)
            wrong = [*sorted(result.missed), *result.false_alarms]
            sys.stderr.write(
                f"{repetition} {case.program}: {result.skipped or ', '.join(wrong) or 'right'} "
                f"(others {result.others:.0%})\n"
            )
    if chosen.nvml is not None:
        results += gpu_results(chosen.nvml)
    print(table(results))
    said, right = verdict(results)
    print(f"\n{said}\ntook {time.monotonic() - began:.0f} s\n{'RIGHT' if right else 'WRONG'}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
