"""Ports of this machine's loopback inside a network namespace, through files: the shaped link is not touched.

    ip netns exec NAME python -m lab.benchmarks.crossing PORT=SOCKET_FILE ...

The other side of each file is `outside`, in the namespace where the ports really are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK_BYTES = 1 << 16


async def outside(port: int, path: Path) -> asyncio.Server:
    """Who connects to the file is connected to the port."""
    return await asyncio.start_unix_server(joined(lambda: asyncio.open_connection("127.0.0.1", port)), path)


async def inside(port: int, path: Path) -> asyncio.Server:
    """Who connects to the port is connected to the file."""
    return await asyncio.start_server(joined(lambda: asyncio.open_unix_connection(path)), "127.0.0.1", port)


def joined(
    connect: Callable[[], Awaitable[Streams]],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Return a handler that carries bytes both ways until one side ends."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await connect()
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as group:
                ways = [
                    group.create_task(carry(reader, far_writer)),
                    group.create_task(carry(far_reader, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            writer.close()
            far_writer.close()

    return handle


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()


async def main() -> None:
    servers = []
    for text in sys.argv[1:]:
        port, _, path = text.partition("=")
        servers.append(await inside(int(port), Path(path)))
    await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
