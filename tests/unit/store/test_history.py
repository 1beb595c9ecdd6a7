"""Runs are found, filtered and named; a bad one hides no other."""

from __future__ import annotations

import calendar
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.store import history
from robot_sf_otel.store.history import (
    AmbiguousRun,
    RunNotFound,
    find_runs,
    list_loaded,
    list_records,
    newest_first,
    resolve_run,
    started_ns,
)
from robot_sf_otel.store.reader import LoadedRun, load_run

if TYPE_CHECKING:
    from pathlib import Path

START = calendar.timegm((2026, 1, 1, 0, 0, 0)) * 1_000_000_000
SECOND = 1_000_000_000


def make_run(
    root: Path,
    name: str,
    *,
    at: float = 0.0,
    run_id: str | None = None,
    host: str | None = None,
    tags: tuple[str, ...] = (),
    pipeline: str = "p",
    scenario: str | None = None,
) -> Path:
    """Write a run that took a second, `at` seconds after 2026 began."""
    run_dir = root / "run-tracker" / name
    run_dir.mkdir(parents=True)
    begun = START + int(at * SECOND)
    events: list[e.Event] = [
        e.RunStarted(
            time_unix_nano=begun,
            run_id=run_id or name,
            pipeline=pipeline,
            tags=list(tags),
            scenario_config_path=scenario,
        ),
        e.ParamsLogged(time_unix_nano=begun, host={"hostname": host} if host else {}),
        e.StepStarted(time_unix_nano=begun, span_id="s", step_id="a"),
        e.RunFinished(time_unix_nano=begun + SECOND, status="completed", result="success"),
    ]
    (run_dir / "manifest.jsonl").write_bytes(b"".join(map(encode_event, events)))
    return run_dir


def stamped(second: int, suffix: str = "aaaaaa") -> str:
    return f"20260101T0000{second:02}Z-p-{suffix}"


def names(runs: list[Path]) -> list[str]:
    return [run.name for run in runs]


