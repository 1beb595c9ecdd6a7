"""A run that was recorded elsewhere: written once, beside all others, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import TelemetrySnapshot
from robot_sf_otel.store import derived, imported
from robot_sf_otel.store.imported import UNFINISHED, Written, write_imported
from robot_sf_otel.store.reader import load_run
from tests.data import sample_runs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.data.sample_runs import Story


def write(root: Path, story: Story, **changes: Any) -> Written:  # noqa: ANN401 - arguments of it
    settings: dict[str, Any] = {
        "run_id": story.run_id,
        "events": story.events,
        "snapshots": iter(story.samples),
        "format": "otlp",
        "sources": ["traces.jsonl"],
        "now_ns": 1_770_000_000_000_000_000,
    }
    return write_imported(root, **(settings | changes))


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "run-tracker").iterdir())


def test_an_imported_run_reads_like_any_other_and_says_where_it_came_from(tmp_path: Path) -> None:
    story = sample_runs.healthy()
    written = write(tmp_path, story)
    record = load_run(written.run_dir).record

    assert written.is_new
    assert written.record == record
    assert (record.run_id, record.status) == (story.run_id, "completed")
    assert record.artifact_dir == str(written.run_dir.absolute())
    assert record.imported is not None
    assert (record.imported.format, record.imported.sources) == ("otlp", ["traces.jsonl"])
    assert record.imported.imported_at == "2026-02-02T02:40:00.000000Z"
    assert record.telemetry["cpu_percent_process"].count == 3
    assert (written.run_dir / "manifest.md").exists()


def test_the_same_data_is_recognised_and_not_repeated(tmp_path: Path) -> None:
    first = write(tmp_path, sample_runs.healthy())
    again = write(tmp_path, sample_runs.healthy(), sources=["elsewhere.jsonl"], now_ns=1)

    assert (again.run_dir, again.is_new, again.record) == (first.run_dir, False, None)
    assert folders(tmp_path) == [first.run_dir.name]


def test_a_name_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    existing = sample_runs.healthy().write(tmp_path)
    before = (existing / "manifest.jsonl").read_bytes()
    second = write(tmp_path, sample_runs.healthy())
    third = write(tmp_path, sample_runs.healthy(), snapshots=iter(()))
    again = write(tmp_path, sample_runs.healthy(), snapshots=iter(()))

    assert (existing / "manifest.jsonl").read_bytes() == before
    assert second.run_dir.name == f"{existing.name}-2"
    assert third.run_dir.name == f"{existing.name}-3"
    assert (again.run_dir, again.is_new) == (third.run_dir, False)


def test_an_import_that_was_killed_takes_no_name_and_is_swept_a_day_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> Any:  # noqa: ANN401 - an iterator
        yield TelemetrySnapshot(timestamp_ms=1)
        raise KeyboardInterrupt

    def leave(*_: object, **__: object) -> None:
        """Clean nothing up: whoever would is dead."""

    name = sample_runs.healthy().run_id
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", leave)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, sample_runs.healthy(), snapshots=killed())
    (left,) = folders(tmp_path)
    now_ns = (tmp_path / "run-tracker" / left).stat().st_mtime_ns

    first = write(tmp_path, sample_runs.healthy(), now_ns=now_ns)
    assert first.run_dir.name == name
    assert folders(tmp_path) == [left, name]

    write(tmp_path, sample_runs.healthy(), now_ns=now_ns + 25 * 3600 * 10**9)
    assert folders(tmp_path) == [name]


def test_a_name_that_is_taken_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = sample_runs.healthy()
    fill = derived.write_derived

    def taken(hidden: Path, record: Any) -> int:  # noqa: ANN401 - the record
        monkeypatch.setattr(imported, "write_derived", fill)
        (hidden.parent / story.run_id).mkdir()
        return fill(hidden, record)

    monkeypatch.setattr(imported, "write_derived", taken)
    written = write(tmp_path, story)

    assert written.run_dir.name == f"{story.run_id}-2"
    assert load_run(written.run_dir).record.run_id == written.run_dir.name
    assert folders(tmp_path) == [story.run_id, written.run_dir.name]
    assert not list((tmp_path / "run-tracker" / story.run_id).iterdir())


def test_a_folder_that_cannot_be_renamed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("read-only")

    monkeypatch.setattr("pathlib.Path.rename", refuse)
    with pytest.raises(OSError, match="read-only"):
        write(tmp_path, sample_runs.healthy())

    assert folders(tmp_path) == []


def test_samples_of_other_processes_have_figures_of_their_own(tmp_path: Path) -> None:
    samples = [
        TelemetrySnapshot(timestamp_ms=1_767_225_600_000 + index, memory_rss_mb=rss, process=who)
        for index, (who, rss) in enumerate([(None, 100.0), ("b:7", 900.0), ("b:7", 700.0)])
    ]
    record = load_run(write(tmp_path, sample_runs.healthy(), snapshots=samples).run_dir).record

    assert record.telemetry["memory_rss_mb"].maximum == 100
    assert record.worker_telemetry["b:7"]["memory_rss_mb"].mean == 800


def test_a_run_without_its_end_is_closed_at_its_last_sign_of_life(tmp_path: Path) -> None:
    story = sample_runs.running()
    last_ms = story.start_ns // 1_000_000 + 100_000
    samples = [TelemetrySnapshot(timestamp_ms=last_ms)]
    record = load_run(write(tmp_path, story, snapshots=samples).run_dir).record

    assert (record.status, record.status_reason) == ("failed", UNFINISHED)
    assert record.completed_at == "2026-01-01T03:01:40.000000Z"


@pytest.mark.parametrize("name", ["../../etc", "", "latest", "-rf", "a\nb", "x" * 500])
def test_a_hostile_name_stays_inside_the_tree(tmp_path: Path, name: str) -> None:
    written = write(tmp_path, sample_runs.healthy(), run_id=name)

    assert written.run_dir.parent == tmp_path / "run-tracker"
    assert load_run(written.run_dir).record.status == "completed"
    assert folders(tmp_path) == [written.run_dir.name]


def test_events_are_put_in_order(tmp_path: Path) -> None:
    story = sample_runs.healthy()
    written = write(tmp_path, story, events=story.events[::-1])

    assert written.record is not None
    assert written.record.steps[0].step_id == "train"


def test_events_without_a_start_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    events = [
        event for event in sample_runs.healthy().events if not isinstance(event, e.RunStarted)
    ]
    with pytest.raises(ValueError, match="a run begins once: 0 starts"):
        write(tmp_path, sample_runs.healthy(), events=events)

    assert not (tmp_path / "run-tracker").exists()


def test_samples_that_cannot_be_read_leave_nothing(tmp_path: Path) -> None:
    def broken() -> Any:  # noqa: ANN401 - an iterator
        yield TelemetrySnapshot(timestamp_ms=1)
        raise OSError("bad sector")

    with pytest.raises(OSError, match="bad sector"):
        write(tmp_path, sample_runs.healthy(), snapshots=broken())

    assert folders(tmp_path) == []


def test_a_journal_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(imported, "replace_atomically", refuse)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, sample_runs.healthy())

    assert folders(tmp_path) == []
