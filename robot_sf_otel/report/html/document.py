"""One self-contained page: styles, scripts and data in it, and a policy that allows no more.

Every value passes the template's escaping and is freed of characters that reorder text or act on
a terminal. The policy allows the page's own scripts and styles by their hashes: markup that got
through anyway would not run, and nothing is ever loaded.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.formats import block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

UPLOT: Final = "uPlot-1.6.32"
"""The charting library that every page has in it."""
_SAFE_JSON: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def render(template: str, data: Mapping[str, object] | None, **context: object) -> bytes:
    """Return a page as UTF-8.

    Args:
        template: Name of the template.
        data: What its scripts draw; None for a page without scripts.
        context: What the template shows.
    """
    import msgspec

    styles = [asset(f"{UPLOT}.min.css"), asset("report.css")]
    scripts = [asset(f"{UPLOT}.iife.min.js"), asset("report.js")] if data is not None else []
    text = msgspec.json.encode(data).decode("utf-8", "replace").translate(_SAFE_JSON)
    page = _environment().get_template(template)
    made = page.render(
        policy=_policy(scripts, styles),
        styles=[_raw(style) for style in styles],
        scripts=[_raw(script) for script in scripts],
        data=_raw(text),
        **context,
    )
    return made.encode("utf-8", "replace")


@functools.cache
def asset(name: str) -> str:
    """Return the text of a file that is shipped with this package."""
    return (
        resources.files("robot_sf_otel.report.html")
        .joinpath("assets", name)
        .read_text(encoding="utf-8")
        .strip()
    )


def _raw(text: str) -> Any:  # noqa: ANN401 - markupsafe has no part in the signatures here
    """Return our own text as it is; it never holds what came from a run."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - files of this package, and JSON without markup


def _policy(scripts: list[str], styles: list[str]) -> str:
    parts = [
        "default-src 'none'",
        f"script-src {_hashes(scripts)}",
        f"style-src {_hashes(styles)}",
        "img-src data:",  # the empty icon, so that no server is asked for one
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    return "; ".join(parts)


def _hashes(texts: list[str]) -> str:
    if not texts:
        return "'none'"
    sums = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{checksum}'" for checksum in sums)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )


def _harmless(value: object) -> object:
    """Return outside text without the characters that reorder it or act on a terminal."""
    return block(value) if type(value) is str else value
