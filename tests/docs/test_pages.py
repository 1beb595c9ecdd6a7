"""Every code block of the README and of docs/ runs; one that does not run says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import blocks

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("page.py")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SKIPPED = [
    pytest.param(block.skip, id=f"{page.relative_to(ROOT)}:{block.line}")
    for page in PAGES
    for block in blocks(page.read_text(encoding="utf-8"))
    if block.skip is not None
]
_PAGE_SECONDS = 240


@pytest.mark.integration
@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_the_code_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    here = Path(sys.executable).parent
    # The README's commands begin with .venv/bin/, as they do for who has just installed.
    (tmp_path / ".venv").symlink_to(sys.prefix)
    env = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    env.pop("COLUMNS", None)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), str(page)],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_PAGE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("reason", SKIPPED)
def test_a_code_block_that_is_left_out_says_why(reason: str) -> None:
    assert len(reason.split()) > 3, "a reason is a clause, not a word"
    pytest.skip(reason)
