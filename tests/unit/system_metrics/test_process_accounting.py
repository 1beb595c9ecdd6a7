"""The bill of a tree is right whoever waits for whom; a simulated kernel knows the truth."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.system_metrics.process_accounting import Ledger, ProcessReading, Totals

ROOT, INIT = 100, 1


def reading(
    cpu: float = 0.0,
    reaped: float | None = 0.0,
    *,
    parent: int = INIT,
    read: int | None = None,
    write: int | None = None,
) -> ProcessReading:
    return ProcessReading(parent, cpu, reaped, read, write)


@dataclass
class Task:
    parent: int
    ignores_children: bool
    cpu: int = 0
    reaped: int = 0
    written: int = 0
    dead: bool = False


@dataclass
class Kernel:
    """Processes that burn CPU, write, start others, end and are waited for, as the kernel bills.

    What a process wrote is one counter with what the children wrote that it waited for.
    """

    tells_reaped_of: str = "all"
    tasks: dict[int, Task] = field(
        default_factory=lambda: {ROOT: Task(INIT, ignores_children=False)}
    )
    burned: int = 0
    written: int = 0
    next_pid: int = ROOT + 1

    def act(self, action: str, choice: int, amount: int) -> None:
        living = [pid for pid, task in self.tasks.items() if not task.dead]
        pid = living[choice % len(living)]
        if action == "burn":
            self.tasks[pid].cpu += amount
            self.burned += amount
        elif action == "write":
            self.tasks[pid].written += amount
            self.written += amount
        elif action == "spawn":
            self.tasks[self.next_pid] = Task(pid, ignores_children=amount % 4 == 0)
            self.next_pid += 1
        elif action == "exit" and pid != ROOT:
            self.exit(pid)
        elif action == "wait":
            for child in [p for p, t in self.tasks.items() if t.parent == pid and t.dead]:
                self.reap(child)

    def exit(self, pid: int) -> None:
        self.tasks[pid].dead = True
        for child, task in list(self.tasks.items()):
            if task.parent == pid:
                task.parent = INIT
                if task.dead:
                    del self.tasks[child]
        parent = self.tasks.get(self.tasks[pid].parent)
        if parent is None or parent.ignores_children:
            del self.tasks[pid]  # init waits, or the kernel drops it: nobody is credited

    def reap(self, pid: int) -> None:
        task = self.tasks.pop(pid)
        self.tasks[task.parent].reaped += task.cpu + task.reaped
        self.tasks[task.parent].written += task.written

    def readings(self) -> dict[int, ProcessReading]:
        return {
            pid: reading(
                task.cpu,
                task.reaped if self.tells_reaped_of == "all" or pid == ROOT else None,
                parent=task.parent,
                write=task.written if self.tells_reaped_of == "all" else None,
            )
            for pid, task in self.tasks.items()
        }


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["burn", "burn", "write", "spawn", "exit", "wait"]),
        st.integers(0, 20),
        st.integers(1, 50),
    ),
    min_size=20,
    max_size=80,
)


@pytest.mark.parametrize("tells_reaped_of", ["all", "root"])
@given(actions=ACTIONS)
def test_nothing_is_lost_or_counted_twice_while_every_change_is_seen(
    tells_reaped_of: str, actions: list[tuple[str, int, int]]
) -> None:
    kernel, ledger = Kernel(tells_reaped_of), Ledger()
    ledger.settle(kernel.readings())
    for action in actions:
        kernel.act(*action)
        expected = ledger.peek(kernel.readings())
        total = ledger.settle(kernel.readings())
        assert total.cpu_seconds == kernel.burned
        assert total.write_bytes == (kernel.written if tells_reaped_of == "all" else 0)
        assert total == expected


@given(actions=ACTIONS, seen=st.lists(st.booleans(), min_size=80, max_size=80))
def test_the_bill_never_shrinks_and_never_exceeds_the_truth(
    actions: list[tuple[str, int, int]], seen: list[bool]
) -> None:
    kernel, ledger = Kernel(), Ledger()
    before = ledger.settle(kernel.readings())
    for action, sampled in zip(actions, seen, strict=False):
        kernel.act(*action)
        if sampled:
            total = ledger.settle(kernel.readings())
            assert before.cpu_seconds <= total.cpu_seconds <= kernel.burned
            before = total


def test_a_child_that_was_waited_for_counts_once() -> None:
    ledger = Ledger()
    ledger.settle({1: reading(1.0), 2: reading(2.0, parent=1)})

    assert ledger.settle({1: reading(1.0, 2.5)}).cpu_seconds == pytest.approx(3.5)


def test_an_orphan_stays_counted_after_its_parent_and_after_itself() -> None:
    ledger = Ledger()
    ledger.settle({10: reading(1.0), 11: reading(1.0, parent=10), 12: reading(4.0, parent=11)})
    ledger.settle({10: reading(1.0, 1.0), 12: reading(5.0, parent=INIT)})

    assert ledger.settle({10: reading(1.0, 1.0)}).cpu_seconds == pytest.approx(7.0)


def test_when_the_whole_tree_has_ended_its_bill_remains() -> None:
    ledger = Ledger()
    ledger.settle({10: reading(1.0, read=5, write=6)})

    assert ledger.settle({}) == Totals(1.0, 5, 6)


def test_disk_of_a_credited_child_is_in_its_parents_counters() -> None:
    ledger = Ledger()
    ledger.settle({1: reading(1.0, read=10, write=0), 2: reading(2.0, parent=1, read=30, write=40)})

    total = ledger.settle({1: reading(1.0, 2.0, read=40, write=40)})

    assert (total.read_bytes, total.write_bytes) == (40, 40)


def test_disk_of_a_child_that_nobody_waited_for_is_not_lost() -> None:
    """Its parent read a thousand bytes itself meanwhile, which are not the child's."""
    ledger = Ledger()
    ledger.settle({1: reading(1.0, read=0, write=0), 2: reading(2.0, parent=1, read=30, write=40)})

    total = ledger.settle({1: reading(1.0, 0.0, read=1000, write=0)})

    assert (total.read_bytes, total.write_bytes) == (1030, 40)


