"""Damaged, foreign, future and huge files: the good part is shown, nothing else is harmed."""

from __future__ import annotations

import json
import os
import resource
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robot_sf_otel import runs
from robot_sf_otel.cli.main import run_command
from robot_sf_otel.manifest.codec import encode_document, encode_event
from robot_sf_otel.manifest.events import StepFinished, StepStarted
from robot_sf_otel.manifest.schema import Artifact, FieldSummary
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.history import list_records, resolve_run
from robot_sf_otel.store.lines import MAX_LINE
from robot_sf_otel.store.lock import is_locked, owner_state, read_owner
from robot_sf_otel.store.reader import UnreadableRun, fold_run, load_run
from robot_sf_otel.store.tail import is_too_deep, iter_raw
from robot_sf_otel.store.telemetry import iter_snapshots, last_snapshot, summarise
from tests.data import sample_runs
from tools import fuzz_readers

MEGABYTE: Final = 1024 * 1024
RUN: Final = "20260101T010000Z-imitation-bbbbbb"
SOUND: Final = fuzz_readers.SOUND


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An artifact root with a run to damage and a sound one."""
    sample_runs.failed().write(tmp_path / "output")
    sample_runs.healthy().write(tmp_path / "output")
    return tmp_path / "output"


@pytest.fixture
def run_dir(root: Path) -> Path:
    """The run to damage."""
    return root / "run-tracker" / RUN


def problems_of(run_dir: Path) -> list[str]:
    problems = load_run(run_dir).problems
    for problem in problems:
        fuzz_readers.one_line(problem)
    return problems


def lines_of(run_dir: Path) -> list[bytes]:
    return (run_dir / "manifest.jsonl").read_bytes().splitlines(keepends=True)


def write(run_dir: Path, *lines: bytes) -> None:
    (run_dir / "manifest.jsonl").write_bytes(b"".join(lines))


def changed(line: bytes, **fields: object) -> bytes:
    return json.dumps({**json.loads(line), **fields}).encode() + b"\n"


# -- at random ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of every kind, to be copied and damaged."""
    made = tmp_path_factory.mktemp("sound")
    fuzz_readers.make_runs(made)
    return made


@pytest.mark.parametrize("first", range(0, 90, 15))
def test_no_damage_raises_or_hides_another_run(
    sound_runs: Path, tmp_path: Path, first: int
) -> None:
    readable = 0
    for seed in range(first, first + 15):
        readable += fuzz_readers.run_round(seed, sound_runs, tmp_path / str(seed))[1]
    assert readable > 0


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)
JOURNAL: Final = tuple(
    json.loads(line)
    for story in (
        sample_runs.healthy(),
        sample_runs.failed(),
        sample_runs.cancelled(),
        sample_runs.running(),
    )
    for line in map(encode_event, story.events)
)
SAMPLES: Final = tuple(
    json.loads(encode_document(sample)) for sample in sample_runs.healthy().samples
)


