"""What the dashboards and the alerts ask, read from their files as Grafana reads them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from tests.integration.backends import CONFIG, place

DASHBOARDS: Final = CONFIG / "grafana" / "dashboards"
RULES: Final = CONFIG / "prometheus" / "rules.yml"


class Asked(NamedTuple):
    """A query of a panel."""

    where: str
    datasource: str
    """`prometheus` or `tempo`."""
    text: str


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by the names of their files."""
    return {path.name: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def asked() -> list[Asked]:
    """Return every query of every panel."""
    return [
        Asked(f"{name}: {panel['title']}", target["datasource"]["type"], _text(target))
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


def _text(target: Mapping[str, Any]) -> str:
    return str(target["expr"] if "expr" in target else target["query"])


def variables() -> list[tuple[str, str, str, str]]:
    """Return what each variable asks: dashboard, variable, series selector, label."""
    found: list[tuple[str, str, str, str]] = []
    for name, dashboard in dashboards().items():
        for variable in cast("list[dict[str, Any]]", dashboard["templating"]["list"]):
            query = variable["query"]
            text = query if isinstance(query, str) else query["query"]
            values = re.fullmatch(r"label_values\((.*), (\w+)\)", text)
            assert values is not None, text
            found.append((name, variable["name"], values[1], values[2]))
    return found


def filled(query: str, values: Mapping[str, str]) -> str:
    """Return a query as Grafana sends it: with the values of its variables."""
    for name, value in {"__range": "1h", **values}.items():
        query = re.sub(rf"\$(\{{{name}\}}|{name}\b)", value.replace("\\", r"\\"), query)
    assert "$" not in query, query
    return query


def alerts() -> Iterator[tuple[str, str]]:
    """Yield the name and the expression of every alert and of what they are made of."""
    import yaml

    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool; the caller looks at how it ended."""
    command = [str(place() / "promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
