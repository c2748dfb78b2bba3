"""An idempotent producer that survives refusals, outages and its own library; bounded bytes in flight.

A batch that the broker refuses spoils its producer (`runtime/kafka_generation.py` says why). Therefore a `Sink` owns
one producer after the other, its **generations**: a refusal ends a generation, what is not acknowledged goes to the
next one, which has a new producer id. Order holds in each partition. A record that was under way when its generation
ended may arrive twice (at least once).
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from typing import Any, Self

from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
)

from runtime.connections import KafkaSettings
from runtime.kafka_connection import (
    CLOSE_TIMEOUT_S,
    START_TIMEOUT_S,
    Passing,
    RecordRefused,
    attempts,
    connection_arguments,
    is_about_the_record,
    opened,
    started,
    translated,
)
from runtime.kafka_generation import Generation, Outgoing, Partition, make_producer, watch_connections
from runtime.log import get_logger
from runtime.tcp_info import WireCounter
from schemas.errors import SaccadeError, StackError, TransientError

_RECORD_OVERHEAD_BYTES = 70
_log = get_logger(__name__)


class Sink:
    """Producers of one cluster, one after the other, never awaited record by record.

    Args:
        max_request_bytes: largest record; a larger one is `RecordRefused`. Keep it at or below the topics'
            `max.message.bytes`.
        max_in_flight_bytes: bound of what is handed over and not acknowledged; one record is always let in.
        linger_ms: how long a batch waits for more records.
        request_timeout_ms: instead of the cluster's own setting.
        retry_backoff_ms: likewise. After an answer such as "not enough replicas" the library sends all that is under
            way again at this pace, for as long as it lasts.
        in_background: the sink connects when the cluster lets it, in its own time; else entering it does, and
            raises `TransientError` when no broker answers and `SaccadeError` when they refuse this client.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        max_request_bytes: int,
        max_in_flight_bytes: int,
        linger_ms: int = 0,
        request_timeout_ms: int | None = None,
        retry_backoff_ms: int | None = None,
        in_background: bool = False,
    ) -> None:
        own = {"request_timeout_ms": request_timeout_ms, "retry_backoff_ms": retry_backoff_ms}
        self._kafka = kafka.model_copy(update={name: ms for name, ms in own.items() if ms is not None})
        self._max_request_bytes = max_request_bytes
        self._max_in_flight_bytes = max_in_flight_bytes
        self._linger_ms = linger_ms
        self._in_background = in_background
        self._wire: WireCounter | None = None
        # The library's producer that was made last: live, or still on its way to be.
        self._newest: Any = None
        self._in_flight_bytes = 0
        self._turn = asyncio.Lock()  # the first who waits for room gets it first
        self._settled = asyncio.Event()
        # The generation that takes new records, None while there is none; set and cleared by `_keep_producing`,
        # cleared also by `_end`.
        self._live: Generation | None = None
        self._changed = asyncio.Event()  # `_live`, or `_keeper` has ended
        self._keeper: asyncio.Task[None] | None = None
        # What a generation holds and nobody has acknowledged, oldest first.
        self._unacknowledged: dict[Outgoing, None] = {}
        self._trouble: str | None = "not connected yet"
        # Loop time since which something waits and nothing came back.
        self._oldest_wait_s: float | None = None
        self.num_accepted = 0
        self.num_refused = 0

    def __repr__(self) -> str:
        return (
            f"<Sink in_flight_bytes={self._in_flight_bytes}/{self._max_in_flight_bytes} "
            f"accepted={self.num_accepted} refused={self.num_refused} trouble={self.trouble!r}>"
        )

    async def __aenter__(self) -> Self:
        connection_arguments(self._kafka)  # what is wrong in the settings themselves is said at once
        first = None if self._in_background else await started(self._make, self._kafka, START_TIMEOUT_S)
        self._keeper = asyncio.create_task(self._keep_producing(first), name="kafka producer")
        self._keeper.add_done_callback(lambda _: self._changed.set())
        if first is not None:
            try:
                await self._live_generation()
            except BaseException:
                await self._close()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not await self.flush(CLOSE_TIMEOUT_S):
            _log.warning("gave up unacknowledged records", num_bytes=self._in_flight_bytes)
        await self._close()

    async def _close(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        for record in list(self._unacknowledged):
            closed = TransientError(f"Kafka: closed before {record.topic} acknowledged a record")
            self._settle(record, error=closed)
        if self._wire is not None:
            self._wire.close()

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed over and not yet acknowledged or refused."""
        return self._in_flight_bytes

    @property
    def trouble(self) -> str | None:
        """Why records are not accepted at present, one line; None while they are, or while there are none."""
        if self._trouble is None and self._oldest_wait_s is not None:
            waited_s = asyncio.get_running_loop().time() - self._oldest_wait_s
            if waited_s > self._kafka.request_timeout_ms / 1000:
                return f"nothing was acknowledged for {waited_s:.0f} s"
        return self._trouble

    def wire_bytes_sent(self) -> int | None:
        """Bytes that all connections sent, with headers; None where the system does not tell.

        Counts from the first call on, with what the connections then open had sent before.
        """
        if self._wire is None:
            self._wire = WireCounter(self._kafka.request_timeout_ms)
            if self._newest is not None:
                watch_connections(self._newest, self._wire)
        return self._wire.total()

    async def num_partitions(self, topic: str) -> int:
        """How many partitions the topic has; waits for a connection as long as that takes.

        Raises:
            StackError: it does not exist.
            TransientError: the sink is closed.
        """
        while True:
            generation = await self._live_generation()
            try:
                found = await generation.partitions_of(topic)
            except KafkaError as error:
                self._end(generation, error)
            else:
                if found is None:
                    raise StackError(self._missing(topic))
                return len(found)

    async def ready(self, topic: str) -> None:
        """Returns once records of the topic can leave at once; waits for the cluster and the topic until then."""
        while True:
            generation = await self._live_generation()
            try:
                await self._known_partitions(generation, topic)
                await generation.connect_to_leaders(topic)
            except KafkaError as error:
                self._end(generation, error)
            else:
                return

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: Partition = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[object]:
        """The record is handed over; waits for room, a connection and the topic, as long as it takes.

        Returns a future that is done when the broker has the record. It fails with `RecordRefused` for a
        record that never gets in, with `TransientError` when the sink was closed first; whatever else goes
        wrong passes, is shown by `trouble`, and is tried again. Cancelled, nothing was sent.
        """
        num_bytes = len(value) + len(key or b"") + _RECORD_OVERHEAD_BYTES
        num_bytes += sum(len(name) + len(text) for name, text in headers or ())
        delivery: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        record = Outgoing(topic, value, key, partition, headers, num_bytes, delivery)
        async with self._turn:
            while self._in_flight_bytes and self._in_flight_bytes + num_bytes > self._max_in_flight_bytes:
                self._settled.clear()
                await self._settled.wait()
            self._in_flight_bytes += num_bytes
        try:
            while not await self._give(await self._live_generation(), record):
                pass
        except RecordRefused as error:
            self.num_refused += 1
            self._release(num_bytes)
            delivery.set_exception(error)
        except BaseException:
            self._release(num_bytes)
            raise
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

    async def _keep_producing(self, first: Any) -> None:
        """There is a live generation whenever the cluster allows it."""
        while True:
            # A generation that got something in ends the pauses: the next one follows at once.
            async for attempt in attempts():
                with attempt:
                    producer, first = first or await self._connected(), None
                    await self._live_and_die(Generation(producer, self._end))

    async def _connected(self) -> Any:
        try:
            return await opened(self._make, self._kafka)
        except SaccadeError as error:
            self._trouble = str(error)
            raise Passing(self._trouble) from None

    async def _live_and_die(self, generation: Generation) -> None:
        """Takes over what the generation before left, then new records, until it is over.

        Raises:
            Passing: it ended before the broker had accepted anything.
        """
        try:
            if not self._unacknowledged:
                self._trouble = None
            await self._resend(generation)
            if not generation.over.done():
                self._live = generation
                self._changed.set()
                await asyncio.wait([generation.over])
        finally:
            self._live = None
            if not generation.over.done():
                generation.over.set_result(None)
            is_closing = self._keeper is None
            await generation.retire(0.0 if is_closing else self._kafka.request_timeout_ms / 1000)
        if not generation.has_accepted:
            raise Passing(self._trouble)

    async def _resend(self, generation: Generation) -> None:
        for record in list(self._unacknowledged):
            if record.delivery.done():  # its owner has cancelled it
                self._settle(record)
            elif not await self._gave(generation, record):
                return
            elif record.goes_alone:
                ends: list[asyncio.Future[Any]] = [record.delivery, generation.over]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    async def _gave(self, generation: Generation, record: Outgoing) -> bool:
        try:
            return await self._give(generation, record)
        except RecordRefused as error:
            self._settle(record, error=error)
            return True

    def _make(self) -> Any:
        self._newest = make_producer(
            self._kafka, max_request_bytes=self._max_request_bytes, linger_ms=self._linger_ms
        )
        if self._wire is not None:
            watch_connections(self._newest, self._wire)
        return self._newest

    async def _live_generation(self) -> Generation:
        while self._live is None:
            if self._keeper is None:
                raise TransientError("Kafka: the producer is closed")
            if self._keeper.done():
                self._keeper.result()  # a bug, raised to whoever sends
            self._changed.clear()
            await self._changed.wait()
        return self._live

    async def _give(self, generation: Generation, record: Outgoing) -> bool:
        """True once the generation holds the record, False when it does not take it now.

        Raises:
            RecordRefused: no generation will.
        """
        try:
            known = await self._known_partitions(generation, record.topic)
            handed = await generation.send(record, record.chosen_partition(known))
        except KafkaTimeoutError:
            return False  # the partition's batch was full for a whole timeout: nothing is handed over yet
        except MessageSizeTooLargeError as error:
            raise translated(error, f"sending to {record.topic}") from None
        except KafkaError as error:
            self._end(generation, error)
            return False
        if self._oldest_wait_s is None:
            self._oldest_wait_s = asyncio.get_running_loop().time()
        record.generation = generation
        self._unacknowledged.setdefault(record)
        handed.add_done_callback(partial(self._answered, generation, record))
        return True

    async def _known_partitions(self, generation: Generation, topic: str) -> frozenset[int]:
        """The partitions of a topic that is there; waits for it, with pauses, as long as it takes.

        Raises:
            KafkaError: the generation is over.
        """
        async for attempt in attempts():
            with attempt:
                known = await generation.partitions_of(topic)
                if known is not None:
                    return known
                is_hidden = generation.is_hidden(topic)
                self._trouble = self._hidden(topic) if is_hidden else self._missing(topic)
                raise Passing(self._trouble)
        raise AssertionError("a retry either returns or raises")

    def _missing(self, topic: str) -> str:
        where = self._kafka.bootstrap_servers
        return f"Kafka at {where} has no topic {topic!r}: saccade topics create makes it"

    def _hidden(self, topic: str) -> str:
        return f"Kafka at {self._kafka.bootstrap_servers} does not let this client see topic {topic!r}"

    def _answered(self, generation: Generation, record: Outgoing, handed: asyncio.Future[object]) -> None:
        error = None if handed.cancelled() else handed.exception()
        if record.generation is not generation or record not in self._unacknowledged:
            return
        if error is None:
            generation.has_accepted = True
            self._trouble = None
            self.num_accepted += 1
            self._settle(record, result=handed.result())
            return
        # Refused alone, it is the culprit. Else it goes alone in the next generation.
        is_refused = is_about_the_record(error)
        if is_refused and record.goes_alone:
            refused = RecordRefused(str(translated(error, f"sending to {record.topic}")))
            self._settle(record, error=refused)
        record.goes_alone = is_refused
        self._end(generation, error)

    def _end(self, generation: Generation, error: BaseException) -> None:
        """No new record goes to the generation; what it holds goes to the next one."""
        if generation.over.done():
            return
        generation.over.set_result(None)
        if self._live is generation:
            self._live = None
        self._trouble = str(translated(error, "sending"))
        _log.warning("sends anew under a new producer id", why=self._trouble)

    def _settle(self, record: Outgoing, *, result: object = None, error: SaccadeError | None = None) -> None:
        """The record is off our hands."""
        self._unacknowledged.pop(record, None)
        self._oldest_wait_s = asyncio.get_running_loop().time() if self._unacknowledged else None
        self._release(record.num_bytes)
        if isinstance(error, RecordRefused):
            self.num_refused += 1
        if record.delivery.done():
            return
        if error is not None:
            record.delivery.set_exception(error)
        else:
            record.delivery.set_result(result)

    def _release(self, num_bytes: int) -> None:
        self._in_flight_bytes -= num_bytes
        self._settled.set()
