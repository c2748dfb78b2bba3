"""The way out of an edge worker: offload tasks wait here until they may be sent, and end in one result.

The gate asks `point` for the present operating point and reports every frame to `observe`; the encoder
hands finished tasks to `enqueue`, which never blocks. `run` moves them to the Kafka sink. An offset of
`frames` may be committed once the result of its task is known, whichever it is.

This is the thin shell around the scheduler, which decides; here it is awaited and told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from runtime.channel import Channel
from runtime.waiting import set_within
from uplink.admission import AdmissionConfig
from uplink.default_curve import default_frontier
from uplink.queue import until_deadline
from uplink.scheduler import SAMPLE_S, UplinkScheduler
from uplink.task import DeliveryResult, Dropped, OffloadTask

if TYPE_CHECKING:
    from runtime.clock import Clock
    from schemas.belief_rule import BeliefRule
    from schemas.frontier import Frontier
    from schemas.operating_point import OperatingPoint
    from uplink.metrics import UplinkGauges
    from uplink.site_share import SiteShare

UNLIMITED = AdmissionConfig(budget=None, watch_servers=False, deadline_rule=until_deadline)
"""No budget: the settings' point, records wait until their deadline, only the bytes in flight are bounded."""
_MAX_HANDED = 4096


class OffloadSink(Protocol):
    """What the uplink needs of `runtime.kafka_sink.Sink`."""

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: int | Callable[[int], int] | None = None,
    ) -> asyncio.Future[object]:
        """Hand a record over, waiting while too many bytes are in flight; the future is its delivery."""
        ...

    def wire_bytes_sent(self) -> int | None:
        """Bytes that its connections have sent so far; None where the system does not tell."""
        ...

    async def ready(self, topic: str) -> None:
        """Return once records of the topic can leave at once, however long that takes."""
        ...


