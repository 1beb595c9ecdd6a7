"""Disks that fill up, turn read-only or lose files: the run goes on and says what is lost.

File systems are real: mounted in a mount namespace of the script's own, where that is allowed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from robot_sf_otel.store.reader import load_run

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord
    from tests.integration.scripts import Finished, Scripts

pytestmark = pytest.mark.integration

HEAD: Final = """
    import contextlib, ctypes, json, os, pathlib, resource, shutil, signal, subprocess, sys, time
    from robot_sf_otel import configure, current_run, pipeline, step
    configure(artifact_root="root", interval=0.1, gpu="off")
    root = pathlib.Path("root")

    def fill():
        with contextlib.suppress(OSError), (root / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))

    def steps(*names):
        began = time.monotonic()
        for name in names:
            with step(name, total=1) as this:
                this.advance()
                for number in range(60 if name == "b" else 1):
                    # Of a full disk the last block of each file is still free: more than that.
                    this.log_metric(f"{number}-{'x' * 70}", number)
                time.sleep(0.15)
        return time.monotonic() - began

    def keep():
        shutil.copytree("root/run-tracker", "output/run-tracker")
"""
"""Every script: a way to fill the disk, and steps that take at least one sample each."""


def mounted(folder: Path, kind: str, options: str = "") -> tuple[str, ...]:
    """Return a command prefix under which `root` in a folder is a file system of its own.

    Skips the test where this machine does not let us mount.
    """
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs unshare and mount of Linux")
    root = folder / "root"
    root.mkdir()
    prefix = ("unshare", "--mount", "--map-root-user") if os.geteuid() else ("unshare", "--mount")
    script = f'mount -t {kind} {options and "-o " + options} {kind} "{root}" && exec "$@"'
    command = (*prefix, "sh", "-c", script, "sh")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no {kind} can be mounted here: {tried.stderr.strip()}")
    return command


def on_ext4(folder: Path) -> tuple[str, ...]:
    """Return a command prefix under which `root` is an ext4 that errors turn read-only.

    Its device is in the variable DEVICE. Skips the test where that cannot be had.
    """
    if shutil.which("mkfs.ext4") is None or os.geteuid() != 0:
        pytest.skip("needs mkfs.ext4, and root for a loop device")
    root, image = folder / "root", folder / "image"
    root.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    script = (
        f'mount -o loop,errors=remount-ro "{image}" "{root}" && '
        f'export DEVICE=$(findmnt -n -o SOURCE "{root}") && exec "$@"'
    )
    command = ("unshare", "--mount", "sh", "-c", script, "sh")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no ext4 can be mounted here: {tried.stderr.strip()}")
    return command


def only_warning(done: Finished) -> str:
    """Return the one warning that was said."""
    said = warnings(done)
    assert len(said) == 1, "\n".join(said)
    return said[0]


def warnings(done: Finished) -> list[str]:
    """Return what was said; that samples are taken less often on a busy machine is no fault.

    Loguru cannot even be imported where no file can be opened.
    """
    return [line for line in done.errors.splitlines() if line and "a sample every" not in line]


def faults(record: PipelineRunRecord, where: str) -> list[str]:
    """Return what the record says of a place that failed."""
    return [fault for fault in record.self_cost.faults if fault.startswith(f"{where}:")]


def test_small_disk_that_fills_up_in_mid_run_and_is_freed_leaves_a_whole_record(
    scripts: Scripts,
) -> None:
    prefix = mounted(scripts.folder, "tmpfs", "size=64k")
    done = scripts.run(
        HEAD
        + """
    with pipeline("p", steps=["a", "b", "c", "d"]):
        before = steps("a")
        fill()
        during = steps("b", "c") / 2
        (root / "filler").unlink()
        steps("d")
    keep()
    print(json.dumps([before, during]))
    """,
        prefix=prefix,
    )
    assert "No space left on device" in only_warning(done)
    before, during = json.loads(done.out)
    assert during < 2 * before
    record = scripts.record
    assert record.status == "completed"
    assert {entry.step_id: entry.status for entry in record.steps} == dict.fromkeys(
        "abcd", "completed"
    )
    assert record.self_cost.events_dropped == 0
    (gap,) = (fault for fault in faults(record, "telemetry.jsonl") if " lost " in fault)
    assert record.self_cost.samples_taken == len(list(load_run(scripts.run_dirs[0]).telemetry()))
    lost = record.self_cost.samples_missed
    assert lost > 0
    assert f"{lost} samples lost between " in gap
    assert "No space left on device" in gap
    (run_dir,) = scripts.run_dirs
    assert gap.split(" (")[0] in (run_dir / "manifest.md").read_text()
    written = json.loads((run_dir / "manifest.json").read_bytes())
    assert [entry["status"] for entry in written["steps"]] == ["completed"] * 4
    assert gap in written["self"]["faults"]


def test_disk_that_stays_full_until_the_end_is_said_to_have_lost_the_end(scripts: Scripts) -> None:
    prefix = mounted(scripts.folder, "tmpfs", "size=64k")
    done = scripts.run(
        HEAD
        + """
    with pipeline("p", steps=["a", "b"]):
        steps("a")
        fill()
        steps("b")
    keep()
    print("done")
    """,
        prefix=prefix,
    )
    assert done.out == "done\n"
    first, last = warnings(done)
    assert "No space left on device" in first
    assert "the end of the record of run" in last


def test_disk_that_has_room_again_when_the_process_ends_gets_the_end_of_the_run(
    scripts: Scripts,
) -> None:
    prefix = mounted(scripts.folder, "tmpfs", "size=64k")
    scripts.run(
        HEAD
        + """
    with pipeline("p", steps=["a", "b"]):
        steps("a")
        fill()
        steps("b")
    (root / "filler").unlink()
    """,
        prefix=(
            *prefix,
            "sh",
            "-c",
            '"$@" && mkdir output && cp -r root/run-tracker output/',
            "sh",
        ),
    )
    assert scripts.record.status == "completed"
    assert scripts.statuses == dict.fromkeys("ab", "completed")


def test_watchdog_of_a_run_whose_end_could_not_be_written_stays_and_closes_it(
    scripts: Scripts,
) -> None:
    prefix = mounted(scripts.folder, "tmpfs", "size=64k")
    copy = (
        '"$@"; tries=0; '
        "until grep -q run_recovered root/run-tracker/*/manifest.jsonl || [ $tries -gt 100 ]; "
        "do tries=$((tries + 1)); sleep 0.1; done; "
        "mkdir output && cp -r root/run-tracker output/"
    )
    scripts.run(
        HEAD
        + """
    with pipeline("p", steps=["a", "b"]):
        steps("a")
        fill()
        steps("b")
    (root / "filler").unlink()
    os._exit(0)  # nothing that runs at the end of the interpreter tries again
    """,
        prefix=(*prefix, "sh", "-c", copy, "sh"),
        env={"ROBOT_SF_OTEL_WATCHDOG": "true"},
    )
    record = scripts.record
    assert record.status == "failed"
    assert record.status_reason is not None
    assert "the process that ran it" in record.status_reason
    assert scripts.statuses["a"] == "completed"
    assert record.summary.running_steps == []


def test_disk_that_is_read_only_until_mid_run_gets_all_events(scripts: Scripts) -> None:
    prefix = mounted(scripts.folder, "tmpfs", "ro,size=4m")
    done = scripts.run(
        HEAD
        + """
    with pipeline("p", steps=["a", "b"]):
        before = steps("a")
        subprocess.run(["mount", "-o", "remount,rw", "root"], check=True)
        during = steps("b")
    keep()
    print(json.dumps([before, during]))
    """,
        prefix=prefix,
    )
    assert "Read-only file system" in only_warning(done)
    before, during = json.loads(done.out)
    assert before < 2 * during
    assert scripts.record.status == "completed"
    assert scripts.statuses == {"a": "completed", "b": "completed"}


def test_disk_that_the_kernel_turns_read_only_in_mid_run_costs_the_pipeline_nothing(
    scripts: Scripts,
) -> None:
    prefix = on_ext4(scripts.folder)
    done = scripts.run(
        HEAD
        + """
    device = pathlib.Path(os.environ["DEVICE"]).name
    with pipeline("p", steps=["a", "b"]):
        before = steps("a")
        pathlib.Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")
        used = time.process_time()
        during = steps("b", "c", "d")
        used = time.process_time() - used
    keep()
    print(json.dumps([before, during / 3, used, during]))
    """,
        prefix=prefix,
    )
    first, last = warnings(done)
    assert "Read-only file system" in first or "Input/output error" in first
    assert "the end of the record of run" in last
    before, during, used, took = json.loads(done.out)
    assert during < 2 * before
    assert used < took / 2  # nobody spins
    assert scripts.statuses["a"] == "completed"


def test_limit_of_a_files_size_costs_one_warning(scripts: Scripts) -> None:
    done = scripts.run(
        HEAD
        + """
    with pipeline("p", steps=["a", "b", "c"]) as run:
        steps("a")
        size = (run.run_dir / "manifest.jsonl").stat().st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        steps("b")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        steps("c")
    keep()
    """,
    )
    assert "File too large" in only_warning(done)
    record = scripts.record
    assert record.status == "completed"
    assert {entry.status for entry in record.steps} == {"completed"}


@pytest.mark.parametrize(
    "what", ["run.run_dir", "root", "run.run_dir / 'manifest.jsonl'", "run.run_dir.parent"]
)
def test_what_is_deleted_under_a_running_run_is_written_again(scripts: Scripts, what: str) -> None:
    done = scripts.run(
        HEAD
        + f"""
    with pipeline("p", steps=["a", "b", "c"]) as run:
        before = steps("a")
        gone = {what}
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        during = steps("b")
        while not (run.run_dir / "manifest.json").exists():
            time.sleep(0.01)
        assert '"running"' in (run.run_dir / "manifest.json").read_text()
        steps("c")
    keep()
    print(json.dumps([before, during]))
    """,
    )
    assert "deleted" in only_warning(done)
    before, during = json.loads(done.out)
    assert during < 2 * before
    record = scripts.record
    assert record.status == "completed"
    assert [(entry.step_id, entry.status) for entry in record.steps] == [
        ("a", "completed"),
        ("b", "completed"),
        ("c", "completed"),
    ]
    (run_dir,) = scripts.run_dirs
    assert record.self_cost.samples_taken == len(list(load_run(run_dir).telemetry()))
    assert any("deleted" in fault for fault in record.self_cost.faults)
    assert scripts.journal()[0]["event"] == "run_started"
    assert (run_dir / "run.lock").exists()


def test_deleted_folder_that_cannot_be_made_again_loses_the_record_and_says_so(
    scripts: Scripts,
) -> None:
    done = scripts.run(
        HEAD
        + """
    with pipeline("p", steps=["a", "b"]):
        before = steps("a")
        shutil.rmtree(root)
        root.write_text("in the way")
        used = time.process_time()
        during = steps("b", "b2", "b3")
        used = time.process_time() - used
    print(json.dumps([before, during / 3, used, during]))
    """,
    )
    first, last = warnings(done)
    assert "deleted" in first
    assert "is lost" in last
    before, during, used, took = json.loads(done.out)
    assert during < 2 * before
    assert used < took / 2  # nobody spins
    assert (scripts.folder / "root").read_text() == "in the way"


def test_handles_that_run_out_in_mid_run_cost_one_warning_and_no_event(scripts: Scripts) -> None:
    done = scripts.run(
        HEAD
        + """
    with pipeline("p", steps=["a", "b", "c"]):
        before = steps("a")
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        during = steps(*"bcdefghi") / 8  # longer than the time between two derived files
        for descriptor in taken:
            os.close(descriptor)
        steps("c")
    keep()
    print(json.dumps([before, during]))
    """,
        prefix=("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh"),
    )
    assert "Too many open files" in only_warning(done)
    before, during = json.loads(done.out)
    assert during < 2 * before
    record = scripts.record
    assert record.status == "completed"
    assert {entry.status for entry in record.steps} == {"completed"}
    assert [event["event"] for event in scripts.journal()].count("step_finished") == 10


def test_handles_that_run_out_before_the_start_are_waited_for(scripts: Scripts) -> None:
    done = scripts.run(
        HEAD
        + """
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    with pipeline("p", steps=["a", "b"]):
        steps("a")
        for descriptor in taken:
            os.close(descriptor)
        steps("b")
    keep()
    """,
        prefix=("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh"),
    )
    assert "Too many open files" in only_warning(done)
    record = scripts.record
    assert record.status == "completed"
    assert [entry.status for entry in record.steps] == ["completed"] * 2


@pytest.mark.parametrize("name", ["manifest.jsonl", "telemetry.jsonl", "manifest.json"])
def test_folder_in_the_place_of_a_file_costs_one_warning(scripts: Scripts, name: str) -> None:
    done = scripts.run(
        HEAD
        + f"""
    with pipeline("p", steps=["a", "b", "c"]) as run:
        before = steps("a")
        file = run.run_dir / {name!r}
        file.unlink(missing_ok=True)
        file.mkdir()
        during = steps(*"bcdefghi") / 8  # longer than the time between two derived files
        file.rmdir()
        steps("c")
    keep()
    print(json.dumps([before, during]))
    """,
    )
    only_warning(done)
    before, during = json.loads(done.out)
    assert during < 2 * before
    record = scripts.record
    assert record.status == "completed"
    assert {entry.status for entry in record.steps} == {"completed"}
