"""What is listed with an index is what is listed without one, whatever happened meanwhile."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.store import history
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.history import earlier_runs, find_runs, list_loaded, list_records
from robot_sf_otel.store.index import INDEX_NAME
from robot_sf_otel.store.reader import LoadedRun, load_run
from robot_sf_otel.store.retention import prune
from tests.data.ended_runs import SECOND, START, write_run

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord

FILTERS: Final[list[dict[str, Any]]] = [
    {"status": "failed"},
    {"status": "completed"},
    {"status": "running"},
    {"pipeline": "p"},
    {"pipeline": "q"},
    {"tag": "night"},
    {"host": "there"},
    {"scenario": "minimal"},
    {"pipeline": "q", "status": "completed", "since_ns": (START + 3) * SECOND},
    {"pipeline": "p", "until_ns": (START + 3) * SECOND},
    {"status": "completed", "limit": 2},
]


def without_index(root: Path, **wanted: Any) -> list[PipelineRunRecord]:  # noqa: ANN401 - filters
    """What a filter selects, from every run's own files."""
    limit = wanted.pop("limit", None)
    span = {name: wanted.pop(name) for name in ("since_ns", "until_ns") if name in wanted}
    found = list_records([root], limit=None, **span)
    hosts = [(record, record.host.get("hostname")) for record in found]
    return [
        record
        for record, host in hosts
        if record.status == wanted.get("status", record.status)
        and record.pipeline == wanted.get("pipeline", record.pipeline)
        and host == wanted.get("host", host)
        and ("tag" not in wanted or wanted["tag"] in record.tags)
        and ("scenario" not in wanted or record.scenario_config_path == "conf/minimal.toml")
    ][:limit]


_UNLIMITED: Final[dict[str, Any]] = {"limit": None}


def assert_same(root: Path) -> None:
    for wanted in FILTERS:
        assert list_records([root], **_UNLIMITED | wanted) == without_index(root, **wanted)


class Meanwhile:
    """What may happen to an artifact root between two looks."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)  # noqa: S311 - what happens in a test, no secret
        self._count = 0

    def any_run(self) -> Path | None:
        return self.random.choice(sorted(find_runs([self.root])) or [None])

    def run_ends(self) -> None:
        self._count += 1
        write_run(
            self.root,
            f"20260101T0000{self._count:02}Z-p-aaaaaa" if self._count % 3 else f"n{self._count}",
            at=self._count,
            status=self.random.choice(["completed", "failed"]),
            pipeline=self.random.choice("pq"),
            tags=self.random.choice([[], ["night"]]),
            host=self.random.choice(["here", "there"]),
            scenario_config_path=self.random.choice([None, "conf/minimal.toml"]),
            derived=self._count % 4 != 0,
        )

    def run_is_deleted(self) -> None:
        if run_dir := self.any_run():
            shutil.rmtree(run_dir)

    def run_is_resumed(self) -> None:
        if run_dir := self.any_run():
            again = e.RunResumed(time_unix_nano=(START + 50) * SECOND)
            end = e.RunFinished(
                time_unix_nano=(START + 60) * SECOND, status="completed", result="success"
            )
            ended = self.random.random() < 0.7
            lines = encode_event(again) + (encode_event(end) if ended else b"")
            with (run_dir / "manifest.jsonl").open("ab") as file:
                file.write(lines)
            if ended and self.random.random() < 0.7:
                write_derived(run_dir, load_run(run_dir).record)

    def child_writes_late(self) -> None:
        if run_dir := self.any_run():
            (run_dir / "workers").mkdir(exist_ok=True)
            late = e.ParamsLogged(time_unix_nano=(START + 70) * SECOND, tags=["night"])
            with (run_dir / "workers" / "h-1-aaaaaa.jsonl").open("ab") as file:
                file.write(encode_event(late))

    def file_is_damaged(self) -> None:
        if run_dir := self.any_run():
            name = self.random.choice(["manifest.json", "manifest.jsonl"])
            with (run_dir / name).open("ab") as file:
                file.write(b"broken")

    def index_is_damaged(self) -> None:
        path = self.root / "run-tracker" / INDEX_NAME
        if path.exists():
            data = bytearray(path.read_bytes())
            for _ in range(3):
                data[self.random.randrange(len(data))] = self.random.randrange(256)
            path.write_bytes(data)

    def index_is_deleted(self) -> None:
        (self.root / "run-tracker" / INDEX_NAME).unlink(missing_ok=True)

    def old_ones_are_pruned(self) -> None:
        prune(self.root, 4)


EVENTS: Final = sorted(name for name in vars(Meanwhile) if name[0] != "_" and name != "any_run")


@settings(max_examples=30)
@given(
    happened=st.lists(st.sampled_from(["run_ends", "run_ends", *EVENTS]), max_size=15),
    seed=st.integers(0, 2**32),
)
def test_an_index_changes_no_answer(happened: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        meanwhile = Meanwhile(Path(folder), seed)
        for name in ("run_ends", "run_ends", *happened):
            getattr(meanwhile, name)()
            assert_same(Path(folder))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that were read."""
    names: list[str] = []
    real = load_run

    def counting(run_dir: Path, *, telemetry: bool = True) -> LoadedRun:
        names.append(run_dir.name)
        return real(run_dir, telemetry=telemetry)

    monkeypatch.setattr(history, "load_run", counting)
    return names


