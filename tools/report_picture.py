"""`python tools/report_picture.py`: the picture of a report in the documentation, made anew.

Runs the demo twice in an empty folder, so that there is a history, and takes a picture of the
second run's report. Needs Chromium, and a few minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.chromium import chromium

PICTURE: Final = Path(__file__).parents[1] / "docs" / "how-to" / "report.webp"
_WIDTH, _HEIGHT = 1100, 1080


def main() -> None:
    """Write the picture."""
    command = [sys.executable, "-m", "robot_sf_otel.cli.main"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for arguments in (["demo"], ["demo"], ["export", "--output", "report.html"]):
            subprocess.run([*command, *arguments], cwd=folder, check=True)
        with chromium(folder / "profile") as page:
            page.emulate(width=_WIDTH, height=_HEIGHT)
            page.open(folder / "report.html")
            # Paths of the machine that made it are nobody's business.
            page.evaluate(
                "[...document.querySelectorAll('header dt')].forEach(one => {"
                "if (['Command', 'Host'].includes(one.textContent)) one.parentElement.remove(); })"
            )
            PICTURE.write_bytes(page.screenshot(whole=False, form="webp"))
    print(f"{PICTURE.name}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
