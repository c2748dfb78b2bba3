"""Keeps one child process no longer than the process that asked for it.

Run as a script by `GuardedChild`, standard library only, so that it starts in milliseconds:
`guardian.py PARENT_PID LOG_PATH GRACE_S COMMAND...`. It writes the child's process id to its standard output
and then waits for one of these on its standard input: `k` kills the child at once, `t` or the end of the
stream (the parent is gone, however it went) asks it to stop and kills it after GRACE_S. It exits with the
child's status.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def _die_with_parent(signal_number: int) -> None:
    """Linux sends `signal_number` to this process when its parent goes; elsewhere the pipe alone tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number)


def _start(command: list[str], log_path: str) -> subprocess.Popen[bytes]:
    with Path(log_path).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # The guardian has one thread, so running Python between fork and exec is safe here.
            preexec_fn=lambda: _die_with_parent(signal.SIGKILL),  # noqa: PLW1509
        )


def _watch(child: subprocess.Popen[bytes], grace_s: float, wakeup_fd: int) -> int:
    stdin_fd = sys.stdin.fileno()
    deadline_s: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(stdin_fd, selectors.EVENT_READ)
        selector.register(wakeup_fd, selectors.EVENT_READ)
        while child.poll() is None:
            timeout_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            ready = {key.fd for key, _ in selector.select(timeout_s)}
            order = b""
            if wakeup_fd in ready and signal.SIGTERM in os.read(wakeup_fd, 64):
                order = b"t"
            if stdin_fd in ready:
                order = os.read(stdin_fd, 1) or b"t"
            if order == b"k" or (deadline_s is not None and time.monotonic() >= deadline_s):
                child.kill()
                return child.wait()
            if order == b"t" and deadline_s is None:
                child.terminate()
                deadline_s = time.monotonic() + grace_s
                selector.unregister(stdin_fd)
    return child.wait()


def main(arguments: list[str]) -> int:
    """The exit status of the child, which is gone when this returns."""
    parent_pid, log_path, grace_s, *command = arguments
    wakeup_fd, wakeup_write_fd = os.pipe()
    os.set_blocking(wakeup_write_fd, False)
    signal.set_wakeup_fd(wakeup_write_fd, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent(signal.SIGTERM)
    if os.getppid() != int(parent_pid):
        return 1
    child = _start(command, log_path)
    os.write(sys.stdout.fileno(), f"{child.pid}\n".encode())
    status = _watch(child, float(grace_s), wakeup_fd)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
