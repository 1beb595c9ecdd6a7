"""Sensors under stress: processes that come and go, full hosts, and no descriptor left."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from robot_sf_otel.store.reader import load_run
from robot_sf_otel.system_metrics.process_tree import ProcessTree, TreeReading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.scripts import Finished, Scripts

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
]

STORM: Final = 'i=0; while [ $i -lt 300 ]; do sh -c "exec /bin/true"; i=$((i + 1)); done'
FORKS: Final = """
import os, signal, sys
children = []
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if not child:
        signal.pause()
    children.append(child)
print("up", flush=True)
sys.stdin.readline()
for child in children:
    os.kill(child, signal.SIGKILL)
for child in children:
    os.waitpid(child, 0)
"""


def kernel_bill() -> float:
    """Return the CPU seconds of this process and of the children that it waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def told(finished: Finished) -> dict[str, Any]:
    """Return what a script printed as JSON."""
    found: dict[str, Any] = json.loads(finished.out.splitlines()[-1])
    return found


@pytest.fixture
def tree() -> Iterator[ProcessTree]:
    tree = ProcessTree()
    tree.read()
    yield tree
    tree.close()


def test_storm_of_processes_leaves_no_gap_and_is_billed_once(tree: ProcessTree) -> None:
    """Samples and step boundaries meet processes that vanish while they are read."""
    first, truth = tree.read(), kernel_bill()
    readings: list[TreeReading] = []
    boundaries: list[float] = []
    storms = [subprocess.Popen(["sh", "-c", STORM]) for _ in range(3)]
    while any(storm.poll() is None for storm in storms):
        readings.append(tree.read())
        counters = tree.counters_now()
        assert counters is not None
        boundaries.append(counters.cpu_seconds)
    readings.append(tree.read())
    truth = kernel_bill() - truth

    assert [storm.returncode for storm in storms] == [0, 0, 0]
    assert all(r.cpu_seconds and r.rss_bytes and r.process_count for r in readings)
    assert all(reading.notes == first.notes for reading in readings)
    assert boundaries == sorted(boundaries)
    assert first.cpu_seconds is not None
    assert readings[-1].cpu_seconds is not None
    assert readings[-1].cpu_seconds - first.cpu_seconds == pytest.approx(truth, rel=0.05)


def test_workers_that_end_together_are_billed_once(tree: ProcessTree) -> None:
    """Some vanish between any two looks at their parent, which the kernel then credits."""
    before, truth = tree.read().cpu_seconds, kernel_bill()
    burn = "import time\nwhile time.process_time() < 0.05: pass\nprint('up', flush=True)\ninput()"
    command = [sys.executable, "-S", "-c", burn]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(40)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    tree.read()
    for worker in workers:
        worker.kill()
    for worker in workers:
        tree.read()
        worker.communicate()
    after = tree.read().cpu_seconds
    truth = kernel_bill() - truth

    assert before is not None
    assert after is not None
    assert truth > 40 * 0.05
    assert after - before == pytest.approx(truth, rel=0.05)


