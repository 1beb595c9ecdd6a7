"""manifest.json and manifest.md: written from a record, whoever folded it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_sf_otel.manifest.codec import encode_document
from robot_sf_otel.manifest.markdown import render_markdown
from robot_sf_otel.store.files import replace_atomically
from robot_sf_otel.store.layout import RunPaths

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord


def write_derived(run_dir: Path, record: PipelineRunRecord) -> int:
    """Replace both files atomically; return how many bytes they have.

    Raises:
        OSError: They cannot be written; the old ones stay.
    """
    paths = RunPaths(run_dir)
    document = encode_document(record)
    page = render_markdown(record).encode()
    replace_atomically(paths.record, document)
    replace_atomically(paths.markdown, page)
    return len(document) + len(page)