def listed(root: Path, **filters: object) -> list[str]:
    return [record.run_id for record in list_records([root], **filters)]  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_runs_of_all_roots_are_newest_first_whatever_they_are_called(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    make_run(one, stamped(5), at=5)
    make_run(one, "zebra", at=3)
    make_run(two, stamped(9), at=9)
    make_run(two, "ant", at=7)
    assert names(list(newest_first([one, two]))) == [stamped(9), "ant", stamped(5), "zebra"]


def test_runs_of_the_same_second_are_in_the_order_of_their_starts(tmp_path: Path) -> None:
    make_run(tmp_path, stamped(5, "cccccc"), at=5.1)
    make_run(tmp_path, stamped(5, "aaaaaa"), at=5.9)
    make_run(tmp_path, stamped(5, "bbbbbb"), at=5.5)
    found = names(list(newest_first([tmp_path])))
    assert [name[-6:] for name in found] == ["aaaaaa", "bbbbbb", "cccccc"]


def test_root_that_is_named_twice_or_missing_changes_nothing(tmp_path: Path) -> None:
    make_run(tmp_path / "one", "a")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    (tmp_path / "file").write_text("")
    roots = [tmp_path / name for name in ("one", "one", "link", "gone", "file")]
    assert names(find_runs(roots)) == ["a"]


def test_links_and_other_folders_are_no_runs(tmp_path: Path) -> None:
    make_run(tmp_path / "outside", "secret")
    make_run(tmp_path, "real")
    tracker = tmp_path / "run-tracker"
    (tracker / "link").symlink_to(tmp_path / "outside" / "run-tracker" / "secret")
    (tracker / "empty").mkdir()
    (tracker / "perf_test_results.json").write_text("{}")
    assert names(find_runs([tmp_path])) == ["real"]


@pytest.mark.parametrize("name", ["20261399T999999Z-p-aaaaaa", "2026", "run"])
def test_name_without_a_time_is_ordered_by_its_first_event(tmp_path: Path, name: str) -> None:
    assert started_ns(make_run(tmp_path, name, at=2.5)) == START + int(2.5 * SECOND)


@pytest.mark.parametrize(
    "created", ['"2026-01-01T00:00:05.000+00:00"', '"2026-01-01T01:00:05+01:00"']
)
def test_run_of_the_original_tracker_is_ordered_by_its_own_time(
    tmp_path: Path, created: str
) -> None:
    make_run(tmp_path, "before", at=1)
    make_run(tmp_path, "after", at=9)
    old = tmp_path / "run-tracker" / "old"
    old.mkdir()
    (old / "manifest.jsonl").write_text(f'{{"run_id": "old", "created_at": {created}}}\n')
    assert listed(tmp_path) == ["after", "old", "before"]
    assert list_records([tmp_path], pipeline="robot_sf")[0].run_id == "old"


def test_run_that_tells_no_time_counts_as_begun_when_its_folder_changed(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "odd")
    for content in ('{"run_id": "odd", "created_at": "then"}\n', "broken", ""):
        (run_dir / "manifest.jsonl").write_text(content)
        assert started_ns(run_dir) == run_dir.stat().st_mtime_ns


def test_filters_select_runs(tmp_path: Path) -> None:
    make_run(tmp_path, "a", at=1, pipeline="x", host="h1", tags=("night", "gpu"))
    make_run(tmp_path, "b", at=2, scenario="conf/minimal.toml")
    assert listed(tmp_path) == ["b", "a"]
    assert listed(tmp_path, limit=1) == ["b"]
    assert listed(tmp_path, limit=0) == []
    assert listed(tmp_path, limit=None) == ["b", "a"]
    assert listed(tmp_path, status="completed") == ["b", "a"]
    assert listed(tmp_path, status="failed") == []
    assert listed(tmp_path, pipeline="x") == ["a"]
    assert listed(tmp_path, host="h1") == ["a"]
    assert listed(tmp_path, tag="gpu") == ["a"]
    for scenario in ("conf/minimal.toml", "minimal.toml", "minimal"):
        assert listed(tmp_path, scenario=scenario) == ["b"]
    assert listed(tmp_path, scenario="mini") == []


def test_since_and_until_are_exact_within_a_second(tmp_path: Path) -> None:
    for tenth in (1, 5, 9):
        make_run(tmp_path, stamped(5, f"{tenth:06}"), at=5 + tenth / 10)
    make_run(tmp_path, stamped(4), at=4)
    make_run(tmp_path, stamped(6), at=6)
    middle = START + int(5.5 * SECOND)
    since = [name[9:] for name in listed(tmp_path, since_ns=middle)]
    assert since == ["000006Z-p-aaaaaa", "000005Z-p-000009", "000005Z-p-000005"]
    until = [name[9:] for name in listed(tmp_path, until_ns=middle)]
    assert until == ["000005Z-p-000001", "000004Z-p-aaaaaa"]
    assert listed(tmp_path, since_ns=middle, until_ns=middle) == []


def test_listed_records_have_no_steps_and_loaded_ones_do(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "a")
    assert list_records([tmp_path])[0].steps == []
    loaded = list_loaded([tmp_path])[0]
    assert (loaded.run_dir, [step.step_id for step in loaded.record.steps]) == (run_dir, ["a"])


def test_run_that_cannot_be_read_is_listed_with_the_reason_beside_the_others(
    tmp_path: Path,
) -> None:
    make_run(tmp_path, stamped(1), at=1)
    for second, content in enumerate([b"", b"\xff\xfe\n", b'{"event":"run_started"}\n'], start=2):
        bad = tmp_path / "run-tracker" / stamped(second)
        bad.mkdir()
        (bad / "manifest.jsonl").write_bytes(content)
    records = list_records([tmp_path])
    assert [record.status for record in records] == ["failed", "failed", "failed", "completed"]
    assert all("no readable start" in (record.status_reason or "") for record in records[:3])


def test_only_as_many_runs_are_read_as_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(10):
        make_run(tmp_path, stamped(second), at=second)
    read: list[Path] = []
    real = load_run

    def counting(run_dir: Path, *, telemetry: bool = True) -> LoadedRun:
        read.append(run_dir)
        return real(run_dir, telemetry=telemetry)

    monkeypatch.setattr(history, "load_run", counting)
    assert len(listed(tmp_path, limit=3)) == 3
    assert len(read) == 3


def test_run_is_resolved_by_id_prefix_path_file_and_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_run(tmp_path, stamped(1), at=1)
    new = make_run(tmp_path, "nightly", at=2)
    monkeypatch.chdir(old.parent)
    for text in (stamped(1), "2026", str(old), f"./{old.name}", str(old / "manifest.jsonl")):
        assert resolve_run([tmp_path], text) == old
    for text in ("latest", "nightly", "n"):
        assert resolve_run([tmp_path], text) == new
    monkeypatch.chdir(old)
    assert resolve_run([tmp_path], ".") == old


def test_exact_id_beats_a_prefix_and_a_directory_beats_a_recorded_id(tmp_path: Path) -> None:
    short = make_run(tmp_path, "run", at=1)
    make_run(tmp_path, "run-2", at=2, run_id="run")
    moved = make_run(tmp_path, "archive", at=3, run_id="before")
    make_run(tmp_path, "before-2", at=4)
    assert resolve_run([tmp_path], "run") == short
    assert resolve_run([tmp_path], "before") == moved


def test_prefix_of_several_runs_is_ambiguous_and_names_them(tmp_path: Path) -> None:
    for number in range(5):
        make_run(tmp_path, f"run-{number}")
    with pytest.raises(AmbiguousRun, match=r"5 runs begin with 'run': run-4, run-3, run-2 and 2"):
        resolve_run([tmp_path], "run")


def test_same_id_under_two_roots_is_ambiguous_and_shows_the_paths(tmp_path: Path) -> None:
    for root in ("one", "two"):
        make_run(tmp_path / root, "a")
    with pytest.raises(AmbiguousRun, match="two/run-tracker/a"):
        resolve_run([tmp_path / "one", tmp_path / "two"], "a")


def test_unknown_run_is_answered_with_the_closest(tmp_path: Path) -> None:
    make_run(tmp_path, "nightly")
    make_run(tmp_path, "weekly")
    with pytest.raises(RunNotFound, match=r"no run 'nigthly'; the closest are nightly"):
        resolve_run([tmp_path], "nigthly")


@pytest.mark.parametrize("text", ["", " ", "\0", "x" * 5000, "~nobody-has-this-name/x", "a/\0"])
def test_text_that_names_nothing_is_not_found_and_no_other_error(tmp_path: Path, text: str) -> None:
    make_run(tmp_path, "a")
    with pytest.raises(RunNotFound) as caught:
        resolve_run([tmp_path], text)
    assert len(str(caught.value)) < 400


def test_where_there_are_no_runs_that_is_said_with_the_place(tmp_path: Path) -> None:
    for text in ("latest", "x"):
        with pytest.raises(RunNotFound, match=f"there are no runs under {tmp_path}/run-tracker"):
            resolve_run([tmp_path], text)
