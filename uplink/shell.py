"""The way out of an edge worker: offload records wait here until they may be sent, and end in one outcome.

The gate asks `point` for the present operating point and reports every frame to `observe`; the encoder
hands finished records to `offer`, which never blocks. `run` moves them to the Kafka sink. An offset of
`frames` may be committed once the outcome of its record is known, whichever it is.

This is the thin shell around `uplink`: the governor decides, here it is awaited and told.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from runtime.channel import Channel
from runtime.waiting import set_within
from uplink.default_curve import default_frontier
from uplink.governor import SAMPLE_S, Drop, Governor, GovernorConfig, Send

if TYPE_CHECKING:
    from runtime.clock import Clock
    from schemas.frontier import Frontier
    from schemas.offload import Offload
    from schemas.operating_point import OperatingPoint
    from uplink.explain import Explanation
    from uplink.gauges import UplinkGauges
    from uplink.site_share import SiteShare

UNLIMITED = GovernorConfig(budget=None, watch_servers=False, fixed_point=True, max_wait_s=float("inf"))
"""No budget: the settings' point, records wait until their deadline, only the bytes in flight are bounded."""
_MAX_HANDED = 4096


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
    """Nobody waits for the record any more; the frame keeps its edge label. `cause` is a short slug.

    Causes: `expired` (its deadline came), `no_tokens` (others were more uncertain), `over_burst`,
    `queue_full`, `no_budget`, `no_lease`, `no_server`, `uplink_down`, `delivery_failed`, `stopped`.
    """

    cause: str


Outcome = Sent | GivenUp


class OffloadSink(Protocol):
    """What the uplink needs of `runtime.kafka.Sink`."""

    async def send(
        self, topic: str, value: bytes, *, key: bytes | None = None, partition: int | None = None
    ) -> asyncio.Future[object]:
        """Hand a record over, waiting while too many bytes are in flight; the future is its delivery."""
        ...

    def wire_bytes_sent(self) -> int | None:
        """Bytes that its connections have sent so far; None where the system does not tell."""
        ...

    def round_trip_s(self) -> float:
        """The path's round trip without any queue; 0 where the system does not tell."""
        ...


@dataclass(slots=True, eq=False)
class _Offer:
    """A record, its outcome, and when it was offered."""

    pending: Pending
    outcome: asyncio.Future[Outcome]
    offered_s: float


