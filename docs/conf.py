"""How Sphinx builds the pages of this folder; `make site` does, and every warning is an error.

The pages are plain Markdown, readable where they lie. The order of the navigation is the order of
the links in the pages named index.md: a page that none of them links to is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

import robot_sf_otel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

project = "robot_sf_otel"
version = release = robot_sf_otel.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
nitpicky = True
default_role = "code"  # backticks in docstrings are code, as in the pages

myst_heading_anchors = 6  # so that `page.md#heading` means what it means in the repository
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpick_ignore_regex = [
    # Types in signatures: the standard library and other packages are not part of this site, and
    # what is not on the page of the API is no public name.
    ("py:.*", ".*"),
]

html_theme = "pydata_sphinx_theme"
html_title = f"{project} {version}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": True,
    "footer_center": [],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def _linked(markdown: str) -> Iterator[str]:
    """Yield the pages that a page links to, in order, without anchors."""
    seen: set[str] = set()
    for token in MarkdownIt().parse(markdown):
        for child in token.children or []:
            target = str(child.attrGet("href") or "")
            page, _, anchor = target.partition("#")
            if page.endswith((".md", ".rst")) and not anchor and page not in seen:
                seen.add(page)
                yield page


def _add_navigation(_app: Sphinx, document: str, source: list[str]) -> None:
    """Append to an index page the contents that Sphinx makes the navigation of."""
    folder, _, name = document.rpartition("/")
    if name != "index":
        return
    pages = [page for page in _linked(source[0]) if not page.startswith("../")]
    if not folder:  # the pages of a section are listed by its own index
        sections = {page.split("/")[0] for page in pages if page.endswith("/index.md")}
        pages = [
            page
            for page in pages
            if page.endswith("/index.md") or page.split("/")[0] not in sections
        ]
    contents = "\n".join(["```{toctree}", ":hidden:", "", *pages, "```"])
    source[0] = f"{source[0]}\n\n{contents}\n"


def setup(app: Sphinx) -> None:
    """Register the handler above."""
    app.connect("source-read", _add_navigation)
