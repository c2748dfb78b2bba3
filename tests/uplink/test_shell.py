"""The uplink's shell: every record ends in one result, whatever the producer, the clock or a stop does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runtime.clock import ManualClock, SystemClock
from runtime.metrics import Metrics
from schemas.errors import StackError
from schemas.operating_point import OperatingPoint
from schemas.rates import constant
from uplink.admission import AdmissionConfig
from uplink.metrics import UplinkGauges, UplinkMetrics
from uplink.shell import Uplink
from uplink.task import Delivered, DeliveryResult, Dropped, OffloadTask

POINT = OperatingPoint(tau=0.8, delta=1.0)
KB_10 = AdmissionConfig(budget=constant(10_000.0), watch_servers=False)


class FakeSink:
    """Keeps what was handed over; the test decides about each delivery."""

    def __init__(self, *, blocked: bool = False, error: Exception | None = None) -> None:
        self.sent: asyncio.Queue[tuple[bytes, asyncio.Future[object]]] = asyncio.Queue()
        self.wire_bytes = 0
        self.partitions: list[int] = []
        self.is_ready = asyncio.Event()
        self._free = asyncio.Event()
        self._error = error
        if not blocked:
            self._free.set()

    async def send(
        self, topic: str, value: bytes, *, key: bytes | None = None, partition: Any = None
    ) -> asyncio.Future[object]:
        assert key is None
        self.partitions.append(partition(48))
        if self._error is not None:
            raise self._error
        await self._free.wait()
        delivery: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.wire_bytes += len(value) + 400
        self.sent.put_nowait((value, delivery))
        return delivery

    def wire_bytes_sent(self) -> int | None:
        return self.wire_bytes

    async def ready(self, topic: str) -> None:
        await self.is_ready.wait()


def make_task(
    name: str = "r", *, num_bytes: int = 1_000, deadline_s: float = 1e9, entropy: float = 1.0
) -> OffloadTask:
    value = name.encode().ljust(num_bytes, b".")
    return OffloadTask(
        camera="cam",
        score=entropy,
        deadline_s=deadline_s,
        num_bytes=num_bytes,
        value=value,
    )


@asynccontextmanager
async def running(uplink: Uplink) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(uplink.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        await task


async def result(future: asyncio.Future[DeliveryResult]) -> DeliveryResult:
    async with asyncio.timeout(5):
        return await future


async def test_an_acknowledged_record_is_sent() -> None:
    sink = FakeSink()
    uplink = Uplink(sink, SystemClock(), POINT)
    async with running(uplink):
        future = uplink.enqueue(make_task())
        value, delivery = await sink.sent.get()
        assert not future.done()
        delivery.set_result(None)
        assert await result(future) == Delivered(len(value))


async def test_a_record_that_the_broker_never_takes_is_given_up() -> None:
    sink = FakeSink()
    uplink = Uplink(sink, SystemClock(), POINT)
    async with running(uplink):
        future = uplink.enqueue(make_task())
        (await sink.sent.get())[1].set_exception(OSError("no"))
        assert await result(future) == Dropped("delivery_failed")


async def test_a_record_in_flight_is_given_up_at_its_deadline_and_a_late_delivery_harms_nobody() -> None:
    sink, clock = FakeSink(), SystemClock()
    uplink = Uplink(sink, clock, POINT)
    async with running(uplink):
        future = uplink.enqueue(make_task(deadline_s=clock.monotonic_s() + 0.2))
        _, delivery = await sink.sent.get()
        assert await result(future) == Dropped("expired")
        delivery.set_result(None)
        again = uplink.enqueue(make_task())
        (await sink.sent.get())[1].set_result(None)
        assert isinstance(await result(again), Delivered)


async def test_a_producer_that_blocks_does_not_keep_records_from_expiring() -> None:
    sink, clock = FakeSink(blocked=True), SystemClock()
    uplink = Uplink(sink, clock, POINT, config=KB_10)
    async with running(uplink):
        futures = [uplink.enqueue(make_task(num_bytes=5_000)) for _ in range(4)]
        futures.append(uplink.enqueue(make_task(deadline_s=clock.monotonic_s() + 0.1)))
        causes = {await result(future) for future in futures[-2:]}
        assert causes <= {Dropped("no_tokens"), Dropped("expired"), Dropped("uplink_down")}


async def test_stopping_gives_up_what_waits_and_what_flies() -> None:
    sink = FakeSink()
    uplink = Uplink(sink, SystemClock(), POINT, config=KB_10)
    async with running(uplink):
        futures = [uplink.enqueue(make_task(num_bytes=6_000)) for _ in range(4)]
        await sink.sent.get()
    assert [future.result() for future in futures] == [Dropped("stopped")] * 4
    assert await result(uplink.enqueue(make_task())) == Dropped("stopped")


async def test_cancelling_leaves_no_record_without_a_result() -> None:
    sink = FakeSink(blocked=True)
    uplink = Uplink(sink, SystemClock(), POINT)
    task = asyncio.create_task(uplink.run(asyncio.Event()))
    future = uplink.enqueue(make_task())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert future.result() == Dropped("stopped")


async def test_a_broken_cluster_stops_the_worker() -> None:
    uplink = Uplink(FakeSink(error=StackError("no topic")), SystemClock(), POINT)
    future = uplink.enqueue(make_task())
    with pytest.raises(ExceptionGroup, match="unhandled errors") as caught:
        await uplink.run(asyncio.Event())
    assert caught.group_contains(StackError)
    assert future.result() == Dropped("stopped")


async def test_a_budget_bounds_what_the_producer_holds() -> None:
    """10 kB/s: at most 10 kB are with the producer, the most uncertain ones, though it would take all."""
    sink = FakeSink()
    uplink = Uplink(sink, SystemClock(), POINT, config=KB_10)
    futures = [uplink.enqueue(make_task(num_bytes=4_000, entropy=float(idx))) for idx in range(8)]
    async with running(uplink):
        results = [await result(future) for future in futures[:2]]
        assert results == [Dropped("no_tokens")] * 2
        assert sink.sent.qsize() == 2


async def test_a_second_request_goes_by_another_producer_which_is_opened_only_then() -> None:
    """It waits in the queue, not with that producer, until the producer is connected."""
    sink, other = FakeSink(), FakeSink()
    opened: list[FakeSink] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[FakeSink]:
        opened.append(other)
        try:
            yield other
        finally:
            opened.clear()

    uplink = Uplink(sink, SystemClock(), POINT, more_sinks=[opening()])
    async with running(uplink):
        first = uplink.enqueue(make_task("first"))
        _, first_ack = await sink.sent.get()
        assert opened == []
        second = uplink.enqueue(make_task("second"))
        while not opened:  # noqa: ASYNC110 - entered by the uplink's own task
            await asyncio.sleep(0)
        assert (uplink._scheduler.admission.meter.flight.num_ready, other.sent.qsize()) == (1, 0)
        other.is_ready.set()
        _, second_ack = await other.sent.get()
        third = uplink.enqueue(make_task("third"))
        first_ack.set_result(None)
        value, third_ack = await sink.sent.get()  # both were awaited: it goes by the first that is free again
        assert value.startswith(b"third")
        second_ack.set_result(None)
        third_ack.set_result(None)
        assert [await result(each) for each in (first, second, third)] == [Delivered(1_000)] * 3
    assert opened == []


async def test_a_record_above_the_burst_is_refused_at_once() -> None:
    uplink = Uplink(FakeSink(), SystemClock(), POINT, config=KB_10)
    assert uplink.max_record_bytes == 14_000
    assert await result(uplink.enqueue(make_task(num_bytes=15_000))) == Dropped("over_burst")
    assert Uplink(FakeSink(), SystemClock(), POINT).max_record_bytes is None


async def test_the_metrics_show_what_is_in_force() -> None:
    metrics, clock = Metrics("edge"), ManualClock()
    uplink = Uplink(FakeSink(), clock, POINT, config=KB_10, gauges=UplinkGauges(metrics.group(UplinkMetrics)))
    async with running(uplink):
        future = uplink.enqueue(make_task())
        sink: Any = uplink._sinks[0]
        (await sink.sent.get())[1].set_result(None)
        await result(future)
    text = metrics.exposition().decode()
    assert "saccade_budget_bytes_per_second 10000.0" in text
    assert "saccade_affordable_bytes_per_second 10000.0" in text
    assert 'saccade_controller_state{cause="warm_up",state="startup"} 1.0' in text
    assert "saccade_uplink_send_seconds_count 1.0" in text


async def test_what_leaves_together_is_one_batch_and_the_next_one_goes_elsewhere() -> None:
    sink = FakeSink()
    uplink = Uplink(sink, SystemClock(), POINT, first_batch=47)
    async with running(uplink), asyncio.timeout(10):
        for _ in range(2):
            results = [uplink.enqueue(make_task()) for _ in range(3)]
            for delivery in [(await sink.sent.get())[1] for _ in results]:
                delivery.set_result(None)
            await asyncio.wait(results)
    first, second = sink.partitions[:3], sink.partitions[3:]
    assert len(set(first)) == len(set(second)) == 1
    assert first != second
