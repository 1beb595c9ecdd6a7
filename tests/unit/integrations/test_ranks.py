from __future__ import annotations

import os

import pytest

from robot_sf_otel.integrations.ranks import GLOBAL, LOCAL, first_rank_only, is_first_rank

ENABLED = "ROBOT_SF_OTEL_ENABLED"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*GLOBAL, *LOCAL, ENABLED):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        pytest.param({}, True, id="alone"),
        pytest.param({"RANK": "0", "LOCAL_RANK": "0"}, True, id="torchrun-first"),
        pytest.param({"RANK": "3", "LOCAL_RANK": "1"}, False, id="torchrun-other"),
        pytest.param({"RANK": "8", "LOCAL_RANK": "0"}, False, id="torchrun-first-of-a-host"),
        pytest.param({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True, id="lightning-first"),
        pytest.param({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False, id="lightning-other"),
        pytest.param({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False, id="lightning-other-host"),
        pytest.param({"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, True, id="srun-first"),
        pytest.param({"SLURM_PROCID": "2"}, False, id="srun-other"),
        pytest.param({"OMPI_COMM_WORLD_RANK": "1"}, False, id="mpirun-other"),
        pytest.param({"RANK": "odd", "LOCAL_RANK": ""}, True, id="no-number"),
    ],
)
def test_one_process_of_a_training_reports(
    variables: dict[str, str], *, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(ENABLED, "true")
    assert is_first_rank() is first
    first_rank_only()
    assert os.environ[ENABLED] == ("true" if first else "false")
