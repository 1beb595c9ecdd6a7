"""The bill of a step, however short it or its processes are: CPU, memory and disk of a real run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from robot_sf_otel.system_metrics.process_tree import ProcessTree

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import Usage
    from tests.integration.scripts import Finished, Scripts

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
]

MIB: Final = 2**20

RUN: Final = """
    import json, os, resource, subprocess, sys, time
    from pathlib import Path
    from robot_sf_otel import configure, pipeline, step

    def kernel():
        both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def written():
        words = Path("/proc/self/io").read_text().split()
        return int(words[words.index("write_bytes:") + 1])

    def burner(seconds, megabytes=0):
        code = (
            "import time; block = b'x' * " + str(megabytes * 2**20) + ";\\n"
            "while time.process_time() < " + str(seconds) + ": pass"
        )
        return [sys.executable, "-S", "-c", code]

    configure()

    @step
    def work():
{work}

    @pipeline("p", steps=[work])
    def main():
        cpu, memory, disk = kernel(), resident(), written()
        work()
        told = dict(cpu=kernel() - cpu, memory=memory, written=written() - disk)
        print("kernel", json.dumps(told), flush=True)

    main()
"""


def run(scripts: Scripts, work: str, interval: float = 1.0) -> tuple[Usage, dict[str, Any]]:
    """Run a pipeline of one step; return its bill, and what the kernel told meanwhile."""
    indented = "\n".join(f"        {line}" for line in work.strip().splitlines())
    source = RUN.format(work=indented)
    finished = scripts.run(source, env={"ROBOT_SF_OTEL_INTERVAL": str(interval)})
    return scripts.steps["work"].usage, told(finished)


def told(finished: Finished) -> dict[str, Any]:
    """Return what the script saw itself."""
    (line,) = [line for line in finished.out.splitlines() if line.startswith("kernel ")]
    found: dict[str, Any] = json.loads(line.removeprefix("kernel "))
    return found


@pytest.mark.slow
def test_grandchild_is_billed_with_its_memory(scripts: Scripts) -> None:
    """What the bill has above 3.0 s are three interpreters that start, and telemetry."""
    usage, kernel = run(
        scripts,
        """
code = "import json, subprocess, sys; subprocess.run(json.loads(sys.argv[1]), check=True)"
subprocess.run([sys.executable, "-S", "-c", code, json.dumps(burner(3.0, 200))], check=True)
""",
    )

    assert usage.cpu_seconds is not None
    assert usage.cpu_seconds >= 3.0
    assert usage.cpu_seconds == pytest.approx(kernel["cpu"], abs=0.05)
    assert usage.memory_rss_peak_mb is not None
    assert 200 < usage.memory_rss_peak_mb < 300


def test_children_between_two_samples_are_billed(scripts: Scripts) -> None:
    usage, kernel = run(
        scripts,
        "for _ in range(3): subprocess.run(burner(0.2), check=True)",
        interval=60.0,
    )

    assert usage.cpu_seconds is not None
    assert usage.cpu_seconds >= 0.6
    assert usage.cpu_seconds == pytest.approx(kernel["cpu"], abs=0.05)


def test_step_shorter_than_the_interval_is_billed(scripts: Scripts) -> None:
    usage, kernel = run(
        scripts,
        """
before = time.process_time()
block = b"x" * (100 * 2**20)
del block
with open("file", "wb", buffering=0) as file:
    file.write(b"x" * (8 * 2**20))
    os.fsync(file.fileno())
while time.process_time() < before + 0.05: pass
""",
        interval=60.0,
    )

    assert usage.cpu_seconds is not None
    assert usage.cpu_seconds >= 0.05
    assert usage.cpu_seconds == pytest.approx(kernel["cpu"], abs=0.03)
    assert usage.memory_rss_peak_mb is not None
    assert usage.memory_rss_peak_mb == pytest.approx(kernel["memory"] / MIB + 100, abs=15)
    assert usage.disk_write_mb == pytest.approx(kernel["written"] / MIB, abs=0.1)
    if kernel["written"]:  # tmpfs has no disk
        assert usage.disk_write_mb == pytest.approx(8, abs=0.5)


def test_what_a_child_writes_within_a_short_step_is_billed(scripts: Scripts) -> None:
    usage, kernel = run(
        scripts,
        """
command = ["dd", "if=/dev/zero", "of=file", "bs=1M", "count=8", "conv=fsync"]
subprocess.run(command, check=True, capture_output=True)
""",
        interval=60.0,
    )

    assert usage.disk_write_mb == pytest.approx(kernel["written"] / MIB, abs=0.1)
    if kernel["written"]:
        assert usage.disk_write_mb == pytest.approx(8, abs=0.5)


def test_memory_of_whoever_started_the_process_is_not_its_own(tmp_path: Path) -> None:
    """`ru_maxrss` begins with the size that a process had before exec: that of its parent."""
    code = (
        "from robot_sf_otel.system_metrics.process_tree import ProcessTree\n"
        "tree = ProcessTree()\n"
        "print(tree.counters_now().own_peak_rss_bytes)\n"
        "block = b'x' * (100 * 2**20)\n"
        "del block\n"
        "print(tree.counters_now().own_peak_rss_bytes)\n"
    )
    large = b"x" * (300 * MIB)
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    before, after = (int(line) for line in found.stdout.split())

    assert before < len(large) // 2
    assert after == pytest.approx(before + 100 * MIB, abs=8 * MIB)


def test_a_boundary_sees_what_was_written_since_the_sample(tmp_path: Path) -> None:
    tree = ProcessTree()
    tree.read()
    before = tree.counters_now()
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"x" * (8 * MIB))
    after = tree.counters_now()
    tree.close()

    assert before is not None
    assert after is not None
    assert before.write_bytes is not None
    assert after.write_bytes is not None
    # Counted when a page becomes dirty; tmpfs has no disk.
    written = after.write_bytes - before.write_bytes
    assert written == 0 or written == pytest.approx(8 * MIB, rel=0.02)
