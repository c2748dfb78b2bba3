"""The worker processes of a demo: started as a user would start them, each with its own log file."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from devstack.child import GuardedChild
from devstack.demo.probe import is_ready
from devstack.locks import can_listen, candidate_ports
from schemas.errors import StackError

READY_TIMEOUT_S = 120.0
STOP_GRACE_S = 60.0


class Worker:
    """One ``saccade`` process, guarded: it ends with this process, however that ends.

    Args:
        name: what error messages call it; its log is ``{run_dir}/{name}.log``.
        arguments: the command line after ``saccade``.
        port_flag: the flag that tells it on which port to serve.
        ready_path: what answers 200 there once it is ready.
    """

    def __init__(
        self,
        name: str,
        run_dir: Path,
        arguments: Sequence[str],
        *,
        port_flag: str = "--metrics-port",
        ready_path: str = "/readyz",
    ) -> None:
        self.name = name
        self.port = free_port()
        self._ready_path = ready_path
        command = [sys.executable, "-m", "saccade", *arguments]
        command += ["--set", "log.format=json", port_flag, str(self.port)]
        self.child = GuardedChild(name, command, run_dir / f"{name}.log", grace_s=STOP_GRACE_S, held_fds=())

    def __repr__(self) -> str:
        return f"<Worker {self.child!r} on {self.port}>"

    async def start(self) -> None:
        """The process runs and says that it is ready.

        Raises:
            StackError: it ended at its start or took too long, with the last lines of its log.
        """
        await self.child.start_until(lambda: is_ready(self.port, self._ready_path), READY_TIMEOUT_S)

    async def kill(self) -> None:
        """The process was killed with SIGKILL and is gone."""
        await self.child.kill()

    async def stop(self) -> None:
        """The process was asked to drain and is gone; it was killed if that took longer than its grace."""
        await self.child.stop()


@asynccontextmanager
async def workers_running(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """Start all workers at once and wait until they are ready; none of them runs after the block."""
    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.start())
        yield
    finally:
        await asyncio.shield(stop_all(workers))


async def stop_all(workers: Sequence[Worker]) -> None:
    """Stop all workers side by side."""
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.stop())


def free_port() -> int:
    """Return a loopback port that nothing listens on, and that no client is given as its own meanwhile."""
    candidates = candidate_ports()
    for port in random.SystemRandom().sample(candidates, len(candidates)):
        if can_listen(port):
            return port
    raise StackError(f"no free port between {candidates[0]} and {candidates[-1]}")
