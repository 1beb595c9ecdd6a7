"""The tour through the code names what is there: each name is defined in the file it links to."""

from __future__ import annotations

import ast
import functools
import itertools
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explanation/tour.md"


def _names() -> list[tuple[str, str]]:
    """Return (qualified name, path below the root) of each link to code."""
    found: set[tuple[str, str]] = set()
    for token in MarkdownIt().parse(PAGE.read_text(encoding="utf-8")):
        children = token.children or []
        for opened, text in itertools.pairwise(children):
            target = str(opened.attrGet("href") or "")
            if opened.type == "link_open" and target.endswith(".py"):
                path = (PAGE.parent / target).resolve().relative_to(ROOT)
                found.add((text.content, str(path)))
    return sorted(found)


@functools.cache
def _defined(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    top = [node for node in tree.body if isinstance(node, kinds)]
    members = [
        f"{node.name}.{member.name}"
        for node in top
        if isinstance(node, ast.ClassDef)
        for member in node.body
        if isinstance(member, kinds)
    ]
    return frozenset([*(node.name for node in top), *members])


@pytest.mark.parametrize(("name", "path"), _names())
def test_a_name_of_the_tour_is_defined_in_the_file_that_it_links_to(name: str, path: str) -> None:
    assert name in _defined(path)


def test_the_tour_passes_every_package_between_capture_and_report() -> None:
    passed = {str(Path(path).parent) for _, path in _names()}

    assert passed >= {
        "exporters/robot_sf_otel_manifest",
        "robot_sf_otel",
        "robot_sf_otel/analysis",
        "robot_sf_otel/instrument",
        "robot_sf_otel/manifest",
        "robot_sf_otel/report",
        "robot_sf_otel/store",
        "robot_sf_otel/system_metrics",
    }
