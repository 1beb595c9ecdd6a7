"""The benchmarks measure what they say; no time is asserted here, machines differ."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

import benchmarks.__main__ as command
from benchmarks import import_cost, limits, machine, progress_cost, run_cost, sample_cost, step_cost
from benchmarks.results import Counts, Row, Stat, over, stat
from benchmarks.table import HEADINGS, Report, as_json, as_markdown, as_text, seconds
from benchmarks.timing import in_turn

if TYPE_CHECKING:
    from pathlib import Path

TINY = Counts(steps=3, recorded=(0, 5), items=10, loops=3, interpreters=1, samples=2, syncs=2)
HERE = machine.Machine(
    cpu="a processor",
    cores=2,
    usable_cores=None,
    load=None,
    python="CPython 3.11.0",
    system="Linux 6",
    versions={"tqdm": "--"},
    syncs={"disk": Stat(2e-4, 5e-4, 9)},
)


def measured(name: str, tmp_path: Path, *, console: str = "auto") -> dict[str, list[Row]]:
    """The rows that a benchmark returns from a process of its own, by their group."""
    task = command.Task(name=name, counts=TINY, label="disk", parent=str(tmp_path), console=console)
    groups: dict[str, list[Row]] = {}
    for row in command.run_apart(task):
        groups.setdefault(row.group, []).append(row)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
    return groups


def names(rows: list[Row]) -> list[str]:
    return [row.name for row in rows]


def test_a_step_is_measured_beside_a_span_and_writes_at_each_length_of_a_run(
    tmp_path: Path,
) -> None:
    groups = measured("step", tmp_path)

    prefix = "step, disk, console auto"
    assert list(groups) == [
        f"{prefix}, from 0 recorded",
        f"{prefix}, filling",
        f"{prefix}, from 5 recorded",
        f"{prefix}, growth over 8 steps",
    ]
    first, late = groups[f"{prefix}, from 0 recorded"], groups[f"{prefix}, from 5 recorded"]
    assert names(first) == names(late)
    assert names(first) == [step_cost.STEP, step_cost.SPAN, step_cost.WRITES, step_cost.NOTHING]
    assert [row.ratio for row in first if row.name == step_cost.WRITES] == [1.0]
    assert (first[0].limit_wall, first[0].limit_cpu) == (limits.STEP_WALL, limits.STEP_CPU)
    assert all(row.wall is not None and row.wall.count == TINY.steps for row in first + late)
    growth = groups[f"{prefix}, growth over 8 steps"]
    assert names(growth) == [step_cost.STEP, step_cost.FRESH]
    assert growth[0].note is not None
    assert growth[0].note.startswith("CPU ")


def test_a_run_of_one_length_has_no_growth(tmp_path: Path) -> None:
    counts = msgspec.structs.replace(TINY, recorded=(0,))
    task = command.Task(
        name="step", counts=counts, label="disk", parent=str(tmp_path), console="off"
    )

    assert {row.group for row in command.run_apart(task)} == {
        "step, disk, console off, from 0 recorded"
    }


def test_progress_is_measured_beside_tqdm_in_the_same_run(tmp_path: Path) -> None:
    groups = measured("progress", tmp_path)

    ours = {row.name: row for row in groups["progress, in a step"]}
    assert ours[progress_cost.ADVANCE].limit_wall == limits.ADVANCE
    assert ours[progress_cost.TRACK].limit_wall == limits.TRACK
    assert {progress_cost.UPDATE, progress_cost.TQDM, progress_cost.BARE} <= ours.keys()
    beside = groups["progress, beside tqdm"]
    assert [row.ratio_to for row in beside] == [progress_cost.ADVANCE, progress_cost.TRACK]
    off = names(groups["progress, telemetry off"])
    assert progress_cost.DECORATED in off
    assert progress_cost.UPDATE not in off


def test_importing_the_names_loads_none_of_the_heavy_modules(tmp_path: Path) -> None:
    (rows,) = measured("import", tmp_path).values()
    ours = next(row for row in rows if row.name == import_cost.NAMES)

    assert ours.note == f"loads no {', '.join(limits.NOT_LOADED)}"
    assert ours.limit_wall == limits.IMPORT
    assert names(rows)[-1] == import_cost.BARE
    assert import_cost.SDK in names(rows)


def test_switching_on_and_a_run_are_measured_in_fresh_interpreters(tmp_path: Path) -> None:
    groups = measured("run", tmp_path)

    assert list(groups) == ["switching on in a fresh interpreter, disk", "run, disk"]
    switching, runs = groups.values()
    assert names(switching)[:2] == [run_cost.CONFIGURE, run_cost.BY_HAND]
    limited = [row.name for row in runs if row.limit_wall == limits.RUN_START]
    assert limited == ["open the first run of a process", "open a later run"]


def test_a_sample_is_measured_beside_psutil(tmp_path: Path) -> None:
    (rows,) = measured("sample", tmp_path).values()

    assert rows[0].name == sample_cost.SAMPLE
    assert rows[0].limit_cpu == limits.SAMPLE_CPU
    assert [row.ratio_to for row in rows] == [sample_cost.SAMPLE] * 2


def test_a_benchmark_that_fails_says_why_and_hides_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_apart(task: command.Task) -> list[Row]:
        if task.name == "import":
            raise RuntimeError("no such module")
        return [Row(group="g", name=task.name)]

    monkeypatch.setattr(command, "run_apart", run_apart)
    report = command.report(TINY, tmp_path, ["import", "sample"])

    assert names(report.rows) == ["sample"]
    assert list(report.failed.values()) == ["no such module"]
    assert "could not be measured: import" in as_text(report)


def test_the_end_of_what_a_failed_process_said_is_the_message(tmp_path: Path) -> None:
    task = command.Task(name="step", counts=TINY, label="disk", parent=str(tmp_path / "missing"))

    with pytest.raises(RuntimeError, match="FileNotFoundError"):
        command.run_apart(task)


@pytest.mark.parametrize(("failed", "code"), [({}, 0), ({"step": "why"}, 1)])
def test_the_exit_code_says_whether_all_was_measured_not_how_fast_it_was(
    failed: dict[str, str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def report(*_: object) -> Report:
        return Report(HERE, [Row(group="g", name="n", wall=Stat(9, 9, 1), limit_wall=1)], failed)

    monkeypatch.setattr(command, "report", report)

    assert command.main(["--format", "json", "--quick"]) == code
    assert json.loads(capsys.readouterr().out)["rows"][0]["name"] == "n"


def test_what_writes_is_measured_on_every_disk_and_the_rest_once() -> None:
    disks = [machine.Place("a", "/a", "ext4"), machine.Place("b", "/b", "tmpfs")]
    planned = [(task.name, task.label) for task in command.tasks(TINY, disks, [])]

    assert [label for name, label in planned if name == "run"] == ["a", "b"]
    assert [label for name, label in planned if name == "progress"] == ["a"]
    assert [task.name for task in command.tasks(TINY, disks, ["import"])] == ["import"]


def test_an_artifact_root_that_does_not_exist_is_on_the_disk_of_its_nearest_folder(
    tmp_path: Path,
) -> None:
    found = machine.places(tmp_path / "not" / "yet")

    assert found[0].directory == str(tmp_path)
    assert not (tmp_path / "not").exists()


def test_the_machines_facts_name_the_time_of_a_sync(tmp_path: Path) -> None:
    facts = machine.facts([machine.Place("disk", str(tmp_path), "ext4")], syncs=2)

    assert facts.syncs["disk"].count == 2
    assert facts.syncs["disk"].median > 0
    assert facts.cpu
    assert list(tmp_path.iterdir()) == []


def test_each_round_begins_with_another_candidate() -> None:
    called: list[str] = []
    times = in_turn({name: partial(called.append, name) for name in "abc"}, 3)

    assert "".join(called) == "abcbcacab"
    assert {name: len(one.wall) for name, one in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_95th_percentile_is_the_nearest_rank() -> None:
    assert stat([float(n) for n in range(1, 101)]) == Stat(50.5, 95.0, 100)
    assert stat([3.0]) == Stat(3.0, 3.0, 1)
    with pytest.raises(ValueError, match="nothing was measured"):
        stat([])


def test_a_ratio_to_what_took_no_time_is_unknown() -> None:
    assert over(Stat(4, 4, 1), Stat(2, 2, 1)) == 2
    assert over(Stat(4, 4, 1), Stat(0, 0, 1)) is None
    assert over(None, Stat(2, 2, 1)) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "--"),
        (0.0, "0.00 ns"),
        (75.6e-9, "75.6 ns"),
        (0.001234, "1.23 ms"),
        (0.0999e-3, "99.9 µs"),
        (123e-6, "123 µs"),
        (12.0, "12.0 s"),
        (-0.002, "-2.00 ms"),
    ],
)
def test_times_have_three_digits_and_a_unit(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_a_median_above_its_limit_is_marked_and_named_at_the_end() -> None:
    rows = [
        Row(group="g", name="slow", wall=Stat(2, 3, 1), limit_wall=1),
        Row(group="g", name="fast", wall=Stat(0.5, 3, 1), limit_wall=1),
        Row(group="g", name="unknown"),
    ]
    text = as_text(Report(HERE, rows))

    assert "OVER" in next(line for line in text.splitlines() if line.startswith("slow"))
    assert "within" in next(line for line in text.splitlines() if line.startswith("fast"))
    assert text.splitlines()[-1] == "over its limit: slow (g)"
    assert next(line for line in text.splitlines() if line.startswith("unknown")).count("--") == 5


def test_the_markdown_is_one_table() -> None:
    rows = [Row(group="g", name="a|b", ratio=2.0), Row(group="h", name="c")]
    table = [line for line in as_markdown(Report(HERE, rows)).splitlines() if line[:1] == "|"]

    assert {line.count("|") for line in table} == {len(HEADINGS) + 1}
    assert sum("**" in line for line in table) == 2


def test_the_json_can_be_read_back() -> None:
    report = Report(HERE, [Row(group="g", name="n", wall=Stat(1, 2, 3))], {"x": "why"})

    assert msgspec.json.decode(as_json(report), type=Report) == report
