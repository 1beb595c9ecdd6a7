"""Earlier runs: completed ones of the pipeline, the newest first, bad ones left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_sf_otel.store.earlier import earlier_runs
from tests.data.sample_runs import Story

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, number: int, status: str = "completed", pipeline: str = "imitation") -> None:
    story = Story(f"20260101T00{number:02}00Z-run-{number:06}", pipeline=pipeline)
    if status == "completed":
        story.finish()
    elif status == "failed":
        story.finish("failed", result="failure")
    story.write(root)


def test_earlier_runs_are_completed_ones_of_the_pipeline(tmp_path: Path) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2, "failed")
    write(tmp_path, 3, pipeline="another")
    write(tmp_path, 4)
    write(tmp_path, 5)
    unreadable = tmp_path / "run-tracker" / "20260101T000600Z-run-000006"
    unreadable.mkdir()
    (unreadable / "manifest.jsonl").write_text("no journal")

    found = earlier_runs([tmp_path], "imitation", without="20260101T000500Z-run-000005")

    assert [record.run_id[-1] for record in found] == ["4", "1"]


def test_no_more_than_asked_for_are_read(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path, number)

    assert len(earlier_runs([tmp_path], "imitation", without="", limit=2)) == 2


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    assert earlier_runs([tmp_path / "none"], "imitation", without="") == []
