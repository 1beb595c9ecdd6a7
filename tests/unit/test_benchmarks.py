"""The benchmarks measure what they say; no time is asserted here, machines differ."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import benchmarks.__main__ as command
from benchmarks import (
    demo_cost,
    history_cost,
    idle,
    import_cost,
    limits,
    machine,
    others,
    overhead,
    progress_cost,
    record_size,
    run_cost,
    sample_cost,
    status_cost,
    step_cost,
    trackers,
    training,
)
from benchmarks.interpreters import environment
from benchmarks.interval import mean_interval
from benchmarks.overhead import Pair, Twins
from benchmarks.results import Counts, Figure, Row, Stat, over, stat
from benchmarks.table import HEADINGS, Report, as_json, as_markdown, as_text, seconds
from benchmarks.timing import in_turn
from benchmarks.training import Block, Order
from robot_sf_otel.demo.scenario import DEFAULT_SCENARIO

if TYPE_CHECKING:
    from pathlib import Path

TINY = Counts(
    steps=3,
    recorded=(0, 5),
    items=10,
    loops=3,
    interpreters=1,
    samples=2,
    run_samples=10,
    kept_samples=100,
    forks=1,
    training_seconds=0.04,
    trainings=1,
    syncs=2,
    listed_runs=25,
    day_samples=50,
)
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


def test_a_sample_is_measured_beside_others_and_sees_the_tree_but_no_strangers(
    tmp_path: Path,
) -> None:
    groups = measured("sample", tmp_path)

    assert [rows[0].name for rows in groups.values()] == [sample_cost.SAMPLE] * 4
    for rows, scene in zip(groups.values(), sample_cost.SCENES, strict=True):
        assert f"saw {scene.tree} processes," in (rows[0].note or "")
        timed = [row for row in rows if row.cpu is not None]
        assert {sample_cost.WRITTEN, others.PSUTIL} <= {row.name for row in timed}
        assert {row.ratio_to for row in timed} == {sample_cost.SAMPLE}
        limited = {row.name for row in rows if row.limit_cpu == limits.SAMPLE_CPU}
        assert limited == ({sample_cost.SAMPLE, sample_cost.WRITTEN} if scene.tree <= 10 else set())


@pytest.mark.parametrize("name", others.NEEDS)
def test_what_is_not_installed_gets_a_line_that_says_what_to_install(name: str) -> None:
    with others.samplers() as samplers:
        assert (name in samplers) != (name in others.missing())


def test_idle_processes_end_with_their_block() -> None:
    before = idle.on_host()
    own = psutil.Process()

    others = set(own.children(recursive=True))  # multiprocessing's tracker, of other tests

    with idle.strangers(5), idle.children(3):
        assert len(set(own.children(recursive=True)) - others) == 3
        assert before is None or (idle.on_host() or 0) >= 8

    assert set(own.children(recursive=True)) <= others


def test_the_size_of_samples_is_that_of_a_real_run(tmp_path: Path) -> None:
    (rows,) = measured("disk", tmp_path).values()
    size, day, fast, default = rows

    assert size.figure is not None
    assert size.figure.value > 100
    assert day.figure is not None
    assert day.figure.value == pytest.approx(size.figure.value * 0.0864)
    assert (day.name, day.limit_figure) == (record_size.DAY, limits.TELEMETRY_MB)
    assert fast.cpu is not None
    assert fast.cpu.count >= 10
    assert default.cpu is not None


def test_memory_is_measured_apart_for_the_first_samples_and_the_others(tmp_path: Path) -> None:
    (rows,) = measured("memory", tmp_path).values()

    assert [row.name.rpartition(", ")[2] for row in rows] == ["first 20", "the other 80"]
    assert all(row.figure is not None and row.figure.unit == "MB" for row in rows)


def test_list_is_measured_with_each_filter_and_without_its_index(tmp_path: Path) -> None:
    groups = measured("list", tmp_path)

    lists, earlier = groups.values()
    assert lists[0].name == history_cost.PLAIN
    assert {row.limit_wall for row in lists[:-1]} == {limits.LIST}
    assert (lists[-1].name, lists[-1].limit_wall) == (history_cost.FIRST, limits.LIST_FIRST)
    assert [row.name for row in earlier] == [
        "pipeline of a tenth of the runs",
        "pipeline of no run",
    ]


def test_status_is_measured_in_each_state_of_a_run(tmp_path: Path) -> None:
    (rows,) = measured("status", tmp_path).values()

    assert [row.name for row in rows[::2]] == list(status_cost.STATES)
    assert {row.limit_wall for row in rows[::2]} == {limits.STATUS}
    assert all(row.figure is not None and row.figure.value > 1 for row in rows[1::2])


def test_the_report_is_measured_as_it_is_made_kept_and_opened(tmp_path: Path) -> None:
    (rows,) = measured("report", tmp_path).values()

    assert [row.name for row in rows] == [
        *("export --format html", "memory at its peak", "size", "open in Chromium"),
    ]
    assert [row.limit_figure for row in rows[1:3]] == [limits.REPORT_MEMORY_MB, limits.REPORT_MB]
    opened = rows[3]
    assert (opened.wall is None) == (opened.note is not None)


def test_overhead_is_measured_in_processes_with_telemetry_and_without(tmp_path: Path) -> None:
    groups = measured("overhead", tmp_path)

    assert len(groups) == 2
    for rows in groups.values():
        cost = next(row for row in rows if row.name == overhead.COST)
        assert cost.limit_figure == limits.OVERHEAD_PERCENT
        assert rows[0].note == "1 pairs of processes, 2 pairs of blocks"


def test_a_fork_that_fails_is_no_measurement(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def unit() -> None:
        raise ValueError("no such thing")

    with (
        pytest.raises(RuntimeError, match="a training process failed"),
        training.forked(unit, tmp_path) as trainer,
        pytest.raises(RuntimeError, match="ended early"),
    ):
        trainer(Order(on=False, seconds=0.01))

    assert "no such thing" in capfd.readouterr().err


def test_samples_are_added_to_what_the_loop_pays_between_them() -> None:
    def pairs(slower: float) -> list[Pair]:
        off, on = Block(10, 0.010, 0.010), Block(10, 0.010 * slower, 0.010 * slower)
        with_a_sample = Block(10, 0.030, 0.030)
        return [Pair(off, on), Pair(off, on), Pair(off, with_a_sample)]

    # In each pair of processes one is twice as fast as the other.
    twins = [
        Twins(pairs(1.01 * 2), pairs(1.01 / 2)),
        Twins(pairs(1.02 / 2), pairs(1.02 * 2)),
    ]
    rows = {row.name: row for row in overhead.summary("g", twins, 0.004)}

    between, samples, cost = (
        rows[name].figure for name in (overhead.BETWEEN, overhead.SAMPLES, overhead.COST)
    )
    assert between is not None
    assert (between.value, between.low, between.high) == pytest.approx((1.5, 1.0, 2.0))
    assert samples is not None
    assert samples.value == pytest.approx(0.4)
    assert cost is not None
    assert (cost.value, cost.low, cost.high) == pytest.approx((1.9, 1.4, 2.4))


def test_all_blocks_together_include_those_with_a_sample() -> None:
    off, on, with_a_sample = (Block(10, wall, wall / 2) for wall in (0.010, 0.011, 0.031))
    phase = [Pair(off, on), Pair(off, with_a_sample)]
    rows = {row.name: row for row in overhead.summary("g", [Twins(phase, phase)], 0.1)}

    for clock in ("wall", "CPU"):
        whole = rows[f"{overhead.CHECK}, {clock}"].figure
        assert whole is not None
        assert whole.value == pytest.approx(100 * (0.042 / 0.020 - 1))


def test_the_demo_costs_what_its_manifest_says(tmp_path: Path) -> None:
    text = DEFAULT_SCENARIO.read_text(encoding="utf-8")
    for name, value in {"iterations": 1, "episodes": 5, "epochs": 1}.items():
        text = re.sub(rf"^{name} = \d+", f"{name} = {value}", text, flags=re.MULTILINE)
    scenario = tmp_path / "short.toml"
    scenario.write_text(text, encoding="utf-8")

    (row,) = demo_cost.measure(tmp_path, ["--quick", "--scenario", str(scenario)])

    assert row.figure is not None
    assert row.figure.value > 0
    assert row.limit_figure == limits.OVERHEAD_PERCENT
    assert " samples, " in (row.note or "")


def test_a_demo_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"nowhere\.toml"):
        demo_cost.measure(tmp_path, ["--scenario", "nowhere.toml"])


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


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_an_interval_lies_within_its_values_and_is_the_same_each_time(values: list[float]) -> None:
    low, high = mean_interval(values)

    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert mean_interval(values) == (low, high)


def test_an_interval_is_narrower_where_more_was_measured() -> None:
    few, many = (mean_interval([0.0, 1.0] * count) for count in (5, 500))

    assert few[0] < many[0] < 0.5 < many[1] < few[1]


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure(value=0.9, unit="%"), "within"),
        (Figure(value=1.1, unit="%"), "OVER"),
        (Figure(value=0.5, unit="%", low=0.2, high=0.8), "within"),
        (Figure(value=0.9, unit="%", low=0.2, high=1.6), "undecided"),
        (Figure(value=1.2, unit="%", low=0.9, high=1.5), "undecided"),
        (Figure(value=1.5, unit="%", low=1.1, high=1.9), "OVER"),
    ],
)
def test_a_figure_is_judged_by_its_whole_interval(figure: Figure, verdict: str) -> None:
    row = Row(group="g", name="cost", figure=figure, limit_figure=1.0)
    lines = as_text(Report(HERE, [row])).splitlines()

    assert next(line for line in lines if line.startswith("cost")).endswith(f"< 1 %  {verdict}")
    assert (lines[-1] == "over its limit: cost (g)") == (verdict == "OVER")


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
    assert next(line for line in text.splitlines() if line.startswith("unknown")).count("--") == 6


def test_the_markdown_is_one_table() -> None:
    rows = [Row(group="g", name="a|b", ratio=2.0), Row(group="h", name="c")]
    table = [line for line in as_markdown(Report(HERE, rows)).splitlines() if line[:1] == "|"]

    assert {line.count("|") for line in table} == {len(HEADINGS) + 1}
    assert sum("**" in line for line in table) == 2


def test_the_json_can_be_read_back() -> None:
    report = Report(HERE, [Row(group="g", name="n", wall=Stat(1, 2, 3))], {"x": "why"})

    assert msgspec.json.decode(as_json(report), type=Report) == report


def test_trackers_that_are_not_installed_are_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(module: str) -> bool:
        return module == "tqdm"

    # What it would do to the processes of others that the tests started.
    for name in ("_adopt_orphans", "_wait_for_orphans"):
        monkeypatch.setattr(trackers, name, lambda: None)
    monkeypatch.setattr(trackers, "_installed", installed)
    monkeypatch.setattr(trackers, "UNIT_SECONDS", 1e-9)
    rows = trackers.measure(TINY, tmp_path)

    groups = {row.group for row in rows}
    assert groups == {*trackers.GROUPS.values(), trackers.WHOLE, trackers.KEPT}
    whole = {row.name: row for row in rows if row.group == trackers.WHOLE}
    assert set(whole) == {"nothing", "robot_sf_otel", "tqdm"}
    assert whole["nothing"].ratio == 1
    kept = {row.name: row for row in rows if row.group == trackers.KEPT}
    assert kept["robot_sf_otel"].figure is not None
    assert kept["robot_sf_otel"].figure.value > 1
    assert kept["W&B, offline"].note == "not installed: pip install wandb"


def test_a_tracker_that_fails_is_named_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)no such tool.*KeyError"):
        trackers._run("no such tool", tmp_path, 1, environment(tmp_path / "bytecode"))
