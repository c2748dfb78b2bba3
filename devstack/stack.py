"""The embedded stack: a real Kafka broker and a real Redis that live and die with this process."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from devstack.kafka_broker import ExtraListener, KafkaBroker, SecureListener
from devstack.locks import Locks
from devstack.redis_server import RedisServer
from schemas.errors import StackError, leaves

_THROWAWAY = "stack-content"
_MARK = ".made-by-saccade-stack"


class EmbeddedStack:
    """Kafka and Redis on loopback ports. Not tied to an event loop.

    Args:
        run_dir: folder for configuration, logs and, without `data`, the content; one stack at a time.
        kafka_port, redis_port: 0 = any free port.
        data: folder for the content; it stays when the stack ends and is taken up by the next one.
            None keeps the content under `run_dir` and removes it at the end.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        kafka_port: int = 0,
        redis_port: int = 0,
        data: Path | None = None,
        extra_listener: ExtraListener | None = None,
        secure_listener: SecureListener | None = None,
    ) -> None:
        self._locks = Locks()
        self._throwaway = None if data else run_dir / _THROWAWAY
        try:
            self._locks.take_folder(run_dir)
            if data:
                self._locks.take_folder(data)
            content = data or run_dir / _THROWAWAY
            if self._throwaway:
                self._remove_throwaway()
                self._throwaway.mkdir(parents=True)
                (self._throwaway / _MARK).touch()
            self.kafka = KafkaBroker(
                run_dir,
                content / "kafka",
                self._locks,
                port=kafka_port,
                extra_listeners=[extra_listener] if extra_listener else [],
                secure_listener=secure_listener,
            )
            self.redis = RedisServer(run_dir, content / "redis", self._locks, port=redis_port)
        except BaseException:
            self._locks.release()
            raise

    @property
    def bootstrap_servers(self) -> str:
        """Kafka's address for `bootstrap_servers`."""
        return self.kafka.bootstrap_servers

    @property
    def extra_bootstrap_servers(self) -> str:
        """The second listener itself; clients that use it are told the advertised address."""
        return f"127.0.0.1:{self.kafka.extra_ports[0]}"

    @property
    def secure_bootstrap_servers(self) -> str:
        """The SASL_SSL listener."""
        return f"localhost:{self.kafka.secure_port}"

    @property
    def redis_url(self) -> str:
        """Redis's address."""
        return self.redis.url

    @property
    def kafka_pid(self) -> int:
        """Process id of the broker."""
        return self.kafka.pid

    @property
    def redis_pid(self) -> int:
        """Process id of redis-server."""
        return self.redis.pid

    async def start(self) -> None:
        """Both answer; on an error neither is left over.

        Raises:
            StackError: one could not be started.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.kafka.start())
                group.create_task(self.redis.start())
        except BaseException as error:
            await asyncio.shield(self.kill())
            for leaf in leaves(error):
                if isinstance(leaf, StackError):
                    raise leaf from None
            raise

    async def stop(self) -> None:
        """Both are gone and folders and ports are free; content in `data` is written in order first."""
        if self._throwaway:  # nothing to keep, so nothing to wait for
            await self.kill()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.kafka.stop())
                group.create_task(self.redis.stop())
        finally:
            self._locks.release()

    async def kill(self) -> None:
        """Both were killed with SIGKILL, folders and ports are free."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.kafka.kill())
                group.create_task(self.redis.kill())
        finally:
            self._remove_throwaway()
            self._locks.release()

    def _remove_throwaway(self) -> None:
        """Nothing is left of an earlier stack's content; what no stack has made stays.

        Raises:
            StackError: there is something else.
        """
        if self._throwaway is None or not self._throwaway.exists():
            return
        if not (self._throwaway / _MARK).exists():
            raise StackError(
                f"{self._throwaway} is no content of a stack: move it away, or name another --run-dir"
            )
        shutil.rmtree(self._throwaway, ignore_errors=True)

    async def kill_kafka(self) -> None:
        """The broker was killed with SIGKILL."""
        await self.kafka.kill()

    async def start_kafka(self) -> None:
        """The broker answers again, on the same ports and data."""
        await self.kafka.start()

    async def kill_redis(self) -> None:
        """redis-server was killed with SIGKILL."""
        await self.redis.kill()

    async def start_redis(self) -> None:
        """redis-server answers again, on the same port and data."""
        await self.redis.start()


@asynccontextmanager
async def embedded_stack(
    run_dir: Path,
    *,
    kafka_port: int = 0,
    redis_port: int = 0,
    data: Path | None = None,
    topics: bool = True,
    extra_listener: ExtraListener | None = None,
    secure_listener: SecureListener | None = None,
) -> AsyncIterator[EmbeddedStack]:
    """A running `EmbeddedStack`, with the pipeline's topics if `topics`; nothing of it is left afterwards.

    Raises:
        StackError: the run folder is occupied, a port is in use, Java, Maven or redis-server is missing.
    """
    stack = EmbeddedStack(
        run_dir,
        kafka_port=kafka_port,
        redis_port=redis_port,
        data=data,
        extra_listener=extra_listener,
        secure_listener=secure_listener,
    )
    await stack.start()
    try:
        if topics:
            await _create_topics(stack.bootstrap_servers)
        yield stack
    finally:
        await asyncio.shield(stack.stop())


async def _create_topics(bootstrap_servers: str) -> None:
    # Imported here: asking for an embedded stack without topics needs no Kafka client.
    from devstack.settings import load_settings
    from runtime.connections import KafkaSettings
    from runtime.kafka_admin import create_topics, pipeline_topics

    # Names and sizes as the environment wants them; the connection is this stack's own.
    await create_topics(KafkaSettings(bootstrap_servers=bootstrap_servers), pipeline_topics(load_settings()))
