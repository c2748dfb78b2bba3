"""How many threads the machine offers this process. Must not import torch."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA_V2 = Path("/sys/fs/cgroup/cpu.max")
_QUOTA_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_PERIOD_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


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
