"""Names that try to leave the tree, the terminal, Markdown or JSON; umask and links."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import unicodedata
from typing import TYPE_CHECKING, Final

import pytest
from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

HOSTILE: Final = {
    "up": "../../../../up",
    "absolute": "/etc/passwd",
    "escape": "a\x1b[2J\x1b]0;title\x07\x9b31m\rb\x08\x00c",
    "reorder": "abc\u202eexe.txt\u2066\u200f",
    "newline": "one\ntwo\r\nthree\u2028four\tfive",
    "long": "long" * 2500,
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "markdown": "x | y ` z ``` [x](javascript:alert(1)) ![i](http://e.x/i.png) *b* # h",
    "rich": "[bold red]name[/bold red] [link=http://e.x]x[/link] :boom:",
    "surrogate": "caf\udce9",
}
PIPELINE: Final = """
    import json, os, sys
    from robot_sf_otel import configure, current_run, pipeline, step, track

    name = json.loads(sys.argv[1])
    configure(console=os.environ.get("CONSOLE", "off"))
    with pipeline(name, steps=[name], scenario=name, tags=[name], params={name: name}):
        with step(name, title=name, unit=name, total=2) as this:
            for _ in track(range(2)):
                pass
            this.log_metric(name, 1.0)
            this.log_artifact("data.bin", name=name, kind=name)
        try:
            with step("fails"):
                raise ValueError(name)
        except ValueError:
            pass
        current_run().skip("2" + name, reason=name)
"""


def command(scripts: Scripts, *arguments: str) -> str:
    """Return what a command writes, as a terminal would get it."""
    done = subprocess.run(
        [sys.executable, "-m", "robot_sf_otel.cli.main", *arguments],
        cwd=scripts.folder,
        env={**scripts.environment(), "PYTHONUTF8": "1"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).decode()


def wild(text: str) -> set[str]:
    """Return the characters of a text that act on a terminal, apart from newlines."""
    bidi = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    return {c for c in text if (unicodedata.category(c) == "Cc" and c != "\n") or c in bidi}


def files_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_escapes_neither_tree_nor_terminal_nor_format(
    scripts: Scripts, name: str
) -> None:
    above = scripts.folder / "above"
    scripts.folder = above / "work"
    scripts.folder.mkdir(parents=True)
    (scripts.folder / "data.bin").write_bytes(b"x")

    finished = scripts.run(PIPELINE, json.dumps(name), env={"CONSOLE": "lines"})

    assert files_under(above) == {
        "work/main.py",
        "work/data.bin",
        *(f"work/output/{path}" for path in files_under(scripts.folder / "output")),
    }
    (run_dir,) = scripts.run_dirs
    assert run_dir.parent == scripts.folder / "output" / "run-tracker"
    assert run_dir.name.isascii()
    assert run_dir.name.isprintable()
    assert not wild(finished.errors), finished.errors
    for arguments in (["list"], ["status"], ["summary"], ["summary", "--format", "markdown"]):
        assert not wild(command(scripts, *arguments))
    (listed,) = json.loads(command(scripts, "list", "--format", "json"))
    assert listed["status"] == "completed"
    document = (run_dir / "manifest.json").read_text(encoding="utf-8")
    assert not wild(document)
    assert len(json.loads(document)["steps"]) == 3
    markdown_is_harmless((run_dir / "manifest.md").read_text(encoding="utf-8"))


def markdown_is_harmless(page: str) -> None:
    """Check that a page shows a name and obeys nothing in it."""
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(page)
    assert not wild(page)
    for evil in ("<script", "<img", 'href="javascript:', "onerror=alert(1)>"):
        assert evil not in shown
    assert shown.count("<h1>") == 1


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_run_name_stays_in_the_tree(scripts: Scripts, name: str) -> None:
    if "\0" in name:
        name = name.replace("\0", "")  # no environment can hold it
    source = """
        from robot_sf_otel import configure, pipeline

        configure()
        with pipeline("p"):
            pass
    """
    finished = scripts.run(source, env={"ROBOT_SF_OTEL_RUN_NAME": name})

    (run_dir,) = scripts.run_dirs
    assert run_dir.parent == scripts.folder / "output" / "run-tracker"
    assert "\x1b" not in finished.errors
    assert files_under(scripts.folder) == {
        "main.py",
        *(f"output/{path}" for path in files_under(scripts.folder / "output")),
    }


@pytest.mark.parametrize("umask", [0o007, 0o027, 0o077])
def test_all_that_is_created_has_the_permissions_that_the_umask_leaves(
    scripts: Scripts, umask: int
) -> None:
    source = f"""
        import os
        os.umask({umask})
        import multiprocessing
        from robot_sf_otel import configure, current_run, pipeline, step

        def child():
            with step("in child"):
                pass

        if __name__ == "__main__":
            configure()
            with pipeline("p") as run:
                with step("a") as this:
                    this.log_artifact(__file__)
                process = multiprocessing.get_context("fork").Process(target=child)
                process.start()
                process.join()
    """
    scripts.run(source)

    root = scripts.folder / "output"
    found = [root, *root.rglob("*")]
    assert {"workers", "manifest.json", "manifest.md", "run.lock", "telemetry.jsonl"} <= {
        path.name for path in found
    }
    for path in found:
        full = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == full & ~umask, path


SHORT_RUN: Final = """
    from robot_sf_otel import configure, pipeline, step

    configure()
    with pipeline("p"), step("a"):
        print("worked", flush=True)
