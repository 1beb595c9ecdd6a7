"""Faults of telemetry itself: the pipeline does and returns what it would have without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from robot_sf_otel.store.reader import load_run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

PIPELINE: Final = """
    import sys
    from robot_sf_otel import configure, current_run, current_step, pipeline, step, track
    {before}
    configure()

    @step(total=3, unit="episodes")
    def collect(n):
        for _ in track(range(n)):
            current_step().log_metric("reward", 1.5)
        current_step().log_artifact(__file__)
        return n * 2

    @pipeline("p", steps=[collect, "evaluate", "never"])
    def main():
        total = collect(3)
        with step("evaluate") as this:
            this.run([sys.executable, "-S", "-c", "print('child ran', flush=True)"])
            this.mark_skipped("why")
        current_run().plan(["collect", "evaluate", "never"])
        current_run().skip("never")
        try:
            with step("fails"):
                raise KeyError("kept")
        except KeyError as error:
            assert error.args == ("kept",)
        return total

    assert current_run().run_id is None
    print("result", main(), flush=True)
    {after}
"""
RESULT: Final = "child ran\nresult 6\n"


def only(warnings: list[str]) -> str:
    """Return the one warning that says what and why; that the record is lost is said at the end."""
    why = [warning for warning in warnings if "is lost: it could never be written" not in warning]
    assert len(why) == 1, "\n".join(warnings)
    assert why == warnings[:1]
    assert len(warnings) <= 2
    return why[0]


def pipeline(before: str = "", after: str = "") -> str:
    """Return the source of a pipeline that uses every part of the interface."""
    return PIPELINE.format(before=before, after=after)


def test_pipeline_without_any_fault_says_nothing(scripts: Scripts) -> None:
    done = scripts.run(pipeline())
    assert (done.out, done.errors) == (RESULT, "")
    assert scripts.record.status == "completed"


def test_artifact_root_that_is_a_file_costs_one_warning(scripts: Scripts) -> None:
    root = scripts.folder / "root"
    root.write_text("a file")
    done = scripts.run(pipeline(), env={"ROBOT_SF_ARTIFACT_ROOT": str(root)})
    assert done.out == RESULT
    warning = only(done.warnings)
    assert str(root) in warning
    assert "NotADirectoryError" in warning or "FileExistsError" in warning
    assert root.read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_write_permission_costs_one_warning(scripts: Scripts) -> None:
    root = scripts.folder / "root"
    root.mkdir(mode=0o500)
    done = scripts.run(pipeline(), env={"ROBOT_SF_ARTIFACT_ROOT": str(root)})
    assert done.out == RESULT
    warning = only(done.warnings)
    assert "PermissionError" in warning


def mount(options: str, folder: Path) -> tuple[str, ...]:
    """Return a command prefix under which `folder` is a file system of its own.

    Skips the test where this machine does not let us mount.
    """
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs unshare and mount of Linux")
    folder.mkdir()
    prefix = ("unshare", "--mount", "--map-root-user") if os.geteuid() else ("unshare", "--mount")
    script = f'mount -t tmpfs -o {options} tmpfs "{folder}" && exec "$@"'
    command = (*prefix, "sh", "-c", script, "sh")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    return command


def test_read_only_file_system_costs_one_warning(scripts: Scripts) -> None:
    root = scripts.folder / "root"
    prefix = mount("ro", root)
    done = scripts.run(pipeline(), env={"ROBOT_SF_ARTIFACT_ROOT": str(root)}, prefix=prefix)
    assert done.out == RESULT
    warning = only(done.warnings)
    assert "Read-only file system" in warning
    assert str(root) in warning


def test_full_disk_costs_one_warning_and_the_next_run_is_recorded_again(scripts: Scripts) -> None:
    root = scripts.folder / "root"
    prefix = mount("size=64k", root)
    fill = f"""
    import contextlib, pathlib
    filler = pathlib.Path({str(root)!r}, "filler")
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    """
    copy = f"""
    import shutil
    filler.unlink()
    with pipeline("second"), step("after"):
        pass
    shutil.copytree({str(root / "run-tracker")!r}, "output/run-tracker")
    """
    done = scripts.run(
        pipeline(fill, copy), env={"ROBOT_SF_ARTIFACT_ROOT": str(root)}, prefix=prefix
    )
    assert done.out == RESULT
    warning = only(done.warnings)
    assert "No space left on device" in warning
    (second,) = (run_dir for run_dir in scripts.run_dirs if "second" in run_dir.name)
    assert load_run(second).record.status == "completed"


def test_disk_that_fills_up_during_the_run_loses_no_event(scripts: Scripts) -> None:
    root = scripts.folder / "root"
    prefix = mount("size=256k", root)
    done = scripts.run(
        f"""
        import contextlib, pathlib, shutil
        from robot_sf_otel import configure, pipeline, step
        configure()
        filler = pathlib.Path({str(root)!r}, "filler")
        with pipeline("p"):
            with step("before"):
                pass
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(512))
            for number in range(60):
                with step(f"full-{{number}}"):
                    pass
            filler.unlink()
        shutil.copytree({str(root / "run-tracker")!r}, "output/run-tracker")
        """,
        env={"ROBOT_SF_ARTIFACT_ROOT": str(root)},
        prefix=prefix,
    )
    warning = only(done.warnings)
    assert "No space left on device" in warning
    assert [entry.step_id for entry in scripts.record.steps] == [
        "before",
        *(f"full-{number}" for number in range(60)),
    ]
    record = scripts.record
    assert record.status == "completed"
    assert record.self_cost.events_dropped == 0
    assert any("No space left on device" in fault for fault in record.self_cost.faults)


BROKEN: Final = """
    from robot_sf_otel import bootstrap
    from pathlib import Path

    class Broken:
        run_id, run_dir = "broken", Path("/nowhere")
        def __getattr__(self, name):
            def fail(*args, **kwargs):
                raise RuntimeError("the recorder is broken")
            return fail

    class Opens(Broken):
        def open_run(self, *args):
            return Broken()

    class Breaks(Broken):
        def open_run(self, *args):
            return Breaks()
        def record(self, *events):
            if "StepStarted" in repr(events):
                raise RuntimeError("the recorder is broken")

    bootstrap._recorder = lambda config: {kind}()
