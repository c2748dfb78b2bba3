"""The relay: forwards unchanged, counts from outside, limits, and falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from devstack.link.relay import Relay, ended, relay_to
from schemas.rates import RateSchedule, constant


@asynccontextmanager
async def echo_behind(
    limit: RateSchedule | None,
) -> AsyncIterator[tuple[Relay, asyncio.StreamReader, asyncio.StreamWriter]]:
    """An echo server behind a relay, and one client's connection to it."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        await ended(writer)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, relay_to(lambda: server.sockets[0].getsockname()[:2], limit=limit) as relay:
        host, port = relay.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield relay, reader, writer
        finally:
            await ended(writer)


async def test_bytes_pass_unchanged_and_are_counted_with_their_headers() -> None:
    payload = bytes(range(256)) * 400
    async with echo_behind(None) as (relay, reader, writer):
        writer.write(payload)
        assert await reader.readexactly(len(payload)) == payload
        assert relay.counter.payload_bytes == len(payload)
        assert len(payload) < relay.wire_bytes() < 1.1 * len(payload) + 1000


async def test_a_limit_holds_over_the_time_it_takes() -> None:
    payload = b"x" * 30_000
    async with echo_behind(constant(60_000.0)) as (_, reader, writer):
        began_s = asyncio.get_running_loop().time()
        writer.write(payload)
        await reader.readexactly(len(payload))
        took_s = asyncio.get_running_loop().time() - began_s
    assert took_s >= (30_000 - 4096) / 60_000.0


async def test_at_rate_zero_nothing_passes() -> None:
    async with echo_behind(RateSchedule((0.0, 0.4), (0.0, 1e6))) as (relay, reader, writer):
        relay.restart_clock()
        began_s = asyncio.get_running_loop().time()
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert asyncio.get_running_loop().time() - began_s >= 0.35


async def test_what_waits_in_a_silent_link_passes_when_its_limit_is_taken_away() -> None:
    async with echo_behind(constant(0.0)) as (relay, reader, writer):
        writer.write(b"hello")
        while not relay.counter.payload_bytes:  # noqa: ASYNC110 - a counter tells nobody
            await asyncio.sleep(0.01)
        relay.follow(None)
        assert await reader.readexactly(5) == b"hello"
        relay.reset()
        assert await reader.read() == b""


async def test_a_target_that_is_gone_closes_the_connection() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()[:2]
    server.close()
    await server.wait_closed()
    async with relay_to(lambda: address) as relay:
        host, port = relay.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        await ended(writer)
