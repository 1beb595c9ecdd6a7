"""Damages run directories at random and reads them: nothing may raise, hang or hide another run.

Usage: `python tools/fuzz_readers.py --seconds 600 [--seed N]`. Each round copies a sound run,
damages one of its files (bytes, lines, or values inside the JSON), and reads it in every way that
people and programs do, beside a run that nobody touched. A round is repeated by its seed, which is
printed with whatever failed. The tests run a few dozen rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

ROOT: Final = Path(__file__).parents[1]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from robot_sf_otel.manifest.codec import encode_document  # noqa: E402 - the path above comes first
from robot_sf_otel.manifest.markdown import render_markdown  # noqa: E402
from robot_sf_otel.report.page import Page  # noqa: E402
from robot_sf_otel.report.status import add_status  # noqa: E402
from robot_sf_otel.report.summary import add_summary  # noqa: E402
from robot_sf_otel.report.tables import add_runs  # noqa: E402
from robot_sf_otel.store.derived import write_derived  # noqa: E402
from robot_sf_otel.store.history import list_records, newest_first, resolve_run  # noqa: E402
from robot_sf_otel.store.layout import RunPaths  # noqa: E402
from robot_sf_otel.store.reader import UnreadableRun, fold_run, load_run  # noqa: E402
from robot_sf_otel.store.telemetry import last_snapshot, summarise  # noqa: E402
from tests.data import sample_runs  # noqa: E402

NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
SOUND: Final = "20260101T000000Z-imitation-aaaaaa"
"""The run that stays as it is."""
ODD_VALUES: Final[tuple[str, ...]] = (
    *("null", "true", "false", "0", "-1", "1", "-0.0", "1e308", "-1e308", "5e-324", "1e30"),
    *(str(2**53), str(2**63), str(2**64), str(-(2**63)), str(10**30), str(10**400)),
    *('""', '" "', '"NaN"', '"\\u0000"', '"\\u001b[2J"', '"\\u202e"', f'"{"é" * 9}"'),
    *(f'"{"x" * 20_000}"', "[]", "{}", "[[]]", "[null]", '{"a": null}', '{"": ""}'),
    f"[{'0,' * 5_000}0]",
)
"""As JSON."""
ODD_BYTES: Final = (
    *(b"NaN", b"Infinity", b"1e999", b"-1e999", b"9" * 400, b"0x10", b"\0" * 5000, b"\xff\xfe"),
    *(b"\xef\xbb\xbf", b"\r\n", b"\n\n\n", b"\\ud800", b"\\u0000", b"[" * 3000, b'{"a":' * 3000),
    *(b"}{", b'"', b",", b"null", b"\x1b[31m", b"\xc3", b'"event":"from_the_future",'),
    *(b'"schema_version":99,', b'"status":"paused",', b'"time_unix_nano":-1,', b"e308"),
)
FILES: Final = (
    *("manifest.jsonl", "manifest.jsonl", "manifest.jsonl", "workers/box-7-abcdef.jsonl"),
    *("telemetry.jsonl", "telemetry.jsonl", "manifest.json", "run.lock"),
)
"""What is damaged, the more important the more often."""


def make_runs(root: Path) -> list[Path]:
    """Write sound runs of every kind below an artifact root; return the ones to damage."""
    sample_runs.healthy().write(root)
    stories = (
        sample_runs.failed(),
        sample_runs.cancelled(),
        sample_runs.running(),
        sample_runs.hostile(),
    )
    made: list[Path] = []
    for story in stories:
        story.samples = sample_runs.healthy().samples
        run_dir = story.write(root)
        worker = run_dir / "workers" / "box-7-abcdef.jsonl"
        worker.parent.mkdir()
        lines = (run_dir / "manifest.jsonl").read_bytes().splitlines(keepends=True)
        worker.write_bytes(b"".join(lines[1:4]))
        (run_dir / "run.lock").write_text(
            '{"host":"elsewhere","boot_id":"b","pid_namespace":"pid:[1]","pid":7,"start_time":9}\n'
        )
        write_derived(run_dir, load_run(run_dir).record)
        made.append(run_dir)
    old = root / "run-tracker" / "old-tracker"
    shutil.copytree(ROOT / "tests" / "data" / "runs" / "old-tracker", old)
    return [*made, old]


# ------------------------------------------------------------------------------------------- damage


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 50))):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(ODD_BYTES) + data[at:]


def _take_out(data: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(data) + 1)
    return data[:begin] + data[begin + chance.choice((1, 2, 10, 200)) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(data) + 1)
    part = data[begin : begin + chance.choice((1, 30, 500))]
    return data[:begin] + part * chance.choice((2, 100)) + data[begin:]


def _shuffle_lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    chance.shuffle(lines)
    return b"".join(lines)


def _drop_lines(data: bytes, chance: random.Random) -> bytes:
    return b"".join(line for line in data.splitlines(keepends=True) if chance.random() < 0.7)  # noqa: PLR2004 - most of them stay


def _foreign(data: bytes, chance: random.Random) -> bytes:
    return chance.choice(
        (
            b"",
            b"\0" * 70_000,
            chance.randbytes(5_000),
            b'{"name": "package", "version": "1.0"}\n' * 3,
            b"[1, 2, 3]\n",
            data.decode("utf-8", "replace").encode("utf-16"),
            b"\xef\xbb\xbf" + data,
            data.replace(b"\n", b"\r\n"),
            data.replace(b"\n", b""),
            b"[" * 100_000,
            b'{"params":' * 100_000,
        )
    )


def _odd_value(data: bytes, chance: random.Random) -> bytes:
    """Replace, add, rename or remove a value inside a line that holds JSON."""
    lines = data.splitlines()
    if not lines:
        return data
    whole = data.lstrip()[:2] == b"{\n"  # an indented document
    at = chance.randrange(len(lines))
    try:
        value = json.loads(data if whole else lines[at])
    except (ValueError, RecursionError):
        return _flip(data, chance)
    for _ in range(chance.choice((1, 1, 2, 5))):
        _change(value, chance)
    changed = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "replace")  # noqa: PLR2004 - either way
    if whole:
        return changed
    lines[at] = changed
    return b"\n".join(lines) + b"\n"


def _change(value: object, chance: random.Random) -> None:
    """Change one value at any depth, in place."""
    while isinstance(value, dict | list) and value:
        holder = cast("dict[Any, Any] | list[Any]", value)
        key: Any = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        inner: Any = holder[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.7:  # noqa: PLR2004 - rather deep
            value = cast("object", inner)
            continue
        act = chance.randrange(4)
        if act == 0:
            del holder[key]
        elif act == 1 and isinstance(holder, dict):
            holder[chance.choice(ODD_VALUES)[:300]] = inner
        else:
            holder[key] = json.loads(chance.choice(ODD_VALUES))
        return


DAMAGES: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (
    *(_cut, _flip, _insert, _take_out, _repeat, _shuffle_lines, _drop_lines, _foreign),
    *(_odd_value, _odd_value, _odd_value, _odd_value),
)


def damage(run_dir: Path, chance: random.Random) -> str:
    """Damage one or two files of a run; return how, for people."""
    said: list[str] = []
    for _ in range(chance.choice((1, 1, 2))):
        path = run_dir / chance.choice(FILES)
        how = chance.choice(DAMAGES)
        said.append(f"{how.__name__.strip('_')} {path.name}")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        path.write_bytes(how(data, chance))
    if chance.random() < 0.5:  # noqa: PLR2004 - derived files that are older are not believed
        (run_dir / "manifest.json").unlink(missing_ok=True)
    return ", ".join(said)


# ------------------------------------------------------------------------------------------ reading


def one_line(text: str) -> str:
    """Return a message that is said to people.

    Raises:
        AssertionError: It has several lines, or is as long as a page.
    """
    assert "\n" not in text.strip(), f"a message of several lines: {text!r}"  # noqa: S101 - this checks
    assert len(text) < 2000, f"a message of {len(text)} characters"  # noqa: PLR2004, S101
    return text


def harmless(text: str) -> str:
    """Return a text that may go to a terminal.

    Raises:
        AssertionError: It holds a control character.
    """
    wild = {c for c in text if unicodedata.category(c) in {"Cc", "Cs"} and c != "\n"}
    assert not wild, f"control characters {wild!r} in {text[:200]!r}"  # noqa: S101 - this checks
    return text


def read_everything(root: Path, run_dir: Path) -> bool:
    """Read a damaged run in every way, and the sound one beside it.

    Returns:
        Whether the damaged run could be read.

    Raises:
        AssertionError: Something that must hold does not.
    """
    listed = list_records([root], limit=None)
    names = [path.name for path in newest_first([root])]
    assert len(listed) == len(names)  # noqa: S101 - this checks
    sound = [record.status for record in listed if record.run_id == SOUND]
    assert "completed" in sound  # noqa: S101
    assert resolve_run([root], run_dir.name).name == run_dir.name  # noqa: S101
    page = _page()
    add_runs(page, listed, NOW)
    harmless(page.text())
    json.loads(encode_document(listed), parse_constant=_refuse)
    last_snapshot(RunPaths(run_dir).telemetry)
    summarise(RunPaths(run_dir).telemetry)
    _, problems = fold_run(run_dir)
    for problem in problems:
        one_line(problem)
    try:
        run = load_run(run_dir)
    except UnreadableRun as error:
        one_line(str(error))
        return False
    for problem in run.problems:
        one_line(problem)
    sample = last_snapshot(RunPaths(run_dir).telemetry)
    for snapshot in run.telemetry():
        assert snapshot.timestamp_ms >= 0  # noqa: S101
    for _ in run.journal():
        pass
    json.loads(encode_document(run.record), parse_constant=_refuse)
    harmless(render_markdown(run.record))
    page = _page()
    add_status(page, run.record, sample, run.problems, NOW)
    add_summary(page, run.record, run.problems, NOW)
    harmless(page.text())
    return True


def _page() -> Page:
    return Page(io.StringIO(), {"COLUMNS": "200"})


def _refuse(constant: str) -> object:
    """JSON has no NaN.

    Raises:
        AssertionError: Always.
    """
    raise AssertionError(f"{constant} in JSON")


def run_round(seed: int, sound_runs: Path, folder: Path) -> tuple[str, bool]:
    """Damage a copy of one run and read it.

    Args:
        seed: Decides everything about the round.
        sound_runs: An artifact root that `make_runs` filled.
        folder: An empty folder to work in; it is left with the damaged runs.

    Returns:
        How the run was damaged, and whether it could be read.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    root = folder / "output"
    tracker = sound_runs / "run-tracker"
    chosen = chance.choice(sorted(path.name for path in tracker.iterdir() if path.name != SOUND))
    for name in (SOUND, chosen):
        shutil.copytree(tracker / name, root / "run-tracker" / name)
    run_dir = root / "run-tracker" / chosen
    how = f"{chosen}: {damage(run_dir, chance)}"
    try:
        return how, read_everything(root, run_dir)
    except BaseException as error:
        error.add_note(f"seed {seed}: {how}")
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rounds until the time is over; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    options = parser.parse_args(arguments)
    rounds = failures = readable = 0
    slowest = (0.0, 0)
    with tempfile.TemporaryDirectory() as name:
        make_runs(Path(name) / "sound")
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            seed = options.seed + rounds
            folder = Path(name) / "round"
            began = time.process_time()
            try:
                readable += run_round(seed, Path(name) / "sound", folder)[1]
            except Exception:  # noqa: BLE001 - counted, shown, and on with the next
                failures += 1
                traceback.print_exc()
            slowest = max(slowest, (time.process_time() - began, seed))
            shutil.rmtree(folder, ignore_errors=True)
            rounds += 1
    print(
        f"{rounds} rounds from seed {options.seed}: {failures} failed, {readable} still readable, "
        f"slowest {slowest[0]:.2f} s CPU (seed {slowest[1]})"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
