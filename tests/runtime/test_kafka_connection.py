"""Closing a client, whatever it does meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from runtime.kafka_connection import stop


class Client:
    """Stands in for one of the library's, which loses cancellations while it stops."""

    def __init__(self, num_lost: int) -> None:
        self._num_lost = num_lost
        self.closed = False
        self.client = self

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
