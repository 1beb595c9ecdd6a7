"""Who this process is to a backend: the resource of providers that are ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from robot_sf_otel import semconv
from robot_sf_otel.store.identity import host_name, instance_id, process_identity

if TYPE_CHECKING:
    from robot_sf_otel.redaction.outgoing import Outgoing
    from robot_sf_otel.semconv.spans import Value

_NUMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    semconv.WORKER_RANK: ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"),
    semconv.WORKER_LOCAL_RANK: ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"),
    semconv.WORKER_WORLD_SIZE: ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS"),
    semconv.WORKER_NODE_RANK: ("GROUP_RANK", "OMPI_COMM_WORLD_NODE_RANK", "SLURM_NODEID"),
}
"""Variables of torchrun, of Open MPI and of SLURM; the first one that is set counts."""
_JOBS: Final = ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")


def worker(environ: Mapping[str, str]) -> dict[str, Value]:
    """Return which worker of a distributed job this process is, as its launcher tells. Pure."""
    told: dict[str, Value] = {}
    for attribute, variables in _NUMBERS.items():
        text = next((environ[name] for name in variables if environ.get(name)), "")
        if text.isascii() and text.isdecimal():
            told[attribute] = int(text)
    job = next((environ[name] for name in _JOBS if environ.get(name)), None)
    if job is not None:
        told[semconv.WORKER_JOB_ID] = job
    return told


def process_attributes(environ: Mapping[str, str]) -> dict[str, Value]:
    """Return what tells this process apart from all others, on this machine and elsewhere.

    `service.instance.id` is the same whenever this process asks, and another one in its children.
    """
    me = process_identity()
    told = worker(environ)
    rank = told.get(semconv.WORKER_RANK)
    return {
        semconv.SERVICE_INSTANCE_ID: instance_id(me),
        semconv.HOST_NAME: host_name(),
        semconv.PROCESS_PID: me.pid,
        semconv.WORKER_ID: f"{me.host}:{me.pid}",  # as the record names processes
        semconv.WORKER_NAME: me.host if rank is None else f"{me.host} rank {rank}",
        **told,
    }


class ProcessResource(Resource):
    """A resource that is always of the process that asks, and tells only what may leave it.

    A forked child gets a copy of its parent's providers; the SDK merges into their resources what
    its detectors find anew, and by that they become the child's.

    Args:
        attributes: What is known besides the process.
        schema_url: As of any resource.
        outgoing: Decides what may leave the machine.
        environ: Where a launcher tells which worker this is.
        given: Attributes that the environment sets: they are not ours to renew.
    """

    def __init__(
        self,
        attributes: Mapping[str, Any],
        schema_url: str | None,
        outgoing: Outgoing,
        environ: Mapping[str, str],
        given: Mapping[str, Any],
    ) -> None:
        known = {**attributes, **process_attributes(environ), **given}
        super().__init__(outgoing.attributes(known), schema_url)
        self._outgoing = outgoing
        self._environ = environ
        self._given = given
        self.pid = os.getpid()

    def merge(self, other: Resource) -> Resource:
        """Return a resource with the attributes of both, those of this process renewed."""
        merged = super().merge(other)
        return ProcessResource(
            merged.attributes, merged.schema_url, self._outgoing, self._environ, self._given
        )


def process_resource(environ: Mapping[str, str], outgoing: Outgoing) -> Resource:
    """Return the resource of this process; what the environment says of it wins."""
    given = OTELResourceDetector().detect().attributes
    named = (
        {}
        if semconv.SERVICE_NAME_KEY in given
        else {semconv.SERVICE_NAME_KEY: semconv.SERVICE_NAME}
    )
    found = Resource.create(named)
    return ProcessResource(found.attributes, found.schema_url, outgoing, environ, given)
