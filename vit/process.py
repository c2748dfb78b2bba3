"""How a process uses its machine: how many threads, how long they spin, what becomes of freed memory.

Called at the start of each process that runs a model. Must not import torch.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping
from pathlib import Path

_QUOTA_V2 = Path("/sys/fs/cgroup/cpu.max")
_QUOTA_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_PERIOD_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MIB = 1 << 20
_MMAP_THRESHOLD_BYTES = 32 * _MIB
"""The most that every glibc takes."""
_TRIM_THRESHOLD_BYTES = 256 * _MIB
SPINS = 1_000
"""How often an OpenMP thread that waits looks again before it sleeps."""
_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def prepare(environ: MutableMapping[str, str] = os.environ) -> None:
    """This process is ready to run models beside other processes; to be called before torch is imported."""
    keep_freed_memory()
    bound_spinning(environ)


def bound_spinning(environ: MutableMapping[str, str]) -> None:
    """OpenMP threads that wait for work give their core away soon, unless the environment says otherwise.

    To be called before torch is imported, whose library reads the environment when it is loaded.
    """
    if not any(name in environ for name in _WAITING):
        environ["GOMP_SPINCOUNT"] = str(SPINS)


def keep_freed_memory() -> bool:
    """This process keeps up to 256 MiB of freed memory at its heap's end, and allocates arrays up to 32 MiB there.

    glibc otherwise gives such memory back and takes it anew, each page with a fault of up to 3 us in a virtual
    machine: a batch of the shipped edge model took 1.0 to 2.5 times as long. Threads that begin later allocate
    from that one heap too: their own would be made of pieces of 64 MiB, and a piece that a batch has just
    reached into is unmapped after it, whatever is set here. Returns False, and nothing changes, where the C
    library is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Setting either threshold also ends glibc's own moving of both.
    return bool(
        mallopt(_M_ARENA_MAX, 1)
        and mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        and mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
    )


def available_threads() -> int:
    """Return how many threads can run at once: the affinity mask, cut to the container's quota; at least 1.

    torch's own default counts the host's cores; two threads on a busy core are 6 to 10 times slower than one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_cores()
    return max(1, cores if quota is None else min(cores, int(quota)))


def _quota_cores() -> float | None:
    """Return the container's CPU quota in cores; None where there is none."""
    try:
        if _QUOTA_V2.exists():
            quota, period = _QUOTA_V2.read_text().split()
        else:
            quota, period = _QUOTA_V1.read_text(), _PERIOD_V1.read_text()
        cores = int(quota) / int(period)
    except (OSError, ValueError):  # no such files, or the word "max"
        return None
    return cores if cores > 0 else None
