"""Calls of Redis that are cancelled at any moment, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis._parsers.base import BaseParser
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection

from devstack import EmbeddedStack
from runtime.connections import RedisSettings
from runtime.redis_connection import RedisConnection
from runtime.redis_store import RedisStore
from schemas.errors import SaccadeError, TransientError

MOMENTS = 60
IN_SCRIPT = "Error running script (call to f_8a): @user_script:12: @user_script: 12: "


def raised(answer: str, *, in_pipeline: bool) -> SaccadeError:
    """What the project makes of an answer of Redis, by way of the library's own parser."""
    error = BaseParser.parse_error(answer)  # type: ignore[no-untyped-call]
    if in_pipeline:
        Pipeline(None, None, False, None).annotate_exception(error, 1, ["EVALSHA", "8a", "1", "label:gate:1"])  # type: ignore[arg-type]
    with pytest.raises(SaccadeError) as caught, RedisConnection(RedisSettings())._translated("a script"):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        "READONLY You can't write against a read only replica.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "BUSY Redis is busy running a script.",
        "LOADING Redis is loading the dataset in memory",
        "MOVED 3999 127.0.0.1:6381",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOSCRIPT No matching script. Please use EVAL.",
        "ERR " + IN_SCRIPT + "-OOM command not allowed when used memory > 'maxmemory'.",
        "ERR " + IN_SCRIPT + "The user executing the script can't run this command or subcommand",
        "MISCONF Errors writing to the AOF file: No space left on device script: 8a, on @user_script:3.",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "ERR max number of clients reached",
        "ERR " + IN_SCRIPT + "-READONLY You can't write against a read only replica.",
    ],
)
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_what_an_administrator_a_failover_or_a_full_disk_puts_right_passes(
    answer: str, in_pipeline: bool
) -> None:
    assert isinstance(raised(answer, in_pipeline=in_pipeline), TransientError)


@pytest.mark.parametrize(
    "answer",
    [
        "ERR unknown command 'EVALSHAA'",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR wrong number of arguments for 'hset' command",
        "ERR " + IN_SCRIPT + "attempt to index a nil value",
        "ERR the label says BUSYNESS and OOMPH",
        "CROSSSLOT Keys in request don't hash to the same slot",
    ],
)
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_what_no_time_puts_right_does_not_pass(answer: str, in_pipeline: bool) -> None:
    assert not isinstance(raised(answer, in_pipeline=in_pipeline), TransientError)


@pytest.mark.stack
@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_call_cancelled_at_any_moment_ends_cancelled(
    stack: EmbeddedStack, is_connected: bool
) -> None:
    """Python 3.11's `wait_for`, which the library sends commands in, loses some cancellations."""
    deaf = []
    for moment in range(MOMENTS):
        async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
            if is_connected:
                await store.time_ns()
            call = asyncio.create_task(store.read_reports("nowhere"))
            for _ in range(moment):  # one turn of the event loop each
                await asyncio.sleep(0)
            was_asked = call.cancel()
            await asyncio.wait([call])
            if was_asked and not call.cancelled():
                deaf.append(moment)
            assert await store.time_ns() > 0  # the store goes on
    assert not deaf


@pytest.mark.stack
async def test_a_connection_that_was_reset_is_one_more_try(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    resets = 1
    send = AbstractConnection.send_packed_command

    async def reset(self: AbstractConnection, *args: Any, **kwargs: Any) -> None:
        nonlocal resets
        if resets and b"TIME" in b"".join(args[0]):
            resets -= 1
            raise RuntimeError(
                "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
            )
        await send(self, *args, **kwargs)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", reset)
    async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
        assert await store.time_ns() > 0
        assert resets == 0
        resets = 9
        with pytest.raises(TransientError, match="connection lost"):
            await store.time_ns()


async def test_a_primary_that_became_a_replica_is_looked_up_again() -> None:
    """The first connection is to the old primary, for as long as it lives."""
    num_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_connections
        num_connections += 1
        answer = b"-READONLY You can't write\r\n" if num_connections == 1 else b"*2\r\n$1\r\n7\r\n$1\r\n0\r\n"
        while line := await reader.readline():
            if line == b"TIME\r\n":
                writer.write(answer)
            elif line in (b"SETINFO\r\n", b"SELECT\r\n"):
                writer.write(b"+OK\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with RedisStore(RedisSettings(url=f"redis://127.0.0.1:{port}")) as store:
            with pytest.raises(TransientError, match="TIME: You can't write"):
                await store.time_ns()
            assert await store.time_ns() == 7_000_000_000


@pytest.mark.stack
async def test_a_timeout_around_a_call_is_still_a_timeout(stack: EmbeddedStack) -> None:
    async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
        await store.time_ns()
        for moment in range(MOMENTS):
            limit = asyncio.timeout(None)
            call = asyncio.create_task(_limited(store, limit))
            for _ in range(moment):
                await asyncio.sleep(0)
            if limit.when() is None and not call.done() and moment:
                limit.reschedule(0.0)
            await asyncio.wait([call])
            assert call.exception() is None or isinstance(call.exception(), TimeoutError)
            assert not call.cancelled()


async def _limited(store: RedisStore, limit: asyncio.Timeout) -> None:
    async with limit:
        await store.read_reports("nowhere")
