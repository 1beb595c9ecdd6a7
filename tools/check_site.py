"""Checks the built documentation: no link or anchor leads nowhere, nothing is from outside.

Usage: `make site`, or `python tools/check_site.py FOLDER`. It needs no network: links to other
sites are counted, not followed.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOADED: Final = {
    "audio": "src",
    "embed": "src",
    "form": "action",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
"""What a browser fetches without being asked, or sends what is typed to."""
_FETCHES = re.compile(
    r"(?:url\(\s*|@import\s+)['\"]?(?P<url>(?:https?:)?//[^'\")\s;]+)", re.IGNORECASE
)


@dataclass
class _Page(HTMLParser):
    """What one page refers to, and the anchors that it has."""

    loaded: list[str] = field(default_factory=list[str])
    links: list[str] = field(default_factory=list[str])
    anchors: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag refers to."""
        given = {name: value or "" for name, value in attrs}
        self.anchors.update(given[name] for name in ("id", "name") if given.get(name))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in _LOADED and given.get(_LOADED[tag]):
            self.loaded.append(given[_LOADED[tag]])


def faults(site: Path) -> Iterator[str]:
    """Yield one line for each link that leads nowhere and each thing that comes from outside.

    Args:
        site: The folder of the built pages.
    """
    pages: dict[Path, _Page] = {}
    for path in sorted(site.rglob("*.html")):
        if "_static" not in path.parts:
            page = _Page()
            page.feed(path.read_text(encoding="utf-8"))
            pages[path.resolve()] = page
    if not pages:
        yield f"{site}: no pages"
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for url in page.loaded:
            if _outside(url):
                yield f"{name}: loads {url}"
            elif not url.startswith("data:") and not _target(path, url).is_file():
                yield f"{name}: {url} is missing"
        yield from (f"{name}: {fault}" for fault in _lost(path, page, pages))
    for path in sorted([*site.rglob("*.css"), *site.rglob("*.html")]):
        for found in _FETCHES.finditer(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: loads {found['url']}"


def _lost(path: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = _target(path, link)
        if not target.exists():
            yield f"{link} leads nowhere"
        elif parts.fragment and target in pages:
            anchor = unquote(parts.fragment)
            if anchor not in pages[target].anchors:
                yield f"{link}: the page has no such anchor"


def _outside(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme in {"http", "https"}


def _target(page: Path, url: str) -> Path:
    path = unquote(urlsplit(url).path)
    return (page.parent / path).resolve() if path else page


def main(site: str) -> int:
    """Print what is wrong; return 1 if anything is."""
    found = list(faults(Path(site)))
    for fault in found:
        print(fault)
    print(f"{site}: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