"""


@pytest.mark.parametrize("kind", ["Broken", "Opens", "Breaks"])
def test_recorder_that_raises_in_every_method_costs_one_warning(
    scripts: Scripts, kind: str
) -> None:
    done = scripts.run(pipeline(BROKEN.format(kind=kind)))
    assert done.out == RESULT
    warning = only(done.warnings)
    assert "RuntimeError: the recorder is broken" in warning


def test_recorder_that_cannot_be_made_switches_telemetry_off_with_one_warning(
    scripts: Scripts,
) -> None:
    broken = """
    from robot_sf_otel import bootstrap
    def fail(config):
        raise ImportError("no module named recorder")
    bootstrap._recorder = fail
    """
    done = scripts.run(pipeline(broken))
    assert done.out == RESULT
    warning = only(done.warnings)
    assert "configure failed" in warning
    assert "no module named recorder" in warning


def test_run_directory_that_is_deleted_during_the_run_changes_nothing(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import shutil
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p") as run:
            with step("a"):
                shutil.rmtree(run.run_dir)
            with step("b"):
                print("went on")
        """
    )
    assert done.out == "went on\n"
    assert len(done.warnings) <= 1


def test_fault_is_counted_in_the_manifest(scripts: Scripts) -> None:
    done = scripts.run(
        """
        from robot_sf_otel import configure, pipeline, step
        from robot_sf_otel.system_metrics.sensors import SystemSensors
        def fail(self):
            raise OSError("no sensors")
        SystemSensors.read = fail
        configure()
        with pipeline("p"), step("a"):
            pass
        """
    )
    warning = only(done.warnings)
    assert "no sensors" in warning
    assert any("no sensors" in fault for fault in scripts.record.self_cost.faults)
    assert scripts.events("telemetry_fault")
