"""Refused records go to the dead-letter topic of their source, with the reason; then their offset is free.

Used by edge and server workers. Order: first the letter is acknowledged, then the offset may be committed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

from runtime.channel import Channel, ChannelClosed
from runtime.intake import Delivery
from runtime.kafka_connection import Record, RecordRefused
from runtime.log import get_logger
from schemas.dead_letter import DeadLetter, replays_of
from schemas.topics import dead_topic

_MAX_WAITING_LETTERS = 256
_MAX_WAITING_BYTES = 32 * 1024 * 1024
_PATIENCE_S = 10.0
_WRITE_PATIENCE_S = 60.0
"""More than an ordinary outage of a broker; until then their records hold back the offsets of their partitions."""
_log = get_logger(__name__)


class LetterSink(Protocol):
    """What dead letters need of `runtime.kafka_sink.Sink`."""

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
    """Writes refused records; `run` must be running, and ends after `close` with everything written.

    A record that nobody can read does not hold up those that can be read: where its letter cannot be written for
    long, it ends as a line in the log.
    """

    def __init__(
        self, sink: LetterSink, patience_s: float = _PATIENCE_S, write_patience_s: float = _WRITE_PATIENCE_S
    ) -> None:
        self._sink = sink
        self._patience_s = patience_s
        self._write_patience_s = write_patience_s
        self._is_stuck = False
        self._waiting: Channel[_Refused] = Channel(
            _MAX_WAITING_LETTERS, _MAX_WAITING_BYTES, lambda refused: refused.num_bytes
        )

    def close(self) -> None:
        """No more letters come."""
        self._waiting.close()

    async def put(self, delivery: Delivery, reason: str, error: str) -> None:
        """The record waits to be written and is acknowledged once the broker has it.

        Waits while many do, but not for long. A record that stands for what no client can parse says so itself.
        """
        record = delivery.record
        if record.unreadable is not None:
            reason, error = "unreadable", record.unreadable
        letter = DeadLetter(
            reason,
            error,
            record.topic,
            record.partition,
            record.offset,
            stub=record.unreadable is not None and not record.value,
            replays=replays_of(record.headers),
        )
        refused = _Refused(delivery, letter)
        try:
            async with asyncio.timeout(0 if self._is_stuck else self._patience_s):
                await self._waiting.put(refused)
            self._is_stuck = False
        except TimeoutError:
            self._is_stuck = True
            _lose(refused, "letters wait for too long")

    async def run(self) -> None:
        """Writes letters until `close`.

        Raises:
            TransientError: the sink was closed before a letter was acknowledged; its record will come again.
        """
        while True:
            try:
                batch = await self._waiting.get_batch(_MAX_WAITING_LETTERS)
            except ChannelClosed:
                return
            unsettled = dict.fromkeys(batch)
            try:
                async with asyncio.timeout(self._write_patience_s):
                    sent = [(each, await self._send(each.delivery.record, each.letter)) for each in batch]
                    for refused, delivery in sent:
                        await self._settle(refused, delivery)
                        del unsettled[refused]
            except TimeoutError:
                for refused in unsettled:
                    _lose(refused, f"not written within {self._write_patience_s:g} s")

    async def _send(self, record: Record, letter: DeadLetter) -> asyncio.Future[object]:
        # A stub is what is small for sure: a key may be as large as the topic allows.
        value, key = (b"", None) if letter.stub else (record.value, record.key)
        return await self._sink.send(dead_topic(record.topic), value, key=key, headers=letter.headers())

    async def _settle(self, refused: _Refused, delivery: asyncio.Future[object]) -> None:
        letter = refused.letter
        try:
            try:
                await delivery
            except RecordRefused as error:
                _log.warning("dead letter keeps no payload", offset=letter.offset, error=str(error))
                await (await self._send(refused.delivery.record, replace(letter, stub=True)))
        except RecordRefused as error:
            _lose(refused, str(error))
            return
        refused.delivery.ack()


def _lose(refused: _Refused, why: str) -> None:
    """The record is done with; this line is all that is left of it."""
    letter = refused.letter
    _log.error(
        "a refused record leaves no dead letter",
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        reason=letter.reason,
        error=letter.error[:200],
        why=why,
    )
    refused.delivery.ack()