@st.composite
def mutated(draw: st.DrawFn, originals: tuple[dict[str, Any], ...]) -> bytes:
    """Lines like real ones, in which some fields hold something else, are new or are missing."""
    lines: list[bytes] = []
    for _ in range(draw(st.integers(0, 8))):
        value = dict(draw(st.sampled_from(originals)))
        for _ in range(draw(st.integers(0, 3))):
            name = draw(st.sampled_from(sorted(value)) if value else st.just("event"))
            if draw(st.booleans()):
                value[name] = draw(JSON)
            elif draw(st.booleans()):
                value[draw(st.text(max_size=9))] = draw(JSON)
            else:
                value.pop(name, None)
        lines.append(json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace"))
    return draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n\0\0\n"])).join([*lines, b""])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(journal=mutated(JOURNAL), telemetry=mutated(SAMPLES), worker=mutated(JOURNAL))
def test_no_structure_of_the_files_raises_or_hides_another_run(
    root: Path, run_dir: Path, journal: bytes, telemetry: bytes, worker: bytes
) -> None:
    (run_dir / "workers").mkdir(exist_ok=True)
    (run_dir / "workers" / "w.jsonl").write_bytes(worker)
    (run_dir / "telemetry.jsonl").write_bytes(telemetry)
    write(run_dir, journal)
    fuzz_readers.read_everything(root, run_dir)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_content_of_the_manifest_raises_or_hides_another_run(
    root: Path, run_dir: Path, data: st.DataObject
) -> None:
    record = json.loads(encode_document(sample_runs.healthy().record()))
    name = data.draw(st.sampled_from(sorted(record)))
    record[name] = data.draw(JSON)
    (run_dir / "manifest.json").write_text(json.dumps(record))
    fuzz_readers.read_everything(root, run_dir)


# -- foreign --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100_000,
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 50,
        b'{"name": "package", "version": 1}\n',
        b"[1, 2, 3]\n",
        b'"text"\n12\nnull\n',
        '{"event": "run_started"}\n'.encode("utf-16"),
    ],
)
def test_a_journal_that_is_none_is_one_line_and_the_others_are_listed(
    root: Path, run_dir: Path, content: bytes
) -> None:
    write(run_dir, content)

    with pytest.raises(UnreadableRun) as caught:
        load_run(run_dir)
    assert RUN in fuzz_readers.one_line(str(caught.value))
    listed = {record.run_id: record.status for record in list_records([root])}
    assert listed == {SOUND: "completed", RUN: "failed"}


def test_a_journal_whose_start_is_lost_is_shown_as_the_manifest_has_it(run_dir: Path) -> None:
    write_derived(run_dir, load_run(run_dir).record)
    write(run_dir, b"\0" * 200 + b"\n", *lines_of(run_dir)[1:])

    run = load_run(run_dir)
    assert (run.status, run.summary.steps_completed) == ("failed", 1)
    assert any("no readable start" in problem for problem in problems_of(run_dir))


def test_a_lost_start_of_a_dead_run_is_shown_as_failed(root: Path) -> None:
    run_dir = sample_runs.running().write(root)
    (run_dir / "run.lock").write_text(
        '{"host":"x","boot_id":"b","pid_namespace":null,"pid":7,"start_time":9}'
    )
    record = load_run(run_dir).record
    record.status = "running"
    write_derived(run_dir, record)
    write(run_dir, *lines_of(run_dir)[1:])
    for path in run_dir.iterdir():
        os.utime(path, (0, 0))

    assert load_run(run_dir).status == "failed"


CHANGES: Final[dict[str, Callable[[bytes], bytes]]] = {
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "blank lines": lambda data: data.replace(b"\n", b"\n\n \n"),
    "NUL bytes": lambda data: data.replace(b"\n", b"\n\0\0\0\0"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_marks_of_other_systems_change_nothing(
    run_dir: Path, change: Callable[[bytes], bytes]
) -> None:
    before = load_run(run_dir).record
    telemetry = run_dir / "telemetry.jsonl"
    telemetry.write_bytes(change(b'{"timestamp_ms":1,"fps":2.0}\n{"timestamp_ms":2,"fps":4.0}\n'))
    write(run_dir, change(b"".join(lines_of(run_dir))))

    run = load_run(run_dir)
    run.record.telemetry = {}
    assert run.record == before
    assert [sample.fps for sample in run.telemetry()] == [2.0, 4.0]
    assert (sample := last_snapshot(telemetry)) is not None
    assert sample.fps == 4.0
    assert resolve_run([run_dir.parents[1]], RUN) == run_dir


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\x00\n",
        b'{"event":"step_started","step_id":"\xc3\x28","time_unix_nano":1}\n',
        b'{"event":"step_started","step_id":"\\ud800","time_unix_nano":1}\n',
        b'{"event":"step_started","step_id":"x","time_unix_nano":1e999}\n',
        b'{"event":"step_started","step_id":"x","time_unix_nano":NaN}\n',
        b'{"event":"step_started"\0,"step_id":"x","time_unix_nano":1}\n',
        b'{"event":"params_logged","params":' + b'{"a":' * 100_000 + b"\n",
        b"[" * 100_000 + b"]" * 100_000 + b"\n",
    ],
)
def test_a_line_that_is_no_json_is_told_and_left_out(run_dir: Path, line: bytes) -> None:
    before = load_run(run_dir).record
    lines = lines_of(run_dir)
    write(run_dir, *lines[:3], line, *lines[3:])

    assert problems_of(run_dir) == ["manifest.jsonl: 1 line is damaged and left out"]
    assert load_run(run_dir).record == before


