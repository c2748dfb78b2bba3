"""Real `saccade` processes for tests, started in a second, and what they are given."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devstack.demo.probe import is_ready
from devstack.demo.processes import free_port

FIRST_SEED = 2_900_200_000
WORKER_SCRIPT = Path(__file__).with_name("worker_process.py")


class ForkedWorker:
    """A `saccade` process that starts in a second: its torch was imported before it was forked.

    Its clock is ahead of the machine's by the seconds that `clock_file` holds, without one by none. What it says goes
    to `log_file`, without one to this process's own output.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        clock_file: Path | None = None,
        log_file: Path | None = None,
        metrics_port: int = 0,
    ) -> None:
        self.metrics_port = metrics_port or free_port()
        flags = ["--set", "log.level=error", "--metrics-port", str(self.metrics_port)]
        self._log_file = log_file
        self._arguments = [*arguments, *flags]
        self._clock_file = clock_file
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            [
                "vit.backends.torch",
                "edge_workers.engine",
                "server_workers.engine",
                "lab.scenes.stream",
                "saccade.cli",
            ]
        )
        self._process: Any = None

    async def start(self) -> None:
        """The process is in its group and works."""
        given = {
            "arguments": self._arguments,
            "clock_file": self._clock_file,
            "log_file": self._log_file,
        }
        self._process = self._context.Process(
            target=runpy.run_path, args=(str(WORKER_SCRIPT), given, "__main__")
        )
        self._process.start()
        async with asyncio.timeout(120.0):
            while not await is_ready(self.metrics_port):
                assert self._process.is_alive()
                await asyncio.sleep(0.05)

    @property
    def pid(self) -> int:
        """Process id of the last start."""
        return int(self._process.pid)

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and bool(self._process.is_alive())

    async def kill(self) -> None:
        """The process was killed with SIGKILL and is gone."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.join)

    async def stop(self) -> None:
        """The process was asked to drain and is gone."""
        self._process.terminate()
        await asyncio.to_thread(self._process.join)


def scenes(index: int) -> str:
    """Return the source of a small rendered camera."""
    return f"scenes:{FIRST_SEED + index}?width=320&height=240"


def toml_of(tree: dict[str, Any]) -> str:
    """Return a tree of sections with plain values as TOML; JSON's strings and numbers are TOML's too."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in tree.items() if not isinstance(value, dict)]
    for section, values in tree.items():
        if isinstance(values, dict):
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
