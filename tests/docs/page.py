"""Runs the code blocks of a Markdown page, in order, in the current directory.

Usage: `python page.py PAGE`. One process runs a page: its Python blocks share a namespace, its
shell blocks the directory, and whatever a block switches on (global providers, signal handlers,
threads) ends with the page.

What a block does follows from the first word of its info string and from `title="NAME"` behind it:

- `python`: executed. `sh`, `bash`: run by `bash -eu -o pipefail`. `console`: each line behind `$ `
  is run (`> ` continues it) and the lines below it must match what it prints, where `...` stands
  for anything.
- `json`, `toml`, `yaml`: must parse; also with a title.
- with `title="NAME"`: written to the file NAME instead, for later blocks to use.
- `text`: an illustration, not run.

Anything else is an error, as is a block without a language. A block behind
`<!-- skip: REASON -->` is left out, and one behind `<!-- needs: MODULE, ... -->` where one of these
is not installed.
"""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
import tomllib
import traceback
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

_SKIP = re.compile(r"<!--\s*skip:\s*(?P<reason>.*?)\s*-->", re.DOTALL)
_NEEDS = re.compile(r"<!--\s*needs:\s*(?P<modules>[\w., ]+?)\s*-->")
_TITLE = re.compile(r'\btitle="(?P<name>[^"]+)"')
_CHECKER = doctest.OutputChecker()
_MATCHING = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        line: Line of the opening fence in the page, from 1.
        language: First word of the info string, empty when there is none.
        title: Name of the file that the block is written to, or None.
        code: The text between the fences.
        skip: The reason why it is not run here, or None.
    """

    line: int
    language: str
    title: str | None
    code: str
    skip: str | None


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order.

    Args:
        text: The page, CommonMark.

    Yields:
        Each block, with the reason of a skip comment that stands between it and the text before it.
    """
    skip: str | None = None
    for token in MarkdownIt().parse(text):
        if token.type == "html_block":
            found = _SKIP.search(token.content)
            skip = found["reason"] if found else _missing(token.content) or skip
        elif token.type == "fence":
            language, _, rest = token.info.strip().partition(" ")
            titled = _TITLE.search(rest)
            line = token.map[0] + 1 if token.map else 0
            yield Block(line, language, titled["name"] if titled else None, token.content, skip)
            skip = None
        else:
            skip = None


def _missing(comment: str) -> str | None:
    """Return why a block is left out whose modules are not all installed."""
    found = _NEEDS.search(comment)
    modules = re.split(r"[ ,]+", found["modules"]) if found else []
    missing = [module for module in modules if find_spec(module) is None]
    return f"needs {', '.join(missing)}, not installed here" if missing else None


def console_commands(code: str) -> Iterator[tuple[str, str]]:
    """Split a console transcript.

    Args:
        code: Lines of commands behind `$ ` (continued behind `> `) with their output.

    Yields:
        Pairs of a command and the output below it, which may be empty.

    Raises:
        ValueError: The transcript does not start with a command.
    """
    command: str | None = None
    output: list[str] = []
    for line in code.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, "\n".join(output)
            command, output = line[2:], []
        elif command is None:
            msg = f"a console block starts with `$ `, not with {line!r}"
            raise ValueError(msg)
        elif line.startswith("> ") and not output:
            command += "\n" + line[2:]
        else:
            output.append(line)
    if command is not None:
        yield command, "\n".join(output)


def _shell(code: str, *, capture: bool) -> str:
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", code],
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
    )
    if done.returncode:
        msg = f"exit code {done.returncode}: {code}{done.stdout or ''}"
        raise AssertionError(msg)
    return done.stdout or ""


def _console(code: str) -> None:
    for command, wanted in console_commands(code):
        printed = _shell(command, capture=True)
        if wanted and not _CHECKER.check_output(wanted + "\n", printed, _MATCHING):
            msg = f"$ {command}\nthe page says:\n{wanted}\nit printed:\n{printed}"
            raise AssertionError(msg)


def run(block: Block, *, page: str, namespace: dict[str, object]) -> None:
    """Run one block.

    Args:
        block: The block.
        page: The page's path, for tracebacks.
        namespace: The globals of the page's Python blocks.

    Raises:
        AssertionError: A command failed or printed something else than the page says.
        ValueError: The language is missing or unknown.
        Exception: What the block itself raised.
    """
    if block.language == "yaml":
        import_module("yaml").safe_load(block.code)
    if block.title is not None:
        target = Path(block.title)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.code, encoding="utf-8")
        return
    match block.language:
        case "python":
            # Blank lines in front, so that a traceback names the line of the page.
            code = compile("\n" * block.line + block.code, page, "exec", dont_inherit=True)
            exec(code, namespace)  # noqa: S102 - running the page's code is this script's purpose
        case "sh" | "bash":
            _shell(block.code, capture=False)
        case "console":
            _console(block.code)
        case "json":
            json.loads(block.code)
        case "toml":
            tomllib.loads(block.code)
        case "yaml" | "text":  # parsed above; an illustration
            pass
        case "":
            msg = "a code block without a language: say `text` if it is not code"
            raise ValueError(msg)
        case other:
            msg = f"a code block in {other!r}, which nothing checks"
            raise ValueError(msg)


def main(page: str) -> int:
    """Run the blocks of a page that are not skipped.

    Args:
        page: Path of the page.

    Returns:
        0, or 1 after the first block that failed, which is named on stderr.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(Path(page).read_text(encoding="utf-8")):
        if block.skip is not None:
            continue
        try:
            run(block, page=page, namespace=namespace)
        # SystemExit too: it would end the page early and look like success.
        except BaseException:  # noqa: BLE001 - whatever the page's code raises is reported below
            sys.stdout.flush()
            traceback.print_exc()
            sys.stderr.write(f"{page}:{block.line}: this {block.language} block failed\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
