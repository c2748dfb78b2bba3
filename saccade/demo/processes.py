"""The worker processes of a demo: started as a user would start them, each with its own log file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import StackError

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Worker:
    """One running ``saccade`` process.

    ``ready`` is set once its log says so; ``output`` collects the lines of its standard output. The log
    reader keeps the pipe empty, so that a talkative worker never blocks on it.
    """

    name: str
    process: asyncio.subprocess.Process
    metrics_port: int
    log: Path
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    output: list[str] = field(default_factory=list)

    @property
    def metrics_url(self) -> str:
        """Where the worker's metrics are served."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    async def wait_ready(self) -> None:
        """Return once the worker is ready.

        Raises:
            StackError: the process ended first or took longer than the limit; names the log.
        """
        async with asyncio.timeout(READY_TIMEOUT_S) as limit, asyncio.TaskGroup() as group:
            waits = [group.create_task(self.ready.wait()), group.create_task(self.exited.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if limit.expired():
            raise StackError(f"{self.name} was not ready within {READY_TIMEOUT_S:.0f} s; see {self.log}")
        if not self.ready.is_set():
            raise StackError(
                f"{self.name} ended with status {self.process.returncode}; see {self.log}: {self.last_line()}"
            )

    async def stop(self) -> int:
        """Ask the process to drain and end; kill it when it takes too long. Return its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self.exited.wait()
        except TimeoutError:
            self.process.kill()
            await self.exited.wait()
        return self.process.returncode or 0

    def last_line(self) -> str:
        """Return the last line of the log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "(empty)"


class Workers:
    """Starts worker processes inside a task group and stops all of them at its end."""

    def __init__(self, run_dir: Path, group: asyncio.TaskGroup) -> None:
        self.run_dir = run_dir
        self.group = group
        self.running: list[Worker] = []

    async def start(self, name: str, arguments: list[str]) -> Worker:
        """Start ``saccade ARGUMENTS`` as the worker ``name``; its log goes to ``{run_dir}/{name}.log``."""
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "saccade",
            *arguments,
            "--set",
            "log.format=json",
            "--metrics-port",
            str(port),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "SACCADE_PARENT_PID": str(os.getpid())},
        )
        worker = Worker(name=name, process=process, metrics_port=port, log=self.run_dir / f"{name}.log")
        worker.log.touch()
        self.running.append(worker)
        self.group.create_task(self._follow(worker), name=f"follow {name}")
        return worker

    async def _follow(self, worker: Worker) -> None:
        """Copy the worker's log to its file, note the ready event, collect its output until it ends."""
        assert worker.process.stderr is not None
        assert worker.process.stdout is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._collect(worker))
            with worker.log.open("ab") as log:
                async for line in worker.process.stderr:
                    log.write(line)
                    log.flush()
                    if b'"ready"' in line and event_of(line) == "ready":
                        worker.ready.set()
            await worker.process.wait()
        worker.exited.set()

    async def _collect(self, worker: Worker) -> None:
        """Collect the worker's standard output by lines."""
        assert worker.process.stdout is not None
        async for line in worker.process.stdout:
            worker.output.append(line.decode(errors="replace").rstrip("\n"))

    async def stop_all(self) -> None:
        """Stop every worker that still runs, the newest first."""
        for worker in reversed(self.running):
            await worker.stop()


@asynccontextmanager
async def workers_in(run_dir: Path) -> AsyncIterator[Workers]:
    """Yield a starter of worker processes; none of them runs after the block, however it ends."""
    async with asyncio.TaskGroup() as group:
        workers = Workers(run_dir, group)
        try:
            yield workers
        finally:
            await asyncio.shield(workers.stop_all())


def event_of(line: bytes) -> str | None:
    """Return the event name of one JSON log line, None where it is no such line."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record.get("event") if isinstance(record, dict) else None


def free_port() -> int:
    """Return a loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
