"""A heap that keeps what it has, for processes that allocate the same large arrays again and again.

Called where a model is built for a CPU, and by each worker's process before its first thread: a thread keeps
the arena that it began with.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MIB = 1 << 20
_MMAP_THRESHOLD_BYTES = 32 * _MIB
"""The most that every glibc takes."""
_TRIM_THRESHOLD_BYTES = 256 * _MIB


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
