"""A TCP relay on loopback that counts what passes, limits its rate in steps, and can fall silent.

The broker advertises the relay's address to the clients of its second listener, so that every byte of the
offload path passes here. Counted are bytes on the wire in the client's direction, headers included, seen from
outside the client.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from schemas.rates import RateSchedule

CHUNK_BYTES = 4096
SAMPLE_S = 0.1
SEGMENT_HEADER_BYTES = 52
SEGMENT_PAYLOAD_BYTES = 1448
SILENCE_CHECK_S = 0.05
# Offsets into Linux's struct tcp_info: tcpi_bytes_received (u64) and tcpi_segs_in (u32).
TCP_INFO_BYTES = 192
BYTES_RECEIVED_AT = 128
SEGS_IN_AT = 140


@dataclass(slots=True)
class Counter:
    """Bytes of the client's direction over time.

    ``samples`` are (seconds on the loop's clock, total wire bytes so far), non-decreasing in both.
    """

    samples: list[tuple[float, float]] = field(default_factory=list)
    payload_bytes: int = 0
    wire_bytes_closed: float = 0.0


class Relay:
    """Forwards TCP connections to one target; all of them share one rate.

    Made by :func:`relay_to`. State is changed on the event loop only.
    """

    def __init__(self, target: Callable[[], tuple[str, int]], limit: RateSchedule | None) -> None:
        self.counter = Counter()
        # How long the next chunk is held up, in either direction: a long way, or a lost packet sent again.
        self.held_up_s: Callable[[], float] = lambda: 0.0
        self._target = target
        self._limit = limit
        self._started_s = asyncio.get_running_loop().time()
        self._tokens = 0.0
        self._refilled_s = self._started_s
        self._open: dict[asyncio.StreamWriter, int] = {}
        self._handlers: set[asyncio.Task[object]] = set()
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<Relay {self.address}: {len(self._open)} open, {self.counter.payload_bytes} payload bytes>"

    @property
    def address(self) -> str:
        """HOST:PORT that clients connect to; the port stays the same as long as the relay runs."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def restart_clock(self) -> None:
        """The schedule of the limit begins now."""
        self._started_s = asyncio.get_running_loop().time()

    def follow(self, limit: RateSchedule | None) -> None:
        """This limit is in force from now on, its second 0 being this moment."""
        self._limit = limit
        self.restart_clock()
        self._tokens, self._refilled_s = 0.0, self._started_s

    def wire_bytes(self) -> float:
        """Return all bytes that came from clients so far, headers of their segments included."""
        return self.counter.wire_bytes_closed + sum(
            received_wire_bytes(writer, payload) for writer, payload in self._open.items()
        )

    def reset(self) -> None:
        """Every connection breaks now; new ones are taken."""
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Start to listen."""
        self._server = await asyncio.start_server(self._on_client, host, port, limit=2 * CHUNK_BYTES)

    async def close(self) -> None:
        """Stop listening and end all connections."""
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)
        await self._server.wait_closed()

    async def sample(self) -> None:
        """Note the counter ten times a second until cancelled."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            self.counter.samples.append((loop.time(), self.wire_bytes()))
            due_s += SAMPLE_S
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        self._open[writer] = 0
        try:
            await self._forward(reader, writer)
        finally:
            self.counter.wire_bytes_closed += received_wire_bytes(writer, self._open.pop(writer))
            await ended(writer)
            self._handlers.discard(handler)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one client's connection in both directions until either side ends or the relay closes."""
        try:
            target_reader, target_writer = await asyncio.open_connection(
                *self._target(), limit=2 * CHUNK_BYTES
            )
        except OSError:
            return
        try:
            async with asyncio.TaskGroup() as group:
                up = group.create_task(self._pump(reader, target_writer, counted=writer))
                down = group.create_task(self._pump(target_reader, writer, counted=None))
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
                up.cancel()
                down.cancel()
        finally:
            await ended(target_writer)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        counted: asyncio.StreamWriter | None,
    ) -> None:
        """Forward until either side ends; only the client's direction is counted and limited by rate."""
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                if counted is not None:
                    self._open[counted] += len(chunk)
                    self.counter.payload_bytes += len(chunk)
                    await self._admit(len(chunk))
                else:
                    await self._while_silent()
                if (pause_s := self.held_up_s()) > 0:
                    await asyncio.sleep(pause_s)
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            return

    async def _admit(self, num_bytes: int) -> None:
        """Return once the limit lets ``num_bytes`` pass, headers included; at once without a limit."""
        loop = asyncio.get_running_loop()
        cost = num_bytes + SEGMENT_HEADER_BYTES * -(-num_bytes // SEGMENT_PAYLOAD_BYTES)
        self._tokens -= cost
        while self._limit is not None:
            now_s = loop.time()
            earned = self._limit.bytes_between(self._refilled_s - self._started_s, now_s - self._started_s)
            self._tokens = min(self._tokens + earned, float(CHUNK_BYTES))
            self._refilled_s = now_s
            if self._tokens >= 0:
                return
            rate = self._limit.rate_at(now_s - self._started_s)
            await asyncio.sleep(min(-self._tokens / rate, SILENCE_CHECK_S) if rate > 0 else SILENCE_CHECK_S)

    async def _while_silent(self) -> None:
        """Return once the link is not silent: at rate 0 nothing passes in either direction."""
        loop = asyncio.get_running_loop()
        while self._limit and self._limit.rate_at(loop.time() - self._started_s) == 0:  # noqa: ASYNC110 - a schedule, no event
            await asyncio.sleep(SILENCE_CHECK_S)


async def ended(writer: asyncio.StreamWriter) -> None:
    """Drop a connection at once, unsent bytes included, and return when its socket is closed."""
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def relay_to(
    target: Callable[[], tuple[str, int]], *, limit: RateSchedule | None = None, port: int = 0
) -> AsyncIterator[Relay]:
    """Yield a relay that listens on loopback and samples its counter; all of it ends with the block.

    Args:
        target: asked for (host, port) at each new connection, so the relay may start before its target.
        limit: rate of the client's direction over time from :meth:`Relay.restart_clock` on; None only counts.
        port: 0 takes a free one.
    """
    relay = Relay(target, limit)
    await relay.serve(port=port)
    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(relay.sample())
        try:
            yield relay
        finally:
            sampling.cancel()
            await asyncio.shield(relay.close())


def received_wire_bytes(writer: asyncio.StreamWriter, payload_bytes: int) -> float:
    """Return what came in on a connection with the headers of its segments.

    Linux knows the segments; elsewhere, and on a closed socket, full segments are assumed.
    """
    estimate = payload_bytes + SEGMENT_HEADER_BYTES * -(-payload_bytes // SEGMENT_PAYLOAD_BYTES)
    connection = writer.get_extra_info("socket")
    if sys.platform != "linux" or connection is None:
        return float(estimate)
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    except (OSError, ValueError):  # closed: asyncio's socket says the one, uvloop's the other
        return float(estimate)
    if len(info) < SEGS_IN_AT + 4:
        return float(estimate)
    (received,) = struct.unpack_from("=Q", info, BYTES_RECEIVED_AT)
    (segments,) = struct.unpack_from("=I", info, SEGS_IN_AT)
    return float(received + SEGMENT_HEADER_BYTES * segments)
