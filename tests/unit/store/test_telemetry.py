from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest.schema import GpuSample, TelemetrySnapshot
from robot_sf_otel.store.telemetry import (
    TelemetryWriter,
    iter_snapshots,
    last_snapshot,
    summarise,
)

if TYPE_CHECKING:
    from pathlib import Path


class Faults(list[Exception]):
    def __call__(self, where: str, error: Exception) -> None:
        self.append(error)


def sample(number: int) -> TelemetrySnapshot:
    return TelemetrySnapshot(timestamp_ms=number, memory_rss_mb=float(number))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.jsonl"


@pytest.fixture
def faults() -> Faults:
    return Faults()


def test_sample_is_read_back_and_unknown_readings_are_left_out(path: Path, faults: Faults) -> None:
    writer = TelemetryWriter(path, on_fault=faults)
    written = TelemetrySnapshot(timestamp_ms=5, gpus=[GpuSample(index=0, name="A")], notes="é")
    writer.append(written)
    writer.close()
    assert list(iter_snapshots(path)) == [written]
    assert b"null" not in path.read_bytes()
    assert writer.bytes_written == path.stat().st_size


def test_reading_that_is_no_number_is_unknown(path: Path, faults: Faults) -> None:
    writer = TelemetryWriter(path, on_fault=faults)
    writer.append(TelemetrySnapshot(timestamp_ms=1, fps=float("nan")))
    writer.close()
    assert [snapshot.fps for snapshot in iter_snapshots(path)] == [None]


def test_torn_line_of_an_earlier_process_is_not_glued_to_the_next_sample(
    path: Path, faults: Faults
) -> None:
    path.write_bytes(b'{"timestamp_ms":1}\n{"timestamp')
    writer = TelemetryWriter(path, on_fault=faults)
    writer.append(sample(2))
    writer.close()
    assert [snapshot.timestamp_ms for snapshot in iter_snapshots(path)] == [1, 2]


def test_sample_that_the_disk_cuts_off_is_lost_and_the_next_one_is_whole(
    path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TelemetryWriter(path, on_fault=faults)
    real = os.write

    def five_bytes(fd: int, data: bytes) -> int:
        return real(fd, data[:5])

    monkeypatch.setattr(os, "write", five_bytes)
    writer.append(sample(1))
    monkeypatch.setattr(os, "write", real)
    writer.append(sample(2))
    writer.close()
    assert [snapshot.timestamp_ms for snapshot in iter_snapshots(path)] == [2]
    assert (writer.samples_lost, len(faults)) == (1, 1)


def test_missing_folder_loses_samples_and_raises_nothing(tmp_path: Path, faults: Faults) -> None:
    target = tmp_path / "gone" / "telemetry.jsonl"
    writer = TelemetryWriter(target, on_fault=faults)
    writer.append(sample(1))
    target.parent.mkdir()
    writer.append(sample(2))
    writer.close()
    writer.append(sample(3))
    assert [snapshot.timestamp_ms for snapshot in iter_snapshots(target)] == [2]
    assert writer.samples_lost == 2
    assert isinstance(faults[0], FileNotFoundError)


def test_descriptor_that_somebody_closed_is_opened_again(path: Path, faults: Faults) -> None:
    writer = TelemetryWriter(path, on_fault=faults)
    writer.append(sample(1))
    assert writer._fd is not None
    os.close(writer._fd)
    writer.append(sample(2))
    writer.append(sample(3))
    writer.close()
    assert [snapshot.timestamp_ms for snapshot in iter_snapshots(path)] == [1, 3]
    assert [getattr(error, "errno", 0) for error in faults] == [errno.EBADF]


def test_damaged_samples_are_skipped(path: Path) -> None:
    path.write_bytes(
        b'{"timestamp_ms":1}\n{"timestamp_ms":"x"}\n{"timestamp_ms":2,"notes":"\xff"}\n\0\0\n'
        b'{"timestamp_ms":3,"colour":"blue"}\n{"timestamp_ms":4'
    )
    assert [snapshot.timestamp_ms for snapshot in iter_snapshots(path)] == [1, 3]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", None),
        (b'{"timestamp_ms":1}\n', 1),
        (b'{"timestamp_ms":1}\n{"timestamp_ms":2', 1),
        (b"x" * 300_000 + b'\n{"timestamp_ms":7}\n', 7),
        (b'{"timestamp_ms":1}\n' + b"x" * 300_000, None),
        (b'{"timestamp_ms":1,"steps":[{"step_id":"a"}]}\n', 1),
    ],
    ids=["empty", "one", "torn", "after much", "out of sight", "nested"],
)
def test_last_sample_is_the_last_whole_one_at_the_end(
    path: Path, content: bytes, expected: int | None
) -> None:
    path.write_bytes(content)
    last = last_snapshot(path)
    assert (last.timestamp_ms if last else None) == expected


def test_missing_file_has_no_samples(tmp_path: Path) -> None:
    assert last_snapshot(tmp_path / "gone") is None
    assert summarise(tmp_path / "gone") == {}


def test_summary_has_the_figures_of_all_samples(path: Path, faults: Faults) -> None:
    writer = TelemetryWriter(path, on_fault=faults)
    for number in range(1, 101):
        writer.append(sample(number))
    writer.close()
    figures = summarise(path)["memory_rss_mb"]
    assert (figures.count, figures.mean, figures.maximum) == (100, 50.5, 100.0)
    assert figures.p95 == pytest.approx(95, rel=0.01)


def test_samples_that_are_lost_are_a_gap_once_that_is_over(
    path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TelemetryWriter(path, on_fault=faults)
    writer.append(sample(1))

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        writer.append(sample(2))
        writer.append(sample(3))
        assert writer.take_gap() is None
    writer.append(sample(4))
    gap = writer.take_gap()
    assert gap is not None
    assert (gap.count, gap.first_ns, gap.last_ns) == (2, 2_000_000, 3_000_000)
    assert "Disk quota exceeded" in gap.why
    assert writer.take_gap() is None
    writer.close()


def test_gap_is_over_at_the_end_in_any_case(path: Path, faults: Faults) -> None:
    path.mkdir()
    writer = TelemetryWriter(path, on_fault=faults)
    writer.append(sample(1))
    gap = writer.take_gap(end=True)
    assert gap is not None
    assert gap.count == 1


def test_deleted_file_is_written_again(path: Path, faults: Faults) -> None:
    writer = TelemetryWriter(path, on_fault=faults)
    writer.append(sample(1))
    path.unlink()
    writer.append(sample(2))
    writer.look_after()
    writer.append(sample(3))
    writer.look_after()
    writer.close()
    assert [snapshot.timestamp_ms for snapshot in iter_snapshots(path)] == [1, 2, 3]
    (fault,) = faults
    assert "deleted during the run" in str(fault)


def test_deleted_file_whose_folder_is_gone_is_kept_until_it_is_back(
    tmp_path: Path, faults: Faults
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    writer = TelemetryWriter(folder / "telemetry.jsonl", on_fault=faults)
    writer.append(sample(1))
    (folder / "telemetry.jsonl").unlink()
    folder.rmdir()
    writer.look_after()
    assert isinstance(faults[0], FileNotFoundError)
    folder.mkdir()
    writer.look_after()
    writer.close()
    assert len(list(iter_snapshots(folder / "telemetry.jsonl"))) == 1
