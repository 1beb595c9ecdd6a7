"""Who a process is to a backend: unique, the same whenever it asks, and a worker of its job."""

from __future__ import annotations

import os
import uuid
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

from robot_sf_otel.process_resource import (
    process_attributes,
    process_resource,
    worker,
)
from robot_sf_otel.redaction import Outgoing, Redactor

TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "GROUP_RANK": "2"}
SLURM = {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "3", "SLURM_LOCALID": "0", "SLURM_NODEID": "1"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "7", "OMPI_COMM_WORLD_LOCAL_RANK": "3"}


def resource(*, private: bool = False, **environ: str) -> dict[str, Any]:
    return dict(process_resource(environ, Outgoing(Redactor(), private=private)).attributes)


@pytest.mark.parametrize(
    ("environ", "rank", "local", "node", "job"),
    [
        (TORCHRUN, 5, 1, 2, None),
        (SLURM, 3, 0, 1, "4711"),
        (OPEN_MPI, 7, 3, None, None),
        ({**SLURM, **TORCHRUN}, 5, 1, 2, "4711"),
        ({}, None, None, None, None),
        ({"RANK": "first", "WORLD_SIZE": "", "LOCAL_RANK": "-1"}, None, None, None, None),
    ],
    ids=["torchrun", "slurm", "open-mpi", "torchrun-in-slurm", "alone", "nonsense"],
)
def test_worker_is_the_one_that_its_launcher_names(
    environ: dict[str, str], rank: int | None, local: int | None, node: int | None, job: str | None
) -> None:
    told = worker(environ)
    assert told.get("robot_sf.worker.rank") == rank
    assert told.get("robot_sf.worker.local_rank") == local
    assert told.get("robot_sf.worker.node_rank") == node
    assert told.get("robot_sf.worker.job_id") == job


def test_process_is_told_apart_from_all_others_and_stays_the_same() -> None:
    first, second = process_attributes({}), process_attributes({})
    assert first == second
    assert uuid.UUID(str(first["service.instance.id"])).version == 5
    assert first["process.pid"] == os.getpid()
    assert first["cicd.worker.id"] == f"{first['host.name']}:{os.getpid()}"
    assert first["cicd.worker.name"] == first["host.name"]
    assert process_attributes({"RANK": "2"})["cicd.worker.name"] == f"{first['host.name']} rank 2"


def test_what_the_environment_says_of_the_resource_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "service.name=mine,service.instance.id=i-1,host.name=cloud,team=robots"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", given)
    found = resource()
    for name in ("service.name", "service.instance.id", "host.name", "team"):
        assert f"{name}={found[name]}" in given
    assert found["process.pid"] == os.getpid()


def test_name_of_the_service_is_ours_where_none_is_given() -> None:
    assert resource()["service.name"] == "robot-sf-otel"


def test_secrets_and_in_private_commands_of_the_resource_are_kept_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "api_key=hunter2hunter2,process.owner=me")
    found, hidden = resource(), resource(private=True)
    assert "hunter2" not in str(found) + str(hidden)
    assert found["process.owner"] == "me"
    assert "process.executable.path" in found
    kept = {name for name in hidden if name.startswith("process.")}
    assert kept <= {
        *("process.pid", "process.parent_pid", "process.executable.name"),
        *("process.runtime.name", "process.runtime.version", "process.runtime.description"),
    }


def test_resource_that_a_fork_renews_is_the_childs_and_says_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = process_resource({}, Outgoing(Redactor(), private=True))
    before = mine.attributes["service.instance.id"]
    monkeypatch.setattr("os.getpid", lambda: 1)
    detected = Resource({"process.command_line": "train --lr 1", "service.instance.id": "random"})
    renewed = mine.merge(detected)
    assert renewed.attributes["process.pid"] == 1
    assert renewed.attributes["service.instance.id"] not in (before, "random")
    assert "process.command_line" not in renewed.attributes
