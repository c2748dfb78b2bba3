"""What the machine offers: threads within the container's quota, the fastest exact number format, a GPU."""

from __future__ import annotations

import os
from pathlib import Path

import torch

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


def best_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """Return bfloat16 where the device multiplies it in hardware, else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    packed_kernels = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return torch.bfloat16 if fast and packed_kernels else torch.float32


def dtype_named(name: str, device: torch.device | str = "cpu") -> torch.dtype:
    """Return the number format called `auto` (`best_dtype`), `float32` or `bfloat16`.

    Raises:
        ValueError: another name.
    """
    if name == "auto":
        return best_dtype(device)
    if name not in {"float32", "bfloat16"}:
        raise ValueError(f"dtype {name!r} is not one of auto, float32, bfloat16")
    return torch.float32 if name == "float32" else torch.bfloat16


def best_device() -> torch.device:
    """Return the first CUDA device where there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


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
