"""A child process that cannot outlive this one, with its log in a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from devstack import guardian
from schemas.errors import StackError

_GUARDIAN_PATH = str(Path(guardian.__file__).resolve())
_READY_POLL_S = 0.03  # another process's start has no event to wait on
_ERROR_WORDS = ("ERROR", "FATAL", "Exception", "Error")


class GuardedChild:
    """One process that can be started, stopped, killed and started again with the same command.

    Not tied to an event loop: one loop may start it and another stop it.

    Args:
        name: what error messages call it.
        command: program and arguments.
        log_path: file that its output is appended to.
        grace_s: seconds between the request to stop and the kill.
        held_fds: descriptors of locks that stay taken until the process is gone.
    """

    def __init__(
        self, name: str, command: Sequence[str], log_path: Path, *, grace_s: float, held_fds: Sequence[int]
    ) -> None:
        self.name = name
        self._command = list(command)
        self._log_path = log_path
        self._grace_s = grace_s
        self._held_fds = tuple(held_fds)
        self._guardian: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._log_start_bytes = 0

    def __repr__(self) -> str:
        return f"<GuardedChild {self.name} pid={self._pid} running={self.running}>"

    @property
    def pid(self) -> int:
        """Process id of the child itself, 0 before the first start."""
        return self._pid

    @property
    def running(self) -> bool:
        """True while the child lives."""
        return self._guardian is not None and self._guardian.poll() is None

    def start(self) -> None:
        """The process runs and `pid` is known.

        Raises:
            StackError: it runs already, or the program cannot be started.
        """
        if self.running:
            raise StackError(f"{self.name} runs already (process {self._pid})")
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_start_bytes = self._log_path.stat().st_size if self._log_path.exists() else 0
        head = [sys.executable, "-I", "-S", _GUARDIAN_PATH, str(os.getpid()), str(self._log_path)]
        self._guardian = subprocess.Popen(
            [*head, str(self._grace_s), *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=self._held_fds,
            start_new_session=True,  # Ctrl-C is for the parent, which drains before it stops its children
        )
        assert self._guardian.stdout is not None
        with self._guardian.stdout as answer:
            line = answer.readline()
        if not line:
            self._release_guardian()
            raise StackError(f"{self.name} cannot be started: {self._command[0]} (log: {self._log_path})")
        self._pid = int(line)

    async def stop(self) -> None:
        """The process ended, asked first, killed when the grace was over. Nothing happens if it is gone."""
        await self._order(b"t")

    async def kill(self) -> None:
        """The process was killed with SIGKILL and is gone."""
        await self._order(b"k")

    async def start_until(self, ready: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
        """The process runs and `ready` is true.

        Raises:
            StackError: it ended or was not ready in time, with the last lines of its log; it is gone then.
        """
        self.start()
        try:
            async with asyncio.timeout(timeout_s):  # also over a `ready` that never answers
                while not await ready():
                    if not self.running:
                        self._release_guardian()
                        raise StackError(f"{self.name} ended at its start: {self._last_log_lines()}")
                    await asyncio.sleep(_READY_POLL_S)
        except TimeoutError:
            await self.kill()
            raise StackError(
                f"{self.name} was not ready in {timeout_s:.0f} s (log: {self._log_path})"
            ) from None

    def log_text(self) -> str:
        """What this start has written so far."""
        with self._log_path.open("rb") as log:
            log.seek(self._log_start_bytes)
            return log.read().decode(errors="replace")

    def _last_log_lines(self) -> str:
        lines = [line.strip() for line in self.log_text().splitlines() if line.strip()]
        errors = [line for line in lines if any(word in line for word in _ERROR_WORDS)]
        return " | ".join((errors or lines)[-5:]) or f"no output (log: {self._log_path})"

    async def _order(self, order: bytes) -> None:
        if self._guardian is None:
            return
        assert self._guardian.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it is gone already, or was told before
            self._guardian.stdin.write(order)
            self._guardian.stdin.flush()
        await asyncio.to_thread(self._guardian.wait)
        self._release_guardian()

    def _release_guardian(self) -> None:
        """The guardian, which has ended or is about to, leaves neither a zombie nor an open pipe."""
        assert self._guardian is not None
        assert self._guardian.stdin is not None
        self._guardian.wait()
        with contextlib.suppress(BrokenPipeError):
            self._guardian.stdin.close()