class Uplink:
    """Sends the tasks that the scheduler lets out; each is waited for until its deadline at most.

    A producer sends one request after the other, so a long way is filled by several: `sink` first, then as many of
    `more_sinks` as there are requests under way at once. Each of those is entered when it is wanted for the first
    time, gets records once it is connected, and is left at the end. `share` exchanges leases, reports and
    explanations with the site's Redis, `gauges` shows the metrics; both may be absent. `first_batch` is where this
    worker begins among the partitions. All state is touched from the event loop's thread only, between awaits.
    """

    def __init__(
        self,
        sink: OffloadSink,
        clock: Clock,
        point: OperatingPoint,
        *,
        topic: str = "offload",
        config: AdmissionConfig = UNLIMITED,
        frontier: Frontier | None = None,
        share: SiteShare | None = None,
        gauges: UplinkGauges | None = None,
        more_sinks: Sequence[AbstractAsyncContextManager[OffloadSink]] = (),
        first_batch: int = 0,
    ) -> None:
        self._producers: Sequence[AbstractAsyncContextManager[OffloadSink]] = [nullcontext(sink), *more_sinks]
        self._sinks: list[OffloadSink | None] = [sink] + [None] * len(more_sinks)
        self._clock = clock
        self._topic = topic
        self._is_unlimited = config.budget is None
        self._share = share
        self._gauges = gauges
        self._own = frontier
        curve = frontier or default_frontier()
        self._belief = curve.belief
        self._scheduler = UplinkScheduler(
            replace(config, num_producers=len(self._sinks)),
            curve,
            point,
            clock.monotonic_s(),
            is_fixed=self._is_unlimited,
        )
        self._changed = asyncio.Event()
        self._wanted = [asyncio.Event() for _ in self._sinks]
        self._handed: list[Channel[OffloadTask]] = [Channel(_MAX_HANDED) for _ in self._sinks]
        # What a producer is given while a request is under way goes into one partition, so that it leaves as one
        # batch: a record alone spends 61 bytes on the batch around it. An acknowledgement begins the next one.
        self._batches = [first_batch + number for number in range(len(self._producers))]
        self._is_over = False
        self._sampled_s = float("-inf")

    def __repr__(self) -> str:
        return f"<Uplink {self._scheduler!r}>"

    @property
    def belief(self) -> BeliefRule | None:
        """How a camera's frames bear on each other, where the frontier was calibrated on streams."""
        return self._belief

    def use(self, frontier: Frontier | None) -> None:
        """This curve steers from now on, and its belief holds: that of another pair; None: the one it began with."""
        frontier = frontier or self._own
        curve = frontier or default_frontier()
        self._belief = curve.belief
        self._scheduler.steer_by(curve, self._clock.monotonic_s())
        if self._share is not None:
            self._share.calibrated_for(frontier.server_hash if frontier is not None else "")

    @property
    def point(self) -> OperatingPoint:
        """The operating point that gate, selection and encoder use now."""
        return self._scheduler.tuning.point

    @property
    def max_record_bytes(self) -> int | None:
        """The largest record that can be sent under the present budget; None without a budget or a share."""
        limit = self._scheduler.admission.max_record_bytes
        return None if self._is_unlimited or limit <= 0 else int(limit)

    def observe(self, score: float, *, is_still: bool = False) -> None:
        """Note the gate's score (bits) of a frame, offloaded or not, for the forecast of the demand."""
        self._scheduler.observe(score, self._clock.monotonic_s(), is_still=is_still)

    def answered(self, score: float, *, agrees: bool) -> None:
        """Note whether a server's answer names the edge's class, for a frame of this score (bits)."""
        self._scheduler.answered(score, agrees=agrees)

    def enqueue(self, task: OffloadTask) -> asyncio.Future[DeliveryResult]:
        """Queue a task; the future, which is its `delivery`, resolves to its one result. Never blocks or raises."""
        task.delivery = asyncio.get_running_loop().create_future()
        if self._is_over:
            task.end(Dropped("stopped"))
            _tell([task])
        else:
            _tell(self._scheduler.enqueue(task, self._clock.monotonic_s()))
            self._changed.set()
        return task.delivery

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set, then give up what still waits or flies (`stopped`)."""
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._hand_over(number, producer), name=f"hand over {number}")
                    for number, producer in enumerate(self._producers)
                ]
                if self._share is not None:
                    helpers.append(group.create_task(self._share.run(self._scheduler), name="share"))
                await self._steer(stop)
                self._end()
                for helper in helpers:
                    helper.cancel()
        finally:
            self._end()

    def _end(self) -> None:
        """Nothing is taken any more, and whoever waits knows it."""
        self._is_over = True
        _tell(self._scheduler.stop())

    async def _steer(self, stop: asyncio.Event) -> None:
        """Let the scheduler decide whenever something changed, and at the times it asked for."""
        ending = asyncio.create_task(stop.wait())
        ending.add_done_callback(lambda _: self._changed.set())
        try:
            while not stop.is_set():
                self._changed.clear()
                now_s = self._clock.monotonic_s()
                self._sample(now_s)
                self._step(now_s)
                wake_s = self._scheduler.wake_s(now_s)
                await set_within(self._changed, max(wake_s - self._clock.monotonic_s(), 0.001))
        finally:
            ending.cancel()

    def _sample(self, now_s: float) -> None:
        if now_s < self._sampled_s + SAMPLE_S:
            return
        self._sampled_s = now_s
        self._scheduler.measured(self._counters(), now_s)
        if self._gauges is not None:
            self._gauges.show(self._scheduler, now_s)

    def _counters(self) -> list[float] | None:
        """What left by each producer; None where the system does not tell."""
        totals: list[float] = []
        for sink in self._sinks:
            total = 0 if sink is None else sink.wire_bytes_sent()
            if total is None:
                return None
            totals.append(total)
        return totals

    def _step(self, now_s: float) -> None:
        _tell(self._scheduler.take_overdue(now_s))
        sent, dropped = self._scheduler.step(now_s)
        _tell(dropped)
        for task in sent:
            if self._gauges is not None:
                self._gauges.queue_age(now_s - task.queued_s)
            self._handed[task.producer].put_nowait(task)
        for wanted in self._wanted[: self._scheduler.admission.num_wanted_producers]:
            wanted.set()

    async def _hand_over(self, number: int, producer: AbstractAsyncContextManager[OffloadSink]) -> None:
        """One after the other to the producer, which may take its time; decisions go on meanwhile."""
        await self._wanted[number].wait()
        async with producer as sink:
            self._sinks[number] = sink
            sink.wire_bytes_sent()  # counts from the first byte on
            if number > 0:
                await sink.ready(self._topic)
                self._scheduler.admission.meter.flight.ready(number)
                self._changed.set()
            while True:
                task = await self._handed[number].get()
                batch = self._batches[number]
                acknowledged = await sink.send(self._topic, task.value, partition=partial(_of_batch, batch))
                acknowledged.add_done_callback(partial(self._landed, number, batch, task))

    def _landed(
        self, number: int, batch: int, task: OffloadTask, acknowledged: asyncio.Future[object]
    ) -> None:
        now_s = self._clock.monotonic_s()
        if self._batches[number] == batch:
            self._batches[number] += len(self._producers)
        self._scheduler.counted(self._counters(), now_s)
        if acknowledged.cancelled() or acknowledged.exception() is not None:
            self._scheduler.failed(task, now_s)
        else:
            self._scheduler.delivered(task, now_s)
            if self._gauges is not None:
                self._gauges.send_delay(now_s - task.handed_over_s)
        _tell([task])
        self._changed.set()


def _of_batch(batch: int, num_partitions: int) -> int:
    """The partition of a batch: they take turns, so that all servers get their share."""
    return batch % num_partitions


def _tell(ended: Iterable[OffloadTask]) -> None:
    """Whoever waits for these tasks knows their results."""
    for task in ended:
        if task.delivery is not None and task.result is not None and not task.delivery.done():
            task.delivery.set_result(task.result)
