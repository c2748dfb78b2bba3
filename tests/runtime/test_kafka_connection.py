"""Closing a client, whatever it does meanwhile, and connections that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import aiokafka.conn
import pytest
import uvloop
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest
from structlog.testing import capture_logs

from runtime.connections import KafkaSettings
from runtime.kafka_connection import opened, stop
from schemas.errors import TransientError


class Client:
    """Stands in for one of the library's, which loses cancellations while it stops."""

    def __init__(self, num_lost: int) -> None:
        self._num_lost = num_lost
        self.closed = False
        self.client = self
        self._conns: dict[int, Any] = {}

    async def stop(self) -> None:
        for _ in range(self._num_lost):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("num_lost", [0, 1, 3])
async def test_stop_ends_also_where_the_client_loses_cancellations(num_lost: int) -> None:
    client = Client(num_lost)
    with capture_logs() as logs:
        async with asyncio.timeout(10.0):
            await stop(client, timeout_s=0.01)
    assert client.closed
    assert [each["event"] for each in logs] == ["closed a Kafka client without its broker's answer"]


class SilentClient(Client):
    """Its one connection is closed, but for an answer that never comes, and nobody may wait for that twice."""

    def __init__(self) -> None:
        super().__init__(0)
        self._answered = asyncio.get_running_loop().create_future()
        self.transport = Mock()
        self._conns[1] = SimpleNamespace(_protocol=SimpleNamespace(_transport=self.transport))

    async def stop(self) -> None:
        await asyncio.gather(self._answered)

    async def close(self) -> None:
        await super().close()
        await asyncio.gather(self._answered)


async def test_stop_cuts_off_a_connection_that_does_not_close_and_cancels_nobody() -> None:
    client = SilentClient()
    async with asyncio.timeout(10.0):
        await stop(client, timeout_s=0.01)
    assert client.closed
    client.transport.abort.assert_called_once_with()


async def test_a_stop_that_is_cancelled_still_closes() -> None:
    client = Client(0)
    stopping = asyncio.ensure_future(stop(client, timeout_s=60.0))
    await asyncio.sleep(0)
    stopping.cancel()
    async with asyncio.timeout(10.0):
        await asyncio.wait([stopping])
    assert stopping.cancelled()
    assert client.closed


@pytest.mark.parametrize(
    "send",
    [
        lambda connection: connection.send(ApiVersionRequest()),
        lambda connection: connection._send_sasl_token(b"token"),
    ],
    ids=["request", "token"],
)
def test_a_write_to_a_closed_transport_is_a_lost_connection_on_any_event_loop(
    send: Callable[[Any], Any],
) -> None:
    async def write() -> None:
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            connection = aiokafka.conn.AIOKafkaConnection(host, port)
            connection._versions = {ApiVersionRequest.API_KEY: (0, 0)}
            connection._reader, connection._writer = await asyncio.open_connection(host, port)
            connection._read_task = asyncio.get_running_loop().create_future()
            connection._writer.transport.abort()
            await connection._writer.wait_closed()
            with pytest.raises(KafkaConnectionError, match=f"{port} broken"):
                send(connection)
            assert not connection.connected()

    uvloop.run(write())


async def test_a_server_whose_name_cannot_be_looked_up_does_not_answer() -> None:
    kafka = KafkaSettings.model_construct(bootstrap_servers="kafka..svc:9092", request_timeout_ms=1_000)
    with pytest.raises(TransientError, match="does not answer"):
        await opened(Mock(side_effect=AssertionError), kafka)
