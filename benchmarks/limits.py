"""The limits that the package sets itself; times in seconds, medians on an idle machine."""

from __future__ import annotations

from typing import Final

STEP_WALL: Final = 1e-3
"""One top-level step, start and end, both durable; local disk."""
STEP_CPU: Final = 0.5e-3
"""The same in CPU time of the calling thread."""
ADVANCE: Final = 100e-9
"""One call of `advance()`."""
TRACK: Final = 80e-9
"""One item of `track`."""
IMPORT: Final = 60e-3
"""Importing the public names with telemetry off, beyond what a bare interpreter takes."""
RUN_START: Final = 20e-3
"""Opening a run, watchdog included."""
SAMPLE_CPU: Final = 2e-3
"""CPU time of one telemetry sample of a tree of 10 processes, 300 on the host."""
RULES_DAY_CPU: Final = 1.0
"""CPU time of all recommendation rules over 86,400 samples."""
RULES_LIVE_CPU: Final = 2e-3
"""CPU time of one evaluation of a live run, whatever its age."""
OVERHEAD_PERCENT: Final = 1.0
"""What telemetry adds to a training pipeline at the default interval, in per cent."""
TELEMETRY_MB: Final = 60.0
"""Megabytes of telemetry.jsonl of a run of 24 h, sampled every second, without a GPU."""
LIST: Final = 0.5
"""`robot-sf-otel list` over 10,000 runs with any filter, the whole process."""
LIST_FIRST: Final = 5.0
"""The same where the index was deleted."""
STATUS: Final = 0.5
"""`robot-sf-otel status` of a run with 86,400 samples, the whole process."""
STATUS_MB: Final = 150.0
"""Megabytes of memory that it takes at its peak."""

REPLAY_RUNS: Final = 60.0
"""`robot-sf-otel replay` of 1,000 runs into a Collector on the same machine, two cores."""
REPLAY_DAY: Final = 30.0
"""The same of one run with 86,400 samples."""
REPLAY_MB: Final = 200.0
"""Megabytes of memory that the latter takes at its peak."""

NOT_LOADED: Final = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "psutil",
    "pynvml",
    "rich",
    "msgspec",
)
"""Modules that importing the public names with telemetry off must not load."""
