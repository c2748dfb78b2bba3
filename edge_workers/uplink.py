"""The way out of an edge worker: offload records wait here until they may be sent, and end in one outcome.

The gate asks `point` for the present operating point and reports every frame to `observe`; the encoder
hands finished records to `offer`, which never blocks. `run` moves them to the Kafka sink. An offset of
`frames` may be committed once the outcome of its record is known, whichever it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from runtime.clock import Clock
    from schemas.offload import Offload
    from schemas.operating_point import OperatingPoint

MAX_WAITING = 1024


@dataclass(frozen=True, slots=True)
class Pending:
    """An encoded offload record that wants to leave before its deadline in monotonic time."""

    record: Offload
    encoded: bytes
    partition: int
    min_entropy: float
    deadline_monotonic_s: float
    camera: str


@dataclass(frozen=True, slots=True)
class Sent:
    """The broker acknowledged the record; `num_bytes` is the size of its value."""

    num_bytes: int


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The record will not be sent (again); the frame keeps its edge label. `cause` is a short slug."""

    cause: str


Outcome = Sent | GivenUp


class OffloadSink(Protocol):
    """What the uplink needs of `runtime.kafka.Sink`."""

    async def send(
        self, topic: str, value: bytes, *, key: bytes | None = None, partition: int | None = None
    ) -> asyncio.Future[object]:
        """Hand a record over, waiting while too many bytes are in flight; the future is its delivery."""
        ...


class Uplink:
    """Sends offered records in order, each at most until its deadline.

    All state is touched from the event loop's thread only, between awaits.
    """

    def __init__(
        self, sink: OffloadSink, clock: Clock, point: OperatingPoint, *, topic: str = "offload"
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._point = point
        self._topic = topic
        self._waiting: deque[tuple[Pending, asyncio.Future[Outcome]]] = deque()
        self._arrived = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Uplink waiting={len(self._waiting)}>"

    @property
    def point(self) -> OperatingPoint:
        """The operating point that gate, selection and encoder use now."""
        return self._point

    @property
    def max_record_bytes(self) -> int | None:
        """The largest record that can ever be sent under the present budget; None without a budget."""
        return None

    def observe(self, camera: str, min_entropy: float) -> None:
        """Note the min-entropy (bits) of a frame, offloaded or not, for the forecast of the demand."""

    def offer(self, pending: Pending) -> asyncio.Future[Outcome]:
        """Queue a record; the future resolves to its one outcome. Never blocks, never raises."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= MAX_WAITING:
            outcome.set_result(GivenUp("queue_full"))
            return outcome
        self._waiting.append((pending, outcome))
        self._arrived.set()
        return outcome

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set, then give up what still waits (`stopped`)."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                if not self._waiting:
                    self._arrived.clear()
                    arrived = asyncio.ensure_future(self._arrived.wait())
                    try:
                        await asyncio.wait({arrived, stopped}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        arrived.cancel()
                    continue
                await self._send(*self._waiting.popleft())
        finally:
            stopped.cancel()
            while self._waiting:
                _resolve(self._waiting.popleft()[1], GivenUp("stopped"))

    async def _send(self, pending: Pending, outcome: asyncio.Future[Outcome]) -> None:
        if self._clock.monotonic_s() >= pending.deadline_monotonic_s:
            _resolve(outcome, GivenUp("expired"))
            return
        try:
            key = pending.camera.encode()
            delivery = await self._sink.send(
                self._topic, pending.encoded, key=key, partition=pending.partition
            )
        except BaseException:
            _resolve(outcome, GivenUp("stopped"))
            raise
        delivery.add_done_callback(lambda done: _resolve(outcome, _outcome_of(done, len(pending.encoded))))


def _outcome_of(delivery: asyncio.Future[object], num_bytes: int) -> Outcome:
    if delivery.cancelled() or delivery.exception() is not None:
        return GivenUp("delivery_failed")
    return Sent(num_bytes)


def _resolve(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)
