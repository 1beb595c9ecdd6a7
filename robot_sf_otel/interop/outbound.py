"""What of a recorded run goes out by OTLP: signal by signal, in batches that never change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from robot_sf_otel.interop.batches import SIGNALS, Batch, Signal, chunks, log_bytes, span_bytes
from robot_sf_otel.interop.otlp_json import line_of
from robot_sf_otel.interop.run_metrics import Measuring
from robot_sf_otel.interop.run_spans import Telling
from robot_sf_otel.interop.story import read_story
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.reader import worker_journals
from robot_sf_otel.store.telemetry import iter_snapshots

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.interop.story import Story
    from robot_sf_otel.redaction.outgoing import Outgoing


class NothingToSend(ValueError):  # noqa: N818 - a state of the run, not of the caller
    """A directory holds no run of this package's journal; the message says which."""


class Outbound:
    """The batches of one run.

    Args:
        run_dir: Its directory.
        outgoing: Decides what may leave the machine.
        dead: Whether its process is gone without having closed the record.

    Raises:
        NothingToSend: Its journal tells of no start of a run.
    """

    def __init__(self, run_dir: Path, outgoing: Outgoing, *, dead: bool = False) -> None:
        story = read_story(run_dir, dead=dead)
        if story is None:
            raise NothingToSend(f"{run_dir}: its journal tells of no start of a run")
        self.run_dir = run_dir
        self.story: Story = story
        self._outgoing = outgoing
        self._telling = Telling(story, outgoing)

    def batches(self, signal: Signal) -> Iterator[Batch]:
        """Yield the batches of a signal, in order of time."""
        make: Mapping[Signal, Callable[[], Iterator[Batch]]] = {
            "traces": self._traces,
            "metrics": self._metrics,
            "logs": self._logs,
        }
        return make[signal]()

    def _traces(self) -> Iterator[Batch]:
        for spans in chunks(self._telling.spans(), span_bytes):
            yield Batch("traces", spans=spans)

    def _logs(self) -> Iterator[Batch]:
        for records in chunks(self._telling.logs(), log_bytes):
            yield Batch("logs", logs=records)

    def _metrics(self) -> Iterator[Batch]:
        measuring = Measuring(self.story, self._telling, self._outgoing)
        for measured in measuring.batches(iter_snapshots(RunPaths(self.run_dir).telemetry)):
            batch = Batch("metrics", measured=[one for one in measured if one.points])
            if batch.items:
                yield batch

    def fingerprint(self) -> str:
        """Return what changes when anything is added to the run's files."""
        paths = RunPaths(self.run_dir)
        journals = [paths.journal, paths.telemetry, *worker_journals(self.run_dir)]
        return "-".join(str(_size(path)) for path in journals)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def exported_files(folder: Path) -> list[Path]:
    """Return the files in a folder that `write_files` has written there."""
    return [path for signal in SIGNALS if (path := folder / f"{signal}.jsonl").is_file()]


def write_files(outbound: Outbound, folder: Path, version: str) -> dict[Signal, int]:
    """Write a run as OTLP JSON lines, one file a signal; return how many items each has.

    Args:
        outbound: The run.
        folder: Where `traces.jsonl`, `metrics.jsonl` and `logs.jsonl` are written; made if missing.
        version: Of this package, for the scope.

    Raises:
        OSError: They cannot be written; files that were there before stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[Signal, int] = {}
    for signal in SIGNALS:
        path = folder / f"{signal}.jsonl"
        temporary = path.with_name(f".{path.name}.tmp")
        counts[signal] = 0
        try:
            with temporary.open("wb") as file:
                for batch in outbound.batches(signal):
                    counts[signal] += batch.items
                    file.write(line_of(batch, version))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return counts
