"""What the benchmarks ask of the operating system: cores, processor time, memory, and who else is busy."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def two_cores() -> tuple[int, int]:
    """Return the core of what is measured and that of everything around it; the same where there is one."""
    mine = cores()
    return mine[0], mine[-1]


def pin(*wanted: int) -> None:
    """This process, and what it starts from now on, runs on these cores only."""
    os.sched_setaffinity(0, wanted)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, all threads, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def tree_cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and of its living descendants."""
    return sum(cpu_seconds(each) for each in tree(pid))


def tree(pid: int) -> list[int]:
    """Return a process and its living descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it ended meanwhile
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def busy_cores() -> float:
    """Return how many cores are busy now, over a second of watching."""

    def counts() -> tuple[int, int]:
        numbers = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]

    total, idle = counts()
    time.sleep(1.0)
    later_total, later_idle = counts()
    spent = max(1, later_total - total)
    return (1.0 - (later_idle - idle) / spent) * (os.cpu_count() or 1)
