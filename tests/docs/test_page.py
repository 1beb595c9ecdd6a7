"""The runner of documentation pages: what it runs, what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.page import blocks, console_commands, main

if TYPE_CHECKING:
    from pathlib import Path


def _page(directory: Path, *fences: str) -> str:
    page = directory / "page.md"
    page.write_text("# Page\n\n" + "\n\n".join(fences) + "\n", encoding="utf-8")
    return str(page)


def _fence(info: str, *lines: str) -> str:
    return "\n".join([f"```{info}", *lines, "```"])


def test_python_blocks_share_a_namespace_and_shell_blocks_the_directory(tmp_path: Path) -> None:
    page = _page(
        tmp_path,
        _fence("python", "from pathlib import Path", "name = 'made.txt'"),
        _fence("python", "Path(name).write_text('x')"),
        _fence("sh", "cp made.txt copied.txt"),
    )

    assert main(page) == 0
    assert (tmp_path / "copied.txt").read_text(encoding="utf-8") == "x"


def test_a_titled_block_becomes_a_file_for_later_blocks(tmp_path: Path) -> None:
    page = _page(
        tmp_path,
        _fence('python title="lib/answer.py"', "ANSWER = 42"),
        _fence("console", "$ python3 -c 'import sys; sys.path[0] = \"lib\"; import answer'"),
    )

    assert main(page) == 0
    assert (tmp_path / "lib/answer.py").read_text(encoding="utf-8") == "ANSWER = 42\n"


@pytest.mark.parametrize(
    ("info", "code"),
    [
        pytest.param("python", "1 / 0", id="python-raises"),
        pytest.param("python", "raise SystemExit(0)", id="python-exits-early"),
        pytest.param("sh", "false; true", id="shell-fails-in-the-middle"),
        pytest.param("bash", "false | cat", id="shell-fails-in-a-pipe"),
        pytest.param("console", "$ echo one\ntwo", id="console-prints-something-else"),
        pytest.param("console", "echo one", id="console-without-a-prompt"),
        pytest.param("json", "{", id="bad-json"),
        pytest.param("toml", "=", id="bad-toml"),
        pytest.param("yaml", "[", id="bad-yaml"),
        pytest.param('yaml title="x.yml"', "[", id="bad-yaml-of-a-file"),
        pytest.param("", "x", id="no-language"),
        pytest.param("fortran", "x", id="unknown-language"),
    ],
)
def test_a_block_that_fails_is_named_with_its_line(
    info: str, code: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = _page(tmp_path, "Words.", _fence(info, code))

    assert main(page) == 1
    language = info.partition(" ")[0]
    assert f"{page}:5: this {language} block failed" in capfd.readouterr().err


def test_a_traceback_names_the_line_of_the_page(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = _page(tmp_path, _fence("python", "x = 0", "1 / x"))

    assert main(page) == 1
    assert f'File "{page}", line 5, in <module>' in capfd.readouterr().err


def test_a_skip_comment_holds_for_the_next_block_only(tmp_path: Path) -> None:
    page = _page(
        tmp_path,
        "<!-- skip: shows what fails -->\n<!-- other -->\n" + _fence("python", "1 / 0"),
        _fence("sh", "touch ran"),
    )

    assert main(page) == 0
    assert (tmp_path / "ran").exists()


def test_a_block_that_needs_a_module_is_left_out_where_it_is_missing(tmp_path: Path) -> None:
    page = _page(
        tmp_path,
        "<!-- needs: json, no_such_module -->\n" + _fence("python", "1 / 0"),
        "<!-- needs: json -->\n" + _fence("sh", "touch ran"),
    )

    first, second = blocks((tmp_path / "page.md").read_text(encoding="utf-8"))
    assert (first.skip, second.skip) == ("needs no_such_module, not installed here", None)
    assert main(page) == 0
    assert (tmp_path / "ran").exists()


def test_a_skip_comment_does_not_reach_over_a_paragraph() -> None:
    text = f"<!-- skip: forgotten -->\n\nWords.\n\n{_fence('sh', 'true')}\n"

    assert [block.skip for block in blocks(text)] == [None]


def test_the_output_of_a_console_block_may_have_gaps(tmp_path: Path) -> None:
    page = _page(tmp_path, _fence("console", "$ echo run 20250101-ab done", "run ... done"))

    assert main(page) == 0


def test_a_console_block_is_split_into_commands_and_their_output() -> None:
    code = "$ echo a \\\n> b\na b\n$ true\n"

    assert list(console_commands(code)) == [("echo a \\\nb", "a b"), ("true", "")]