def test_hundreds_of_children_at_once_are_counted(tree: ProcessTree) -> None:
    before = tree.read()
    with subprocess.Popen(
        [sys.executable, "-S", "-c", FORKS, "500"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        os.set_blocking(parent.stdout.fileno(), False)
        while not parent.stdout.readline():
            during = tree.read()
            assert during.cpu_seconds
            assert during.rss_bytes
        up = tree.read()
        parent.stdin.close()
        while parent.poll() is None:
            during = tree.read()
            assert during.cpu_seconds
            assert during.rss_bytes
    after = tree.read()

    assert before.process_count is not None
    assert up.process_count == before.process_count + 501
    assert len(tree.pids()) == before.process_count
    assert after.process_count == before.process_count


def test_run_whose_step_forks_hundreds_of_children_has_no_gap(scripts: Scripts) -> None:
    scripts.write(FORKS, "forks.py")
    scripts.run(
        """
        import subprocess, sys, time
        from pathlib import Path
        from robot_sf_otel import configure, pipeline, step

        configure()

        def samples():
            (path,) = Path("output/run-tracker").glob("*/telemetry.jsonl")
            return path.read_text().count("\\n")

        @step
        def work():
            command = [sys.executable, "-S", "forks.py", "500"]
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            with subprocess.Popen(command, **pipes) as parent:
                parent.stdout.readline()
                until = samples() + 3
                while samples() < until: time.sleep(0.01)
                parent.stdin.close()
            until = samples() + 2
            while samples() < until: time.sleep(0.01)

        @pipeline("p", steps=[work])
        def main():
            work()

        main()
        """,
        env={"ROBOT_SF_OTEL_INTERVAL": "0.2"},
    )
    (run_dir,) = scripts.run_dirs
    samples = list(load_run(run_dir).telemetry())

    counts = [sample.process_count for sample in samples]
    assert counts[0] == counts[-1] == 1
    assert max(count or 0 for count in counts) == 502
    assert None not in counts
    assert all(sample.cpu_percent_process is not None for sample in samples[1:])
    assert all(sample.memory_rss_mb is not None for sample in samples)


def test_sample_on_a_full_host_costs_less_than_psutil(scripts: Scripts) -> None:
    """A tree of ten processes beside 250 others."""
    others = subprocess.Popen(
        [sys.executable, "-S", "-c", FORKS, "250"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with others:
        assert others.stdout is not None
        others.stdout.readline()
        finished = scripts.run(
            """
            import json, os, subprocess, time
            import psutil
            from robot_sf_otel.system_metrics.process_tree import ProcessTree

            children = [subprocess.Popen(["sleep", "600"]) for _ in range(9)]
            tree, me = ProcessTree(), psutil.Process()

            def with_psutil():
                for process in [me, *me.children(recursive=True)]:
                    with process.oneshot():
                        process.cpu_times(), process.memory_info()
                        process.num_threads(), process.io_counters()

            def cost(sample):
                sample()
                costs = []
                for _ in range(30):
                    began = time.thread_time()
                    sample()
                    costs.append(time.thread_time() - began)
                return sorted(costs)[len(costs) // 2]

            told = dict(
                ours=cost(tree.read),
                theirs=cost(with_psutil),
                processes=tree.read().process_count,
                on_host=sum(name.isdecimal() for name in os.listdir("/proc")),
            )
            for child in children:
                child.kill()
                child.wait()
            print(json.dumps(told))
            """
        )
    found = told(finished)

    assert found["processes"] == 10
    assert found["on_host"] > 250
    assert found["ours"] < found["theirs"] / 2


WITHOUT_DESCRIPTORS: Final = """
    import json, os, resource, sys, time
    from dataclasses import asdict
    from robot_sf_otel.system_metrics.cgroup import CgroupSensor
    from robot_sf_otel.system_metrics.host import HostSensor, usable_cpus
    from robot_sf_otel.system_metrics.process_tree import ProcessTree

    def read(tree, host, cgroup):
        readings = [asdict(sensor.read()) for sensor in (tree, host, cgroup)]
        return dict(tree=readings[0], host=readings[1], cgroup=readings[2], cpus=usable_cpus())

    sensors = ProcessTree(), HostSensor(), CgroupSensor()
    before = read(*sensors)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    late = ProcessTree(), HostSensor(), CgroupSensor()
    without, without_late = read(*sensors), read(*late)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    again, again_late = read(*sensors), read(*late)
    deadline = time.monotonic() + 5
    while again_late["host"]["cpu_percent"] is None and time.monotonic() < deadline:
        again_late = read(*late)
    print(json.dumps(dict(
        before=before, without=without, late=without_late, again=again, again_late=again_late,
    )))
"""


def test_sensors_without_descriptors_say_so_and_come_back(scripts: Scripts) -> None:
    found = told(scripts.run(WITHOUT_DESCRIPTORS))
    before, without, again = found["before"], found["without"], found["again"]
    late, again_late = found["late"], found["again_late"]

    # What is open goes on.
    assert without["tree"]["cpu_seconds"] >= before["tree"]["cpu_seconds"]
    assert without["tree"]["rss_bytes"]
    assert without["host"]["memory_available_bytes"]
    assert without["cpus"] == again["cpus"]
    # What must be opened is unknown, and the reason is said.
    assert late["tree"]["cpu_seconds"] is None
    assert late["tree"]["notes"] == ["processes: none of the tree can be read"]
    assert late["host"]["memory_total_bytes"] is None
    assert "host: /proc/meminfo cannot be read" in late["host"]["notes"]
    if before["cgroup"]["memory_usage_bytes"] is not None:
        assert without["cgroup"]["memory_usage_bytes"] is None
        assert "cgroup: memory cannot be read now" in without["cgroup"]["notes"]
        assert late["cgroup"]["notes"] == ["cgroup: cannot be read now"]
    # All of it comes back.
    for now in (again, again_late):
        assert now["tree"]["cpu_seconds"] >= before["tree"]["cpu_seconds"]
        assert now["tree"]["rss_bytes"]
        assert now["tree"]["process_count"] == 1
        assert [now[name]["notes"] for name in ("tree", "host", "cgroup")] == [
            before[name]["notes"] for name in ("tree", "host", "cgroup")
        ]
    assert again_late["host"]["cpu_percent"] is not None


def test_run_that_has_no_descriptor_left_for_a_while_goes_on_being_measured(
    scripts: Scripts,
) -> None:
    scripts.run(
        """
        import os, resource, time
        from pathlib import Path
        from robot_sf_otel import configure, pipeline, step

        configure()

        @step
        def work():
            (path,) = Path("output/run-tracker").glob("*/telemetry.jsonl")
            with path.open() as file:
                def wait_for(count):
                    while count:
                        count -= bool(file.readline())
                        time.sleep(0.01)

                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                wait_for(2)
                lowest = os.dup(file.fileno())
                os.close(lowest)
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
                wait_for(3)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                wait_for(3)

        @pipeline("p", steps=[work])
        def main():
            work()

        main()
        """,
        env={"ROBOT_SF_OTEL_INTERVAL": "0.2"},
    )
    (run_dir,) = scripts.run_dirs
    samples = list(load_run(run_dir).telemetry())

    assert len(samples) >= 8
    assert all(sample.cpu_percent_process is not None for sample in samples[1:])
    assert all(sample.memory_rss_mb and sample.process_count == 1 for sample in samples)
    assert scripts.record.status == "completed"
    assert scripts.record.self_cost.faults == []
