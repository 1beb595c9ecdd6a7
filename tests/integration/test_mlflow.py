"""The page about MLflow runs as it stands, where MLflow is installed: two runs, linked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.page import blocks

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/mlflow.md"
FOUND = """
import json, mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
(run,) = mlflow.search_runs(output_format="list")
client = mlflow.MlflowClient()
print(json.dumps({
    "id": run.info.run_id,
    "tag": run.data.tags["run_tracker.run_id"],
    "status": run.info.status,
    "losses": len(client.get_metric_history(run.info.run_id, "loss")),
    "files": [file.path for file in client.list_artifacts(run.info.run_id, "run")],
}))
"""


@pytest.mark.integration
def test_a_run_in_both_is_whole_in_each_and_they_name_each_other(tmp_path: Path) -> None:
    if find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed: pip install -r benchmarks/requirements.txt")
    here = Path(sys.executable).parent
    env = {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "default",
    }
    install, train, run = blocks(PAGE.read_text(encoding="utf-8"))
    assert "pip install" in install.code
    (tmp_path / "train.py").write_text(train.code, encoding="utf-8")
    subprocess.run(["bash", "-euc", run.code], cwd=tmp_path, env=env, check=True)

    told = subprocess.run(
        [sys.executable, "-c", FOUND], cwd=tmp_path, env=env, check=True, stdout=subprocess.PIPE
    )
    mlflow = json.loads(told.stdout.splitlines()[-1])
    (manifest,) = tmp_path.glob("output/run-tracker/*/manifest.json")
    record = json.loads(manifest.read_bytes())

    assert mlflow["tag"] == record["run_id"]
    assert record["params"]["mlflow_run_id"] == mlflow["id"]
    assert (mlflow["status"], record["status"]) == ("FINISHED", "completed")
    assert mlflow["losses"] == 10
    assert record["steps"][0]["progress"]["done"] == 100
    assert mlflow["files"] == ["run/manifest.md"]