def test_runs_that_do_not_match_are_read_once(tmp_path: Path, read: list[str]) -> None:
    for at in range(5):
        write_run(tmp_path, f"r{at}", at=at, status="failed" if at == 3 else "completed")
    for expected in (5, 1):
        read.clear()
        assert [run.run_id for run in list_records([tmp_path], status="failed")] == ["r3"]
        assert len(read) == expected


def test_each_artifact_root_has_an_index_of_its_own(tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        write_run(root, "same", pipeline=root.name)
    assert [run.pipeline for run in list_records(roots, pipeline="two")] == ["two"]
    assert all((root / "run-tracker" / INDEX_NAME).is_file() for root in roots)


def test_an_open_run_is_always_read(tmp_path: Path, read: list[str]) -> None:
    write_run(tmp_path, "open", derived=False)
    for _ in range(2):
        list_records([tmp_path], status="failed")
    assert read == ["open", "open"]


def test_a_list_without_filter_writes_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, "a")
    list_records([tmp_path])
    assert [path.name for path in (tmp_path / "run-tracker").iterdir()] == ["a"]


def test_neither_finding_nor_pruning_takes_the_index_for_a_run(tmp_path: Path) -> None:
    write_run(tmp_path, "a")
    list_records([tmp_path], status="failed")
    assert [run.name for run in find_runs([tmp_path])] == ["a"]
    done = prune(tmp_path, 0)
    assert [one.run_dir.name for one in done.removed] == ["a"]
    assert (done.unreadable, done.failed) == ([], [])
    assert [path.name for path in (tmp_path / "run-tracker").iterdir()] == [INDEX_NAME]


# -- earlier runs ---------------------------------------------------------------------------------


_OF_P: Final[dict[str, Any]] = {"pipeline": "p"}


def earlier(root: Path, **wanted: Any) -> list[str]:  # noqa: ANN401 - arguments of any type
    return [run.run_id for run in earlier_runs([root], **_OF_P | wanted)]


def test_earlier_runs_are_the_newest_completed_ones_oldest_first(tmp_path: Path) -> None:
    for at in range(6):
        write_run(tmp_path, f"r{at}", at=at, status="failed" if at == 4 else "completed")
    write_run(tmp_path, "other", at=7, pipeline="q")
    assert earlier(tmp_path) == ["r0", "r1", "r2", "r3", "r5"]
    assert earlier(tmp_path, limit=2) == ["r3", "r5"]
    assert earlier(tmp_path, before_ns=(START + 3) * SECOND) == ["r0", "r1", "r2"]
    assert earlier(tmp_path, pipeline="none") == []


def test_earlier_runs_keep_what_durations_are_learned_from(tmp_path: Path) -> None:
    run_dir = write_run(
        tmp_path, "a", steps={"train": 3.0, "test": 1.0}, params={"n": 1}, argv=["x"]
    )
    whole = load_run(run_dir).record
    (slim,) = earlier_runs([tmp_path], pipeline="p")
    assert (slim.params, slim.host, slim.duration_seconds) == ({"n": 1}, {"hostname": "here"}, 4.0)
    assert slim.steps == whole.steps
    assert (slim.argv, slim.telemetry) == ([], {})


def test_earlier_runs_of_many_steps_are_fewer(tmp_path: Path, read: list[str]) -> None:
    for at in range(4):
        write_run(tmp_path, f"r{at}", at=at, steps={"train": 3.0, "test": 1.0})
    assert earlier(tmp_path, steps=3) == ["r2", "r3"]
    assert earlier(tmp_path, steps=0) == ["r3"]
    assert read == ["r3", "r2", "r3"]
    assert earlier(tmp_path, steps=100) == ["r0", "r1", "r2", "r3"]


def test_earlier_runs_read_no_more_unknown_runs_than_they_may(
    tmp_path: Path, read: list[str]
) -> None:
    for at in range(5):
        write_run(tmp_path, f"r{at}", at=at)
    assert earlier(tmp_path, unread=2) == ["r3", "r4"]
    assert read == ["r4", "r3"]
    # Those are known by now.
    assert earlier(tmp_path, unread=2) == ["r1", "r2", "r3", "r4"]
    assert earlier(tmp_path, unread=0) == ["r1", "r2", "r3", "r4"]


def test_a_list_has_the_steps_of_runs_that_the_index_found(tmp_path: Path) -> None:
    write_run(tmp_path, "a")
    for _ in range(2):
        (run,) = list_loaded([tmp_path], pipeline="p")
        assert [step.step_id for step in run.record.steps] == ["train"]