@pytest.mark.parametrize("time_unix_nano", [-1, 10**21, 10**30, -(10**30), 10**400])
def test_an_event_of_no_time_is_left_out(run_dir: Path, time_unix_nano: int) -> None:
    before = load_run(run_dir).record
    lines = lines_of(run_dir)
    odd = changed(lines[1], time_unix_nano=time_unix_nano, step_id="odd", span_id="0f")
    write(run_dir, *lines[:3], odd, *lines[3:])

    assert load_run(run_dir).record == before
    assert len(problems_of(run_dir)) == 1


@pytest.mark.parametrize("timestamp_ms", [-1, 10**18, 10**400])
def test_a_sample_of_no_time_is_left_out(root: Path, timestamp_ms: int) -> None:
    run_dir = sample_runs.running().write(root)
    (run_dir / "telemetry.jsonl").write_text(
        f'{{"timestamp_ms":5,"fps":1.0}}\n{{"timestamp_ms":{timestamp_ms},"fps":2.0}}\n'
    )

    assert [sample.timestamp_ms for sample in iter_snapshots(run_dir / "telemetry.jsonl")] == [5]
    assert load_run(run_dir).status == "running"


def test_of_a_name_that_a_line_has_twice_the_last_counts(run_dir: Path) -> None:
    lines = lines_of(run_dir)
    write(run_dir, lines[0].replace(b'"pipeline":', b'"pipeline":"x","pipeline":'), *lines[1:])

    assert load_run(run_dir).pipeline == "imitation"


@pytest.mark.parametrize("depth", [150, 450, 700, 900, 950, 980])
def test_no_depth_breaks_what_shows_or_writes_a_run(
    root: Path, run_dir: Path, capsys: pytest.CaptureFixture[str], depth: int
) -> None:
    lines = lines_of(run_dir)
    deep = changed(lines[0], params={"deep": "@"})
    write(run_dir, deep.replace(b'"@"', b"[" * depth + b"]" * depth), *lines[1:])

    fuzz_readers.read_everything(root, run_dir)
    for command in (["list"], ["list", "--format", "json"], ["summary", SOUND]):
        assert run_command(["--artifact-root", str(root), *command]) == 0
    code = run_command(["--artifact-root", str(root), "summary", RUN, "--format", "json"])
    assert code == (0 if depth < 500 else 1)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("depth", [150, 450, 700, 900, 950])
def test_a_manifest_that_is_nested_too_deeply_is_not_believed(run_dir: Path, depth: int) -> None:
    record = load_run(run_dir).record
    record.params = {"deep": "@"}
    write_derived(run_dir, record)
    path = run_dir / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"@"', b"[" * depth + b"]" * depth))

    encode_document(load_run(run_dir).record)