class Uplink:
    """Sends offered records as the governor decides, each at most until its deadline.

    `share` exchanges leases, reports and explanations with the site's Redis, `gauges` shows the metrics; both
    may be absent. All state is touched from the event loop's thread only, between awaits.
    """

    def __init__(
        self,
        sink: OffloadSink,
        clock: Clock,
        point: OperatingPoint,
        *,
        topic: str = "offload",
        config: GovernorConfig = UNLIMITED,
        frontier: Frontier | None = None,
        share: SiteShare | None = None,
        gauges: UplinkGauges | None = None,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._topic = topic
        self._is_unlimited = config.budget is None
        self._share = share
        self._gauges = gauges
        curve = frontier or default_frontier()
        self._governor: Governor[_Offer] = Governor(config, curve, point, clock.monotonic_s())
        self._changed = asyncio.Event()
        self._handed: Channel[Send[_Offer]] = Channel(_MAX_HANDED)
        # Records with the producer, by deadline: their outcome does not wait longer than that.
        self._flying: list[tuple[float, int, _Offer]] = []
        self._order = itertools.count()
        self._is_over = False
        self._sampled_s = float("-inf")

    def __repr__(self) -> str:
        return f"<Uplink {self._governor!r}>"

    @property
    def point(self) -> OperatingPoint:
        """The operating point that gate, selection and encoder use now."""
        return self._governor.point

    @property
    def max_record_bytes(self) -> int | None:
        """The largest record that can be sent under the present budget; None without a budget or a share."""
        limit = self._governor.max_record_bytes
        return None if self._is_unlimited or limit <= 0 else int(limit)

    def observe(self, camera: str, min_entropy: float) -> None:  # noqa: ARG002 - one forecast for all cameras
        """Note the min-entropy (bits) of a frame, offloaded or not, for the forecast of the demand."""
        self._governor.observe(min_entropy, self._clock.monotonic_s())

    def offer(self, pending: Pending) -> asyncio.Future[Outcome]:
        """Queue a record; the future resolves to its one outcome. Never blocks, never raises."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self._is_over:
            outcome.set_result(GivenUp("stopped"))
            return outcome
        now_s = self._clock.monotonic_s()
        drops = self._governor.offer(
            _Offer(pending, outcome, now_s),
            len(pending.encoded),
            pending.camera,
            pending.min_entropy,
            pending.deadline_monotonic_s,
            now_s,
        )
        self._give_up(drops)
        self._changed.set()
        return outcome

    def explain(self) -> Explanation:
        """What the uplink does now and why."""
        return self._governor.explain(self._clock.monotonic_s())

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set, then give up what still waits or flies (`stopped`)."""
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._hand_over(), name="hand over")]
                if self._share is not None:
                    helpers.append(group.create_task(self._share.run(self._governor), name="share"))
                await self._steer(stop)
                for task in helpers:
                    task.cancel()
        finally:
            self._is_over = True
            self._give_up(self._governor.stop())
            for send in self._handed.take_ready(_MAX_HANDED):
                _resolve(send.ticket.outcome, GivenUp("stopped"))
            for _, _, offer in self._flying:
                _resolve(offer.outcome, GivenUp("stopped"))

    async def _steer(self, stop: asyncio.Event) -> None:
        """Let the governor decide whenever something changed, and at the times it asked for."""
        ending = asyncio.create_task(stop.wait())
        ending.add_done_callback(lambda _: self._changed.set())
        try:
            while not stop.is_set():
                self._changed.clear()
                now_s = self._clock.monotonic_s()
                self._sample(now_s)
                self._step(now_s)
                wake_s = self._governor.wake_s(now_s)
                await set_within(self._changed, max(wake_s - self._clock.monotonic_s(), 0.001))
        finally:
            ending.cancel()

    def _sample(self, now_s: float) -> None:
        if now_s < self._sampled_s + SAMPLE_S:
            return
        self._sampled_s = now_s
        wire_bytes = self._sink.wire_bytes_sent()
        self._governor.measured(wire_bytes, now_s, round_trip_s=self._sink.round_trip_s())
        if self._gauges is not None:
            self._gauges.show(self._governor, now_s)

    def _step(self, now_s: float) -> None:
        while self._flying and (self._flying[0][0] <= now_s or self._flying[0][2].outcome.done()):
            _resolve(heapq.heappop(self._flying)[2].outcome, GivenUp("expired"))
        sends, drops = self._governor.step(now_s)
        self._give_up(drops)
        for send in sends:
            offer = send.ticket
            heapq.heappush(self._flying, (offer.pending.deadline_monotonic_s, next(self._order), offer))
            if self._gauges is not None:
                self._gauges.queue_age(now_s - offer.offered_s)
            self._handed.put_nowait(send)

    async def _hand_over(self) -> None:
        """One after the other to the producer, which may take its time; decisions go on meanwhile."""
        while True:
            send = await self._handed.get()
            pending = send.ticket.pending
            delivery = await self._sink.send(
                self._topic, pending.encoded, key=pending.camera.encode(), partition=pending.partition
            )
            delivery.add_done_callback(partial(self._landed, send))

    def _landed(self, send: Send[_Offer], delivery: asyncio.Future[object]) -> None:
        now_s = self._clock.monotonic_s()
        offer = send.ticket
        if delivery.cancelled() or delivery.exception() is not None:
            self._governor.failed(send, now_s)
            _resolve(offer.outcome, GivenUp("delivery_failed"))
        else:
            self._governor.delivered(send, offer.pending.camera, offer.pending.min_entropy, now_s)
            _resolve(offer.outcome, Sent(len(offer.pending.encoded)))
            if self._gauges is not None:
                self._gauges.send_delay(now_s - send.hand_over.at_s)
        self._changed.set()

    def _give_up(self, drops: list[Drop[_Offer]]) -> None:
        for drop in drops:
            _resolve(drop.ticket.outcome, GivenUp(drop.cause))


def _resolve(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)
