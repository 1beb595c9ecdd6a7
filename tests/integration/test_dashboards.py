"""The files of collector-config as their programs see them: valid, consistent, of one source."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from tests.integration import backends
from tests.integration.backends import CONFIG
from tests.integration.dashboards import RULES, asked, dashboards, promtool, variables

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.integration

TRACEQL = """
import { parser } from "@grafana/lezer-traceql";
const wrong = [];
for (const query of JSON.parse(process.argv[2]))
  parser.parse(query).iterate({
    enter: (node) => { if (node.type.isError) wrong.push([query, node.from]); },
  });
console.log(JSON.stringify(wrong));
"""


@pytest.fixture
def generator() -> ModuleType:
    """The script that makes the dashboards."""
    spec = importlib.util.spec_from_file_location("dashboards", CONFIG / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dashboards_are_what_their_script_makes(generator: ModuleType) -> None:
    for name, text in generator.rendered().items():
        assert (CONFIG / "grafana" / "dashboards" / name).read_text() == text, (
            "run: .venv/bin/python collector-config/dashboards.py"
        )


def test_panels_neither_overlap_nor_leave_the_grid() -> None:
    for name, dashboard in dashboards().items():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24, (name, panel["title"])
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, (name, panel["title"])
            taken |= cells


def test_dashboards_name_provisioned_data_sources_and_each_other() -> None:
    provisioned = yaml.safe_load(
        (CONFIG / "grafana" / "provisioning" / "datasources" / "datasources.yaml").read_text()
    )
    sources = {source["uid"]: source["type"] for source in provisioned["datasources"]}
    uids = {dashboard["uid"] for dashboard in dashboards().values()}
    text = json.dumps(dashboards())

    for dashboard in dashboards().values():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                assert sources[target["datasource"]["uid"]] == target["datasource"]["type"]
    assert set(re.findall(r"/d/([\w-]+)", text)) == uids
    for source in provisioned["datasources"]:
        links = json.dumps(source["jsonData"])
        assert set(re.findall(r'"datasourceUid": "(\w+)"', links)) <= set(sources)


def test_queries_use_variables_that_their_dashboard_has() -> None:
    built_in = {"__range", "__url_time_range", "__data"}
    for name, dashboard in dashboards().items():
        known = {variable for where, variable, _, _ in variables() if where == name} | built_in
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"])))
        assert used <= known, name


@pytest.mark.parametrize("name", ["agent.yaml", "gateway.yaml"])
def test_the_collector_accepts_its_configuration(name: str, tmp_path: Path) -> None:
    command = [str(backends.program("otelcol")), "validate", "--config", str(CONFIG / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr


def test_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    """Otherwise the test above could not fail."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((CONFIG / "agent.yaml").read_text().replace("sizer: items", "sizer: sheep"))
    command = [str(backends.program("otelcol")), "validate", "--config", str(wrong)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode != 0


def test_prometheus_accepts_its_configuration_and_its_alerts() -> None:
    backends.program("promtool")
    done = promtool("check", "config", str(CONFIG / "prometheus" / "prometheus.yml"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """Prometheus's own unit tests of rules: series as they come, and which alerts there are."""
    backends.program("promtool")
    shutil.copy(RULES, tmp_path / "rules.yml")
    tests = Path(__file__).parent / "alert_tests.yml"
    (tmp_path / "alert_tests.yml").write_text(tests.read_text())

    done = promtool("test", "rules", str(tmp_path / "alert_tests.yml"))

    assert done.returncode == 0, done.stdout + done.stderr
    tested = {
        alert["alertname"]
        for group in yaml.safe_load(tests.read_text())["tests"]
        for alert in group["alert_rule_test"]
        if alert["exp_alerts"]
    }
    assert tested == set(re.findall(r"alert: (\w+)", RULES.read_text()))


def test_grafana_s_own_grammar_parses_every_traceql_query(tmp_path: Path) -> None:
    """Tempo itself is not run here: its licence keeps it out of what this project builds."""
    grammar = backends.place() / "node_modules"
    if not grammar.is_dir() or shutil.which("node") is None:
        pytest.skip("TraceQL's grammar is not here: node or npm is missing, see .ci/backends")
    (tmp_path / "node_modules").symlink_to(grammar)
    (tmp_path / "check.mjs").write_text(TRACEQL)
    queries = [query.text for query in asked() if query.datasource == "tempo"]
    # A variable stands for a text inside quotes, or for a trace id, which is not TraceQL.
    queries = [query for query in queries if query != "$trace"]
    assert queries

    def wrong(*texts: str) -> list[Any]:
        command = ["node", str(tmp_path / "check.mjs"), json.dumps(texts)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return cast("list[Any]", json.loads(done.stdout))

    assert wrong(*queries) == []
    assert wrong(queries[0].replace("&&", "&& &&")) != []


def test_compose_mounts_files_that_are_there_and_pins_every_image() -> None:
    compose = yaml.safe_load((CONFIG / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (CONFIG / source).exists(), source
            else:
                assert source in compose["volumes"], source
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "the receivers ask nobody who they are"
    builder = (backends.ROOT / ".ci" / "otelcol" / "builder.yaml").read_text()
    collector = compose["services"]["gateway"]["image"].split(":")[1]
    assert f"version: {collector}" in builder, "the tests use the version that compose names"


def test_the_script_writes_where_it_is_told(tmp_path: Path) -> None:
    command = [sys.executable, str(CONFIG / "dashboards.py"), str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)

    assert {path.name for path in tmp_path.iterdir()} == set(dashboards())
