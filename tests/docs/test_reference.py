"""The reference pages say what the code says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from benchmarks import trackers
from benchmarks.table import Report
from benchmarks.tracked import TOOLS
from tools.figures import MEASURED, costs
from tools.reference import SCHEMAS, pages

ROOT = Path(__file__).parents[2]
PAGES = pages()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    path = ROOT / name

    assert path.is_file(), "run `make reference`"
    assert path.read_text(encoding="utf-8") == PAGES[name], "run `make reference`"


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_valid_json_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(PAGES[f"docs/schema/{name}.json"]))


def test_every_variable_of_the_specification_is_in_the_reference() -> None:
    page = PAGES["docs/reference/configuration.md"]

    assert [
        name
        for name in ("ENABLED", "RUN_DIR", "RUN_NAME", "INTERVAL", "GPU", "CONSOLE", "WATCHDOG")
        if f"`ROBOT_SF_OTEL_{name}`" not in page
    ] == []


def test_a_figure_that_was_not_measured_is_no_figure() -> None:
    report = msgspec.json.decode(MEASURED.read_bytes(), type=Report)

    with pytest.raises(LookupError, match="make bench-page"):
        costs(msgspec.structs.replace(report, rows=report.rows[:10]))


def test_the_published_figures_are_beside_every_tracker_and_nothing_failed() -> None:
    report = msgspec.json.decode(MEASURED.read_bytes(), type=Report)

    assert report.failed == {}
    assert {row.name for row in report.rows if row.group == trackers.WHOLE} == set(TOOLS)
