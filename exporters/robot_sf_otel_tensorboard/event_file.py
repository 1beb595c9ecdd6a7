"""One TensorBoard event file, written at once and with the times that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorboardX.proto.event_pb2
import tensorboardX.record_writer
import tensorboardX.summary

if TYPE_CHECKING:
    from pathlib import Path

# tensorboardX has no types, and its messages are made at run time.
_messages: Final[Any] = tensorboardX.proto.event_pb2
_summary: Final[Any] = tensorboardX.summary
_records: Final[Any] = tensorboardX.record_writer
NAME: Final = "events.out.tfevents.{second}.robot-sf-otel"
"""TensorBoard looks for `tfevents`; the end says whose file it is."""
PATTERN: Final = "events.out.tfevents.*.robot-sf-otel"


class EventFile:
    """An event file of a folder; earlier ones that were made here are replaced.

    Args:
        folder: A run as TensorBoard sees it; made where it is missing.
        wall_time: Unix seconds at which it begins.
    """

    def __init__(self, folder: Path, wall_time: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(PATTERN):
            old.unlink()
        self._records: Any = _records.RecordWriter(str(folder / NAME.format(second=int(wall_time))))
        # What tells TensorBoard the format; stamped with the run's own time, as all of it is.
        self._write(_messages.Event(wall_time=wall_time, file_version="brain.Event:2"))

    def scalar(self, tag: str, value: float, step: int, wall_time: float) -> None:
        """Add a number."""
        self._add(_summary.scalar(tag, value), step, wall_time)

    def text(self, tag: str, markdown: str, step: int, wall_time: float) -> None:
        """Add a text, which TensorBoard shows as Markdown."""
        self._add(_summary.text(tag, markdown), step, wall_time)

    def _add(self, value: object, step: int, wall_time: float) -> None:
        self._write(_messages.Event(wall_time=wall_time, step=step, summary=value))

    def _write(self, event: Any) -> None:  # noqa: ANN401 - a protobuf message, without types
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        """Let readers see what was added."""
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        self._records.close()
