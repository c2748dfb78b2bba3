"""Locks that several stacks on one machine share: run folders and ports.

Each is an flock on a file whose descriptor the children's guardians inherit, so that it stays taken until the
last process is gone, also when the parent was killed.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import time
from pathlib import Path

from schemas.errors import StackError

_LOOPBACK = "127.0.0.1"
_HANDOVER_S = 8.0  # the guardians of a parent just killed need up to their grace to be gone
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Locks:
    """The folders and ports of one stack, until `release`."""

    def __init__(self) -> None:
        self._ports: dict[int, tuple[int, Path]] = {}
        self._folder_fds: list[int] = []

    def release(self) -> None:
        """Every folder and port is free for others."""
        while self._ports:
            _, (fd, path) = self._ports.popitem()
            path.unlink(missing_ok=True)
            os.close(fd)
        while self._folder_fds:
            os.close(self._folder_fds.pop())

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that a child's guardian holds on to."""
        return (*self._folder_fds, *(fd for fd, _ in self._ports.values()))

    def take_folder(self, folder: Path) -> None:
        """`folder` exists and belongs to this stack alone.

        Raises:
            StackError: another stack runs in it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "stack.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline_s = time.monotonic() + _HANDOVER_S
        while not _lock(fd):
            holder = path.read_text().strip() or "unknown"
            if _is_alive(holder) or time.monotonic() > deadline_s:
                os.close(fd)
                raise StackError(
                    f"run folder {folder} is occupied by another stack (process {holder}): "
                    "stop that process or choose another folder (--run-dir, --data; demo: --out)"
                )
            time.sleep(0.1)  # its children are ending; a lock held elsewhere has no event to wait on
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._folder_fds.append(fd)

    def take_port(self, wanted: int = 0) -> int:
        """A loopback port that no other stack takes and nothing listens on; `wanted`, or any if 0.

        Free ports come from outside the system's ephemeral range: there a client that reconnects while its
        server is down could be given the server's own port and keep it from coming back.

        Raises:
            StackError: `wanted` is in use, or no port is free.
        """
        if wanted:
            if not self._claim(wanted):
                raise StackError(f"port {wanted} is in use: stop what listens there or choose another port")
            return wanted
        candidates = candidate_ports()
        for port in random.SystemRandom().sample(candidates, len(candidates)):
            if self._claim(port):
                return port
        raise StackError(f"no free port between {candidates[0]} and {candidates[-1]}")

    def _claim(self, port: int) -> bool:
        if port in self._ports:
            return False
        folder = Path(tempfile.gettempdir()) / f"saccade-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / str(port)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        # A file that was unlinked between open and lock protects nothing.
        if not _lock(fd) or os.fstat(fd).st_nlink == 0 or not can_listen(port):
            os.close(fd)
            return False
        self._ports[port] = (fd, path)
        return True


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid_text: str) -> bool:
    if not pid_text.isdigit():
        return False
    try:
        os.kill(int(pid_text), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def can_listen(port: int) -> bool:
    """True when nothing on loopback listens on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def candidate_ports() -> range:
    """The ports outside the range from which the system gives clients theirs."""
    low, high = 32768, 60999
    if _EPHEMERAL_RANGE.exists():
        low, high = (int(field) for field in _EPHEMERAL_RANGE.read_text().split())
    below, above = range(20000, low), range(high + 1, 65536)
    return max(below, above, key=len) or range(20000, 65536)
