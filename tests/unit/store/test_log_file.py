"""log.txt: whole entries, bounded, read again by entry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.log_file import (
    LONGEST,
    OLDER_NAME,
    LineClock,
    LogFile,
    LogTail,
    entry_text,
    has_log,
    level_number,
    read_log,
    short_entry,
)

if TYPE_CHECKING:
    from pathlib import Path

SPAN = "0123456789abcdef"


def entry(message: str, *, level: str = "INFO", step: str = "train") -> str:
    return entry_text(
        when="2026-01-31T13:00:05.123Z",
        level=level,
        step=step,
        span=SPAN,
        source="app:1",
        message=message,
    )


def texts(run_dir: Path, **wanted: object) -> list[str]:
    found = read_log(run_dir, **wanted)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    return ["\n".join(one.lines).partition(": ")[2] for one in found]


def test_entries_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert not has_log(tmp_path)
    log = LogFile(tmp_path)
    log.append(entry("first"))
    log.append(entry("second\nwith more"))
    log.close()
    log.append(entry("too late"))
    assert has_log(tmp_path)
    assert texts(tmp_path) == ["first", "second\n| with more"]


def test_a_message_cannot_look_like_two_entries(tmp_path: Path) -> None:
    forged = entry("fine", level="CRITICAL")
    log = LogFile(tmp_path)
    log.append(entry(f"one\n{forged}\r{forged}"))
    log.close()
    (only,) = read_log(tmp_path)
    assert only.level == 20
    assert len(only.lines) == 3


def test_no_line_lands_in_a_file_that_is_opened_while_the_log_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(tmp_path)
    log.append(entry("first"))
    checkpoint = tmp_path / "checkpoint"
    write = os.write

    def overtaken(fd: int, data: bytes) -> int:
        """Close the log and open another file between two system calls of this thread."""
        monkeypatch.setattr(os, "write", write)
        log.close()
        with checkpoint.open("wb"):
            return write(fd, data)

    monkeypatch.setattr(os, "write", overtaken)
    log.append(entry("second"))

    assert checkpoint.read_bytes() == b""
    assert texts(tmp_path) == ["first", "second"]
    assert log.error is None


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    def is_open(path: Path) -> bool:
        return any(
            os.path.samestat(os.fstat(fd), path.stat())
            for fd in map(int, os.listdir("/dev/fd"))  # noqa: PTH208 - numbers
            if os.path.exists(f"/dev/fd/{fd}")  # noqa: PTH110 - a descriptor, not a path
        )

    log = LogFile(tmp_path, most_bytes=10)
    log.append(entry("fills it"))
    log.append(entry("in a new one"))
    assert not is_open(tmp_path / OLDER_NAME)
    assert is_open(tmp_path / "log.txt")
    log.close()
    assert not is_open(tmp_path / "log.txt")


def test_a_message_that_is_too_long_is_cut_and_says_so() -> None:
    text = entry("x" * (LONGEST + 5))
    assert text.endswith("… (5 more characters)")


def test_entries_are_chosen_by_step_level_and_number(tmp_path: Path) -> None:
    log = LogFile(tmp_path)
    for number in range(4):
        log.append(entry(f"a{number}", step="a b] c"))
        log.append(entry(f"b{number}", step="", level="ERROR"))
    log.append(entry("odd", step="", level="LOUD"))
    log.close()
    assert texts(tmp_path, step="a b] c", lines=2) == ["a2", "a3"]
    assert texts(tmp_path, level=40) == ["b0", "b1", "b2", "b3", "odd"]
    assert texts(tmp_path, lines=2) == ["b3", "odd"]
    assert texts(tmp_path, lines=100)[0] == "a0"
    assert texts(tmp_path, lines=0) == []


def test_what_is_no_entry_is_shown_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"\xff not ours\n\n| nor this\n")
    assert [one.lines for one in read_log(tmp_path)] == [["\ufffd not ours", "| nor this"]]


def test_a_full_file_is_put_aside_and_the_newest_entries_remain(tmp_path: Path) -> None:
    log = LogFile(tmp_path, most_bytes=1000)
    for number in range(100):
        log.append(entry(str(number)))
    log.close()
    sizes = [(tmp_path / name).stat().st_size for name in ("log.txt", OLDER_NAME)]
    assert all(size < 1200 for size in sizes)
    shown = texts(tmp_path)
    assert shown[-1] == "99"
    assert shown == [str(number) for number in range(100 - len(shown), 100)]


def test_another_writer_goes_on_in_the_new_file(tmp_path: Path) -> None:
    first, second = LogFile(tmp_path, most_bytes=300), LogFile(tmp_path, most_bytes=300)
    second.append(entry("second 0"))
    for number in range(3):
        first.append(entry(f"first {number}"))
    second.append(entry("second 1"))
    assert "second 1" in (tmp_path / "log.txt").read_text()
    first.close()
    second.close()


def test_a_file_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    log = LogFile(tmp_path)
    log.append(entry("before"))
    (tmp_path / "log.txt").unlink()
    log.append(entry("after"))
    log.close()
    assert texts(tmp_path) == ["after"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_not_written_to(tmp_path: Path, kind: str) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    target = tmp_path / "elsewhere"
    if kind == "link":
        (run_dir / "log.txt").symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(run_dir / "log.txt")
    else:
        (run_dir / "log.txt").mkdir()
    log = LogFile(run_dir)
    log.append(entry("x"))
    assert log.take_loss() is not None
    assert log.take_loss() is None
    assert not target.exists()
    log.close()


def test_lost_entries_are_counted_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(tmp_path)
    log.append(entry("one"))
    real = os.write

    def full(fd: int, data: bytes) -> int:
        return real(fd, data[:10])

    monkeypatch.setattr(os, "write", full)
    log.append(entry("lost"))
    log.append(entry("lost too"))
    monkeypatch.setattr(os, "write", real)
    log.append(entry("two"))
    log.close()
    content = (tmp_path / "log.txt").read_text()
    assert "(2 entries before this one were lost)" in content
    assert content.splitlines()[-1].endswith("two")


def test_a_folder_that_comes_later_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robot_sf_otel.store.log_file.RETRY_SECONDS", 0.0)
    log = LogFile(tmp_path / "run")
    log.append(entry("lost"))
    (tmp_path / "run").mkdir()
    log.append(entry("kept"))
    log.close()
    assert texts(tmp_path / "run")[-1] == "kept"


def test_a_tail_tells_what_is_new_across_the_change_of_files(tmp_path: Path) -> None:
    log = LogFile(tmp_path, most_bytes=400)
    log.append(entry("old"))
    tail = LogTail(tmp_path)
    seen: list[str] = []
    for number in range(20):
        log.append(entry(str(number)))
        if number % 2:
            seen += [one.lines[0].rpartition(" ")[2] for one in tail.read()]
    log.close()
    assert seen == [str(number) for number in range(20)]


def test_a_tail_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    tail = LogTail(tmp_path)
    assert tail.read() == []
    log = LogFile(tmp_path)
    log.append(entry("first"))
    log.close()
    assert len(tail.read()) == 1


def test_times_have_milliseconds() -> None:
    clock = LineClock()
    assert clock.text(0.0019) == "1970-01-01T00:00:00.001Z"
    assert clock.text(0.5) == "1970-01-01T00:00:00.500Z"
    assert clock.text(61.25) == "1970-01-01T00:01:01.250Z"


def test_levels_have_names_and_numbers() -> None:
    assert [level_number(name) for name in ("warning", "WARN", "25")] == [30, 30, 25]
    with pytest.raises(ValueError, match="expected a number or one of TRACE"):
        level_number("loud")


def test_a_short_entry_has_neither_span_nor_source() -> None:
    assert short_entry(entry("it: works")) == "13:00:05 INFO [train] it: works"
    assert short_entry("| more") == "| more"
