"""An idempotent producer with bounded bytes in flight.

aiokafka (0.14) never gives up a batch of an idempotent producer: while the broker is away, records wait.
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, ProducerClosed, UnknownTopicOrPartitionError

from runtime.connections import KafkaSettings
from runtime.kafka_connection import (
    CLOSE_TIMEOUT_S,
    RecordRefused,
    connection_arguments,
    started,
    stop,
    translated,
)
from runtime.log import get_logger
from runtime.tcp_info import WireCounter
from schemas.errors import StackError, TransientError

MAX_BATCH_BYTES = 128 * 1024
_RECORD_OVERHEAD_BYTES = 70

_log = get_logger(__name__)


class Sink:
    """An idempotent producer that is never awaited record by record.

    Args:
        max_request_bytes: largest record; a larger one is `RecordRefused`. Keep it at or below the topics'
            `max.message.bytes`.
        max_in_flight_bytes: bound of what is handed over and not acknowledged; one record is always let in.
        linger_ms: how long a batch waits for more records.
        request_timeout_ms: instead of the cluster's own setting.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        max_request_bytes: int,
        max_in_flight_bytes: int,
        linger_ms: int = 0,
        request_timeout_ms: int | None = None,
    ) -> None:
        timeout_ms = request_timeout_ms or kafka.request_timeout_ms
        self._kafka = kafka.model_copy(update={"request_timeout_ms": timeout_ms})
        self._max_request_bytes = max_request_bytes
        self._max_in_flight_bytes = max_in_flight_bytes
        self._linger_ms = linger_ms
        self._producer: Any = None
        self._wire: WireCounter[tuple[int, object]] = WireCounter(timeout_ms)
        self._in_flight_bytes = 0
        self._turn = asyncio.Lock()  # the first who waits for room gets it first
        self._settled = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Sink in_flight_bytes={self._in_flight_bytes}/{self._max_in_flight_bytes}>"

    async def __aenter__(self) -> Self:
        self._producer = await started(self._make, self._kafka)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not await self.flush(CLOSE_TIMEOUT_S):
            _log.warning("gave up unacknowledged records", num_bytes=self._in_flight_bytes)
            await self._abandon()
        await stop(self._producer)

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed over and not yet acknowledged or refused."""
        return self._in_flight_bytes

    def wire_bytes_sent(self) -> int | None:
        """Bytes that all connections sent so far, with headers; None where the system does not tell."""
        descriptors: dict[tuple[int, object], int] = {}
        for connection in self._producer.client._conns.values():
            sock = connection._writer and connection._writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                descriptors[id(connection), sock.getsockname()] = sock.fileno()
        return self._wire.total(descriptors)

    def round_trip_s(self) -> float:
        """The path's smallest round trip when `wire_bytes_sent` was last asked; 0 where it is unknown."""
        return self._wire.round_trip_s

    async def num_partitions(self, topic: str) -> int:
        """How many partitions the topic has.

        Raises:
            StackError: it does not exist.
        """
        try:
            return len(await self._producer.partitions_for(topic))
        except UnknownTopicOrPartitionError:
            raise self._no_topic(topic) from None
        except KafkaError as error:
            raise translated(error, f"asking for the partitions of {topic}") from None

    async def wait_room(self) -> None:
        """Fewer bytes are in flight than the bound."""
        while self._in_flight_bytes >= self._max_in_flight_bytes:
            self._settled.clear()
            await self._settled.wait()

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[object]:
        """The record is handed over; waits while too many bytes are in flight, as long as it takes.

        Returns a future that is done when the broker has the record. It fails with `RecordRefused` for a
        record that never gets in, with `TransientError` when the sink was closed first. Cancelled, nothing
        was sent.

        Raises:
            StackError: the topic does not exist.
            SaccadeError: the brokers refuse this producer.
        """
        delivery: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        num_bytes = len(value) + len(key or b"") + _RECORD_OVERHEAD_BYTES
        num_bytes += sum(len(name) + len(text) for name, text in headers or ())
        async with self._turn:
            while self._in_flight_bytes and self._in_flight_bytes + num_bytes > self._max_in_flight_bytes:
                self._settled.clear()
                await self._settled.wait()
            self._in_flight_bytes += num_bytes
        try:
            acknowledged = await self._hand_over(topic, value, key, partition, headers)
        except BaseException as error:
            self._release(num_bytes)
            if isinstance(error, RecordRefused):
                delivery.set_exception(error)
                return delivery
            raise
        acknowledged.add_done_callback(partial(self._settle, delivery, num_bytes, topic))
        return delivery

    async def flush(self, timeout_s: float) -> bool:
        """True when everything handed over was acknowledged or refused, False after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._in_flight_bytes:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            return False
        return True

    async def _abandon(self) -> None:
        """Nothing is sent any more and every delivery has failed.

        `stop` alone would wait for the broker for ever.
        """
        sender = self._producer._sender.sender_task
        sender.cancel()
        await (
            self._producer.client.close()
        )  # a request that waits for its answer fails now, not at its timeout
        await asyncio.wait([sender])
        self._producer._message_accumulator.fail_all(ProducerClosed())

    def _make(self) -> Any:
        return AIOKafkaProducer(
            **connection_arguments(self._kafka),
            enable_idempotence=True,
            max_request_size=self._max_request_bytes,
            max_batch_size=min(MAX_BATCH_BYTES, self._max_request_bytes),
            linger_ms=self._linger_ms,
        )

    async def _hand_over(
        self,
        topic: str,
        value: bytes,
        key: bytes | None,
        partition: int | None,
        headers: list[tuple[str, bytes]] | None,
    ) -> asyncio.Future[object]:
        while True:
            try:
                handed: asyncio.Future[object] = await self._producer.send(
                    topic, value, key=key, partition=partition, headers=headers
                )
            except KafkaTimeoutError:
                continue  # the partition's batch was full for a whole timeout: nothing is handed over yet
            except UnknownTopicOrPartitionError:
                raise self._no_topic(topic) from None
            except KafkaError as error:
                raise translated(error, f"sending to {topic}") from None
            return handed

    def _no_topic(self, topic: str) -> StackError:
        where = self._kafka.bootstrap_servers
        return StackError(f"Kafka at {where} has no topic {topic!r}: saccade topics create makes it")

    def _settle(
        self,
        delivery: asyncio.Future[object],
        num_bytes: int,
        topic: str,
        acknowledged: asyncio.Future[object],
    ) -> None:
        self._release(num_bytes)
        error = None if acknowledged.cancelled() else acknowledged.exception()
        if delivery.done():
            return
        if acknowledged.cancelled():
            delivery.cancel()
        elif isinstance(error, ProducerClosed):
            delivery.set_exception(TransientError(f"Kafka: closed before {topic} acknowledged a record"))
        elif error is not None:
            delivery.set_exception(translated(error, f"sending to {topic}"))
        else:
            delivery.set_result(acknowledged.result())

    def _release(self, num_bytes: int) -> None:
        self._in_flight_bytes -= num_bytes
        self._settled.set()
