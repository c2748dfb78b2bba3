"""Refused records go to the dead-letter topic of their source, with the reason; then their offset is free.

Used by edge and server workers. Order: first the letter is acknowledged, then the offset may be committed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from runtime.channel import Channel, ChannelClosed
from runtime.intake import Delivery
from runtime.log import get_logger
from schemas.dead_letter import DeadLetter
from schemas.errors import SaccadeError
from schemas.topics import dead_topic

_MAX_WAITING_LETTERS = 256
_MAX_WAITING_BYTES = 32 * 1024 * 1024
_log = get_logger(__name__)


class LetterSink(Protocol):
    """What dead letters need of `runtime.kafka.Sink`."""

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[object]:
        """Hand a record over; the future is its delivery."""
        ...


@dataclass(frozen=True, slots=True)
class _Refused:
    delivery: Delivery
    letter: DeadLetter

    @property
    def num_bytes(self) -> int:
        return len(self.delivery.record.value)


class DeadLetters:
    """Writes refused records; `run` must be running, and ends after `close` with everything written."""

    def __init__(self, sink: LetterSink) -> None:
        self._sink = sink
        self._waiting: Channel[_Refused] = Channel(
            _MAX_WAITING_LETTERS, _MAX_WAITING_BYTES, lambda refused: refused.num_bytes
        )

    def close(self) -> None:
        """No more letters come."""
        self._waiting.close()

    async def put(self, delivery: Delivery, reason: str, error: str) -> None:
        """The record waits to be written and is acknowledged once the broker has it; waits while many do."""
        record = delivery.record
        letter = DeadLetter(reason, error, record.topic, record.partition, record.offset)
        await self._waiting.put(_Refused(delivery, letter))

    async def run(self) -> None:
        """Writes letters until `close`.

        Raises:
            SaccadeError: not even a stub without payload was taken; the record will come again.
        """
        while True:
            try:
                batch = await self._waiting.get_batch(_MAX_WAITING_LETTERS)
            except ChannelClosed:
                return
            sent = [(refused, await self._send(refused)) for refused in batch]
            for refused, delivery in sent:
                await self._settle(refused, delivery)

    async def _send(self, refused: _Refused) -> asyncio.Future[object]:
        record, letter = refused.delivery.record, refused.letter
        value = b"" if letter.stub else record.value
        topic = dead_topic(record.topic)
        return await self._sink.send(topic, value, key=record.key, headers=letter.headers())

    async def _settle(self, refused: _Refused, delivery: asyncio.Future[object]) -> None:
        letter = refused.letter
        try:
            await delivery
        except SaccadeError as error:
            _log.warning("dead letter keeps no payload", offset=letter.offset, error=str(error))
            stub = DeadLetter(
                letter.reason, letter.error, letter.topic, letter.partition, letter.offset, stub=True
            )
            await (await self._send(_Refused(refused.delivery, stub)))
        refused.delivery.ack()
