"""What one check of `doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "info", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found; `problem` is something essential."""

    name: str
    state: State
    detail: str
    remedy: str | None = None