def test_disk_of_a_credited_child_is_kept_where_its_parent_does_not_tell() -> None:
    ledger = Ledger()
    ledger.settle({1: reading(1.0), 2: reading(2.0, parent=1, read=30, write=40)})

    total = ledger.settle({1: reading(1.0, 2.0)})

    assert (total.read_bytes, total.write_bytes) == (30, 40)


def test_an_idle_child_has_no_cpu_to_tell_by_and_its_disk_is_kept() -> None:
    ledger = Ledger()
    ledger.settle({1: reading(1.0, read=0, write=0), 2: reading(0.0, parent=1, read=30, write=0)})

    assert ledger.settle({1: reading(1.0, 0.0, read=0, write=0)}).read_bytes == 30


def test_a_new_reaper_is_not_taken_to_be_credited() -> None:
    ledger = Ledger()
    ledger.settle({5: reading(1.0, parent=6)})

    assert ledger.settle({6: reading(0.0, 9.0)}).cpu_seconds == pytest.approx(10.0)


def test_a_circle_of_parents_ends() -> None:
    ledger = Ledger()
    ledger.settle({5: reading(1.0, parent=6), 6: reading(2.0, parent=5)})

    assert ledger.settle({}).cpu_seconds == pytest.approx(3.0)


def test_where_the_platform_tells_no_credits_the_last_readings_of_children_count() -> None:
    """A Mac tells them for the calling process alone, which then is not billed again."""
    ledger = Ledger()
    ledger.settle(
        {1: reading(1.0), 2: reading(2.0, None, parent=1), 3: reading(4.0, None, parent=2)}
    )
    without_3 = ledger.settle({1: reading(1.0), 2: reading(2.0, None, parent=1)})
    without_2 = ledger.settle({1: reading(1.0, 6.5)})

    assert without_3.cpu_seconds == pytest.approx(7.0)
    assert without_2.cpu_seconds == pytest.approx(7.5)


def test_peeking_changes_nothing() -> None:
    ledger = Ledger()
    ledger.settle({1: reading(1.0), 2: reading(2.0, parent=1)})
    last = ledger.last

    assert ledger.peek({1: reading(1.0)}).cpu_seconds == pytest.approx(3.0)

    assert ledger.last == last
    assert ledger.settle({1: reading(1.0, 2.0)}).cpu_seconds == pytest.approx(3.0)