"""


def test_a_tracker_that_is_a_link_is_not_written_through(scripts: Scripts) -> None:
    outside = scripts.folder / "outside"
    outside.mkdir()
    (scripts.folder / "output").mkdir()
    (scripts.folder / "output" / "run-tracker").symlink_to(outside)

    finished = scripts.run(SHORT_RUN)

    assert finished.out == "worked\n"
    assert list(outside.iterdir()) == []
    assert any("symbolic link" in line for line in finished.warnings), finished.errors


def test_an_artifact_root_that_is_a_link_is_written_through(scripts: Scripts) -> None:
    (scripts.folder / "real").mkdir()
    (scripts.folder / "output").symlink_to(scripts.folder / "real")

    assert scripts.run(SHORT_RUN).warnings == []
    assert len(list((scripts.folder / "real" / "run-tracker").iterdir())) == 1


LINKED: Final = """
    import os
    from pathlib import Path
    from robot_sf_otel import configure, current_run, pipeline, step

    def child():
        with step("in child"):
            pass

    configure()
    outside = Path("outside")
    with pipeline("p"):
        run_dir = Path(current_run().run_dir)
        for name in ("workers", "manifest.md"):
            (run_dir / name).unlink(missing_ok=True)
        (run_dir / "workers").symlink_to(outside.absolute())
        (run_dir / "manifest.md").symlink_to((outside / "page.md").absolute())
        pid = os.fork()
        if pid == 0:
            child()
            os._exit(0)
        os.waitpid(pid, 0)
"""


def test_links_inside_a_run_are_not_written_through(scripts: Scripts) -> None:
    outside = scripts.folder / "outside"
    outside.mkdir()
    (outside / "page.md").write_text("mine")

    scripts.run(LINKED)

    assert [path.name for path in outside.iterdir()] == ["page.md"]
    assert (outside / "page.md").read_text() == "mine"
    (run_dir,) = scripts.run_dirs
    assert not (run_dir / "manifest.md").is_symlink()
    assert scripts.record.status == "completed"


def test_a_damaged_run_hides_no_other_at_the_command_line(scripts: Scripts) -> None:
    scripts.run(SHORT_RUN)
    (good,) = scripts.run_dirs
    bad = good.with_name("bad")
    bad.mkdir()
    (bad / "manifest.jsonl").write_bytes(bytes(range(256)) * 100 + b"[" * 100_000)
    os.mkfifo(bad / "manifest.json")
    os.mkfifo(bad / "run.lock")

    listed = json.loads(command(scripts, "list", "--format", "json"))
    assert {run["run_id"] for run in listed} == {good.name, "bad"}
    assert "completed" in command(scripts, "status", good.name)
    command(scripts, "export", good.name, "--output", "good.json")
    for name in ("status", "summary"):
        done = subprocess.run(
            [sys.executable, "-m", "robot_sf_otel.cli.main", name, "bad"],
            cwd=scripts.folder,
            env=scripts.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert not wild(done.stderr)
