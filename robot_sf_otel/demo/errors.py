"""What the demo says, in one line, when it cannot run."""

from __future__ import annotations


class DemoError(Exception):
    """The demo cannot run as asked; the message is one line that says what to change."""
