"""One record of a training of several processes: the first one reports, the others do not.

Launchers (torchrun, accelerate, Lightning, srun, mpirun) start the same script several times. Each
would open a run of its own, or report the same steps once more.
"""

from __future__ import annotations

import os
from typing import Final

from robot_sf_otel.environment_variables import ENABLED

GLOBAL: Final = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
"""Variables that number the processes of a training, the most specific one first."""
LOCAL: Final = ("NODE_RANK", "LOCAL_RANK")
"""Variables of launchers that number hosts, and the processes of each."""


def is_first_rank() -> bool:
    """Return whether this process is the first one of its training, or the only one."""
    for name in GLOBAL:
        value = os.environ.get(name, "")
        if value.isdigit():
            return int(value) == 0
    return all(os.environ.get(name, "0") in {"", "0"} for name in LOCAL)


def first_rank_only() -> None:
    """Switch telemetry off in this process and its children unless it is the first rank.

    Call it before `configure()` and before the first step. What the other processes use is in the
    record all the same where they are children of the first one (Lightning) or of
    `robot-sf-otel run`.
    """
    if not is_first_rank():
        os.environ[ENABLED] = "false"
