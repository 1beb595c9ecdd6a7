"""Rules for every file of the repository, and for the commands that it tells people to type."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_COMMAND = re.compile(r"<!-- command: (\w+) -->\n```sh\n(.+)\n```")

# Written in two parts, so that this file keeps the rules too.
_HOSTS = ["pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "--index" + "-url"]
_HOMES = ["/ro" + "ot/", "/wo" + "rk/", f"{Path.home()}/"]
_UNFINISHED = "TO" + "DO|FIX" + "ME|Not" + "ImplementedError|pragma: " + "no cover"


def _texts() -> list[tuple[str, str]]:
    """The path and the text of every file that is tracked or about to be."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files belong to the repository is unknown")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    texts: list[tuple[str, str]] = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            try:
                texts.append((name, path.read_text(encoding="utf-8")))
            except UnicodeDecodeError:
                continue
    return texts


def _hits(pattern: str, *, suffix: str = "") -> list[str]:
    found = re.compile(pattern)
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in _texts()
        if name.endswith(suffix)
        for number, line in enumerate(text.splitlines(), 1)
        if found.search(line)
    ]


def test_no_file_names_a_package_registry() -> None:
    assert _hits("|".join(map(re.escape, _HOSTS))) == []


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    assert _hits(rf"(?<![\w.])(?:{'|'.join(map(re.escape, _HOMES))})") == []


def test_no_code_is_left_unfinished() -> None:
    assert _hits(_UNFINISHED, suffix=".py") == []


def test_unit_tests_do_not_sleep() -> None:
    hits = _hits(r"\bsleep\((?!0\))", suffix=".py")  # asyncio's sleep(0) only lets others run

    assert [hit for hit in hits if hit.startswith("tests/unit/")] == []


def test_the_readme_has_one_command_for_the_demo_and_one_for_the_tests() -> None:
    assert sorted(name for name, _ in _COMMAND.findall(README)) == ["demo", "tests"]


def test_continuous_integration_reads_both_commands_from_the_readme() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")

    assert re.findall(r"\(readme_command (\w+)\)", script) == ["demo", "tests"]


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_what_continuous_integration_reads_is_what_the_readme_says(name: str) -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    function = script[script.index("readme_command() {") :]
    function = function[: function.index("\n}\n") + 3]
    read = subprocess.run(
        ["bash", "-euc", f"{function}\nreadme_command {name}"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout

    assert read == dict(_COMMAND.findall(README))[name] + "\n"


def test_constraints_are_pins_of_names_to_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]

    assert [
        line for line in pins if not re.fullmatch(r"[a-z0-9-]+==([0-9]+!)?[0-9][0-9a-z.]*", line)
    ] == []


def test_every_dependency_is_pinned() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"].values()
    wanted = {
        re.split(r"[\[<>=!~ ]", requirement)[0]
        for requirements in [project["dependencies"], *extras]
        for requirement in requirements
    } - {"robot-sf-otel"}
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {line.partition("==")[0] for line in constraints.splitlines()}

    assert wanted - pinned == set()


@pytest.mark.parametrize("target", ["check", "setup", "format", "lint", "types", "imports", "test"])
def test_the_makefile_has_the_targets_that_contributing_names(target: str) -> None:
    assert f"\n{target}: " in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"make {target}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