def test_a_number_with_four_hundred_digits_is_shown_as_unknown(
    root: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = load_run(run_dir).record
    record.telemetry = {"fps": FieldSummary(count=10**400, mean=1.0, p95=1.0, maximum=1.0)}
    record.steps[0].attempt = 10**400
    record.artifacts = [Artifact(path="a", size_bytes=10**400)]
    write_derived(run_dir, record)

    fuzz_readers.read_everything(root, run_dir)
    assert run_command(["--artifact-root", str(root), "summary", RUN]) == 0
    assert capsys.readouterr().err == ""


def test_marks_that_act_on_a_terminal_are_escaped_in_json() -> None:
    text = "a\x9b31m\u202eb\u2066\u061c\x7f\x1bé–"
    document = encode_document({"name": text})

    assert json.loads(document) == {"name": text}
    assert "é–" in document.decode()
    assert not {"\x9b", "\u202e", "\u2066", "\u061c", "\x1b"} & set(document.decode())


def test_depth_is_counted_by_level() -> None:
    value: object = 1
    for _ in range(199):
        value = {"a": [value]} if isinstance(value, list) else [value]
    assert not is_too_deep([1, {"a": [2, {"b": None}]}])
    assert is_too_deep(value)


# -- the future -----------------------------------------------------------------------------------


def test_events_and_fields_of_a_newer_version_are_kept_and_told(run_dir: Path) -> None:
    before = load_run(run_dir).record
    lines = [changed(line, schema_version=7, novel={"a": 1}) for line in lines_of(run_dir)]
    new = changed(lines[0], event="run_teleported")
    write(run_dir, *lines[:3], new, *lines[3:])

    run = load_run(run_dir)
    assert run.record == before
    assert problems_of(run_dir) == [
        "manifest.jsonl: 1 line is of a kind that this version does not know",
        "manifest.jsonl: written by a newer version (schema 7); parts may be missing",
    ]
    assert all(raw["novel"] == {"a": 1} for raw in run.journal())


def test_a_start_that_only_a_newer_version_understands_is_told(run_dir: Path) -> None:
    write(run_dir, b'{"schema_version":9,"event":"run_started","time_unix_nano":"noon"}\n')

    with pytest.raises(UnreadableRun, match=r"no readable start.*newer version \(schema 9\)"):
        load_run(run_dir)


def test_a_status_that_is_not_known_leaves_the_step_open_and_is_told(run_dir: Path) -> None:
    lines = lines_of(run_dir)
    write(run_dir, *lines[:2], changed(lines[2], status="paused"), *lines[3:])

    run = load_run(run_dir)
    assert run.steps[0].step_id == "train"
    assert run.status == "failed"
    assert any("does not know" in problem for problem in run.problems)


# -- huge -----------------------------------------------------------------------------------------


def test_a_sparse_line_of_two_gigabytes_takes_little_memory(run_dir: Path) -> None:
    lines = lines_of(run_dir)
    with (run_dir / "manifest.jsonl").open("wb") as file:
        file.writelines(lines[:2])
        file.seek(2 * 1024 * MEGABYTE, os.SEEK_CUR)
        file.write(b"\n" + b"".join(lines[2:]))

    tracemalloc.start()
    try:
        run = load_run(run_dir, telemetry=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert run.problems == ["manifest.jsonl: 1 line is damaged and left out"]
    assert peak < 4 * MAX_LINE
    assert run.summary.steps_completed == 1


def test_a_single_line_of_fifty_megabytes_is_left_out(run_dir: Path) -> None:
    lines = lines_of(run_dir)
    long = b'{"event":"params_logged","params":{"a":"' + b"x" * (50 * MEGABYTE) + b'"}}\n'
    before = load_run(run_dir).record
    write(run_dir, *lines[:2], long, *lines[2:])

    assert problems_of(run_dir) == ["manifest.jsonl: 1 line is damaged and left out"]
    assert load_run(run_dir).record == before


@pytest.mark.parametrize("name", ["manifest.json", "run.lock", "telemetry.jsonl"])
def test_a_huge_file_beside_the_journal_is_not_read_into_memory(
    root: Path, run_dir: Path, name: str
) -> None:
    with (run_dir / name).open("wb") as file:
        file.truncate(2 * 1024 * MEGABYTE)

    tracemalloc.start()
    try:
        assert {record.run_id for record in list_records([root])} == {RUN, SOUND}
        assert read_owner(run_dir / "run.lock") is None
        assert last_snapshot(run_dir / "telemetry.jsonl") is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_LINE


def test_a_thousand_journals_need_no_thousand_descriptors(run_dir: Path) -> None:
    (run_dir / "workers").mkdir()
    for number in range(200):
        span = f"{number:016x}"
        begun = StepStarted(time_unix_nano=1 + number, span_id=span, step_id=f"child-{number}")
        ended = StepFinished(
            time_unix_nano=10**18,
            span_id=span,
            status="completed",
            result="success",
            duration_seconds=1.0,
        )
        path = run_dir / "workers" / f"box-{number}-abcdef.jsonl"
        path.write_bytes(encode_event(begun) + encode_event(ended))
    open_now = len(list(Path("/dev/fd").iterdir()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 50, hard))
    try:
        fold, _ = fold_run(run_dir)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    ended_steps = [step for step in fold.record().steps if step.step_id.startswith("child")]
    assert [step.status for step in ended_steps] == ["completed"] * 200


# -- what is no file, or has no name --------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifest.jsonl", "manifest.json", "telemetry.jsonl", "run.lock"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "loop"])
def test_what_is_no_file_neither_blocks_nor_raises(
    root: Path, run_dir: Path, name: str, kind: str
) -> None:
    path = run_dir / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)

    assert SOUND in {record.run_id for record in list_records([root])}
    is_locked(run_dir / "run.lock")
    assert owner_state(run_dir, 0.0) in {"alive", "dead", "unknown"}
    assert list(iter_raw(run_dir / name)) == []
    assert summarise(run_dir / name) == {}


def test_a_lock_that_is_nested_without_end_names_nobody(root: Path, run_dir: Path) -> None:
    (run_dir / "run.lock").write_bytes(b"[" * 50_000)

    assert read_owner(run_dir / "run.lock") is None
    assert len(list_records([root])) == 2


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="file names are UTF-8 there")
def test_a_folder_whose_name_is_no_utf8_is_listed_in_every_form(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = root / "run-tracker" / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    (odd / "manifest.jsonl").write_text("nonsense\n")

    assert len(list_records([root])) == 3
    for command in (["list"], ["list", "--format", "json"]):
        assert run_command(["--artifact-root", str(root), *command]) == 0
    assert "caf" in capsys.readouterr().out


def test_a_run_that_vanishes_while_it_is_listed_is_left_out(
    root: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robot_sf_otel.store import history

    def vanishing(path: Path, *, telemetry: bool = True) -> object:
        if path.name == RUN and path.exists():
            path.rename(path.with_name(".pruned-0123456789abcdef"))
        return load_run(path, telemetry=telemetry)

    monkeypatch.setattr(history, "load_run", vanishing)
    assert [record.run_id for record in list_records([root])] == [SOUND]


# -- records of the original tracker --------------------------------------------------------------


@pytest.mark.parametrize("value", [[], {}, 5, None, [[]], {"a": 1}])
@pytest.mark.parametrize("name", ["status", "steps", "created_at", "enabled_steps", "summary"])
def test_odd_values_of_the_original_tracker_hide_nothing(
    root: Path, name: str, value: object
) -> None:
    old = root / "run-tracker" / "old"
    old.mkdir()
    line: dict[str, object] = {"run_id": "old", "status": "running", "steps": [], name: value}
    (old / "manifest.jsonl").write_text(json.dumps(line) + "\n")

    assert len(list_records([root])) == 3
    assert load_run(old).run_id == "old"


# -- from Python and at the command line ----------------------------------------------------------


def test_python_readers_show_the_good_part(root: Path, run_dir: Path) -> None:
    with (run_dir / "manifest.jsonl").open("ab") as file:
        file.write(b'{"event": "step_')

    listed = runs.list_runs(artifact_root=root)
    assert [run.run_id for run in listed] == [RUN, SOUND]
    assert listed[0].problems == ["manifest.jsonl: the last line is incomplete and was ignored"]
    assert len(list(runs.load_run(RUN, artifact_root=root).journal())) > 5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["list"], 0),
        (["list", "--format", "json"], 0),
        (["status", RUN], 1),
        (["summary", RUN, "--format", "json"], 1),
        (["export", RUN, "--output", "r.md"], 1),
        (["status", SOUND], 0),
    ],
)
def test_commands_say_in_one_line_what_cannot_be_read(
    root: Path,
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
) -> None:
    write(run_dir, bytes(range(256)) * 10)

    assert run_command(["--artifact-root", str(root), *arguments]) == code
    out, err = capsys.readouterr()
    assert err.count("\n") == (1 if code else 0)
    fuzz_readers.harmless(out + err)
