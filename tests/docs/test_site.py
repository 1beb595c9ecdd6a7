"""The built documentation: what stops the build, and what the check of the built pages finds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.check_site import faults

ROOT = Path(__file__).parents[2]
HEAD = "<html><head></head><body><h1 id='top'>Page</h1>"


def built(tmp_path: Path, **pages: str) -> subprocess.CompletedProcess[str]:
    """Build a few pages with the repository's configuration, as `make site` does."""
    source = tmp_path / "pages"
    source.mkdir()
    shutil.copy(ROOT / "docs/conf.py", source)
    for name, text in pages.items():
        (source / f"{name}.md").write_text(text, encoding="utf-8")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-E",
            source,
            tmp_path / "site",
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.integration
def test_pages_that_refer_to_one_another_become_a_site_without_a_fault(tmp_path: Path) -> None:
    done = built(
        tmp_path,
        index="# Home\n\n- [Page](page.md)\n",
        page="# Page\n\n## A part\n\n[here](#a-part), [home](index.md#home)\n",
    )

    assert done.returncode == 0, done.stderr
    assert list(faults(tmp_path / "site")) == []
    # The navigation has the page that index.md links to.
    home = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert re.search(r'class="nav-link[^>]*href="page.html"', home)


@pytest.mark.integration
def test_a_broken_link_a_broken_anchor_and_a_page_that_nobody_links_to_stop_the_build(
    tmp_path: Path,
) -> None:
    done = built(
        tmp_path,
        index="# Home\n\n- [Page](page.md)\n",
        page="# Page\n\n[gone](gone.md) and [no such part](index.md#gone)\n",
        lonely="# Lonely\n",
    )

    assert done.returncode != 0
    assert "gone.md" in done.stderr
    assert "no such part" in done.stderr or "'gone'" in done.stderr
    assert "lonely.md" in done.stderr


def site(tmp_path: Path, body: str) -> list[str]:
    (tmp_path / "page.html").write_text(HEAD + body, encoding="utf-8")
    return list(faults(tmp_path))


def test_links_to_other_sites_and_to_what_is_there_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a picture.png").write_bytes(b"")

    assert (
        site(
            tmp_path,
            "<a href='https://example.org/'>x</a> <a href='#top'>x</a> "
            "<a href='page.html#top'>x</a>"
            "<img src='a%20picture.png'><img src='data:image/png;base64,AA=='>",
        )
        == []
    )


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<script src='https://example.org/a.js'></script>", "loads https://example.org/a.js"),
        ("<link rel='stylesheet' href='//example.org/a.css'>", "loads //example.org/a.css"),
        ("<img src='http://example.org/count.gif'>", "loads http://example.org/count.gif"),
        ("<form action='https://example.org/search'>", "loads https://example.org/search"),
        ("<style>@import 'https://example.org/a.css';</style>", "loads https://example.org/a.css"),
        ("<script src='gone.js'></script>", "gone.js is missing"),
        ("<a href='gone.html'>x</a>", "gone.html leads nowhere"),
        ("<a href='#gone'>x</a>", "#gone: the page has no such anchor"),
    ],
)
def test_what_is_from_outside_or_leads_nowhere_is_named(
    body: str, fault: str, tmp_path: Path
) -> None:
    assert site(tmp_path, body) == [f"page.html: {fault}"]


def test_a_font_that_a_style_sheet_fetches_from_outside_is_named(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("@font-face { src: url('https://example.org/a.woff2') }")

    assert site(tmp_path, "") == ["style.css: loads https://example.org/a.woff2"]


def test_a_folder_without_pages_is_a_fault(tmp_path: Path) -> None:
    assert list(faults(tmp_path)) == [f"{tmp_path}: no pages"]
