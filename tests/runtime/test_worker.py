"""A worker's life on a group in memory: order of its end, a stop at every moment, what is away at the start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from runtime.channel import Channel
from runtime.clock import ManualClock
from runtime.dead_letters import DeadLetters
from runtime.health import GROUP_JOINED, Health, Life
from runtime.heartbeat import Heartbeat
from runtime.intake import Delivery, Intake
from runtime.lifecycle import StoppedEarly
from runtime.memory_kafka import MemoryBroker, MemorySink, MemorySource
from runtime.metrics import Metrics
from runtime.worker import GroupMember, run_worker
from schemas.errors import SaccadeError, TransientError


class Copier:
    """Copies records from `in` to `out`, one stage behind its reader."""

    def __init__(self, broker: MemoryBroker, source: MemorySource, health: Health) -> None:
        self.broker = broker
        self.intake = Intake(source, forget=lambda _: None)
        self.letters = DeadLetters(MemorySink(broker))
        self.heartbeat = Heartbeat(self.intake, source, "in", health=health, metrics=Metrics("test").consumer)
        self.channel: Channel[Delivery] = Channel(100)
        self.story: list[str] = []
        self.fails = False

    async def read(self) -> None:
        while True:
            for delivery in await self.intake.poll(10, 1.0):
                if self.fails:
                    delivery.release()
                    raise SaccadeError("the reader broke")
                await self.channel.put(delivery)

    def end(self) -> None:
        self.story.append("end")
        self.channel.close()

    def stages(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        return {"copy": self._copy()}

    def beside(self, settled: asyncio.Event) -> Mapping[str, Coroutine[Any, Any, None]]:
        return {"beside": self._beside(settled)}

    async def settle(self) -> None:
        self.story.append("settle")

    async def _copy(self) -> None:
        async for delivery in self.channel:
            self.broker.append("out", 0, delivery.record.value)
            delivery.ack()
        self.story.append("copied")

    async def _beside(self, settled: asyncio.Event) -> None:
        await settled.wait()
        self.story.append("settled")


class Bench:
    """One worker, what it is made of, and the broker that it works on."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(num_partitions=2)
        self.stop = asyncio.Event()
        self.health = Health(ManualClock(), 30.0, [GROUP_JOINED])
        self.source: Any = MemorySource(self.broker, ["in"], group_id="g")
        self.closed = False
        self.copier = Copier(self.broker, self.source, self.health)

    async def connect(self, stack: AsyncExitStack) -> tuple[GroupMember, Copier]:
        stack.callback(lambda: setattr(self, "closed", True))
        return self.source, self.copier

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        work = run_worker(self.connect, self.stop, health=self.health, commit_interval_s=60.0)
        task = asyncio.create_task(work)
        try:
            yield task
        finally:
            self.stop.set()
            await asyncio.wait([task])

    async def copied(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len(self.broker.records("out")) < number:  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0)


async def test_what_has_begun_is_finished_in_order_and_committed_before_the_group_is_left() -> None:
    bench = Bench()
    for number in range(20):
        bench.broker.append("in", number % 2, str(number).encode())
    async with bench.running() as task:
        await bench.copied(20)
        assert bench.health.life is Life.RUNNING
        assert bench.broker.committed["g"] == {}
        bench.stop.set()
        await task
    assert bench.copier.story == ["end", "copied", "settle", "settled"]
    assert bench.broker.committed["g"] == {("in", 0): 10, ("in", 1): 10}
    assert (bench.health.life, bench.closed, bench.source.joined) == (Life.STOPPING, True, False)


async def test_a_stop_before_the_work_began_ends_at_once() -> None:
    bench = Bench()
    joining = asyncio.Event()

    async def never(self: object) -> None:
        joining.set()
        await asyncio.Event().wait()

    bench.source = type("Silent", (), {"__aenter__": never, "__aexit__": lambda *_: never(None)})()
    async with bench.running() as task:
        await joining.wait()
        bench.stop.set()
        with pytest.raises(StoppedEarly):
            await task
    assert bench.closed
    assert bench.copier.story == []


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_group_that_does_not_answer_is_asked_again_and_health_tells(
    is_silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.worker.JOIN_TIMEOUT_S", 0.01)
    monkeypatch.setattr("runtime.worker._WAIT_MIN_S", 0.001)
    bench = Bench()
    causes = []

    class Slow(MemorySource):
        async def __aenter__(self) -> Slow:
            causes.append(bench.health.ready().causes)
            if len(causes) < 3:
                if is_silent:
                    await asyncio.Event().wait()
                raise TransientError("no broker here")
            await super().__aenter__()
            return self

    bench.source = Slow(bench.broker, ["in"], group_id="g")
    bench.copier = Copier(bench.broker, bench.source, bench.health)
    bench.broker.append("in", 0, b"x")
    async with bench.running():
        await bench.copied(1)
    why = "no answer within 0 s" if is_silent else "no broker here"
    assert causes[1:] == [("starting", f"group_joined: {why}")] * 2


async def test_a_stage_that_fails_ends_the_worker_with_its_error_and_commits_what_is_finished() -> None:
    bench = Bench()
    bench.broker.append("in", 0, b"x")
    async with bench.running() as task:
        await bench.copied(1)
        bench.copier.fails = True
        bench.broker.append("in", 0, b"y")
        with pytest.raises(ExceptionGroup) as failure:
            await task
    assert failure.group_contains(SaccadeError, match="the reader broke")
    assert bench.broker.committed["g"] == {("in", 0): 1}


async def test_a_reader_that_is_cancelled_from_inside_is_no_orderly_end() -> None:
    bench = Bench()
    bench.broker.append("in", 0, b"x")
    lost: asyncio.Future[list[Delivery]] = asyncio.get_running_loop().create_future()

    async def poll(*_: object) -> list[Delivery]:
        return await lost

    async with bench.running() as task:
        await bench.copied(1)
        bench.copier.intake.poll = poll  # type: ignore[method-assign, assignment]
        bench.broker.append("in", 0, b"y")
        await bench.copied(2)
        lost.cancel()
        with pytest.raises(ExceptionGroup) as failure:
            await task
    assert failure.group_contains(RuntimeError, match="cancelled")
    assert bench.broker.committed["g"] == {("in", 0): 2}


async def test_cancelled_it_commits_what_is_finished_and_leaves_the_rest_to_be_read_again() -> None:
    bench = Bench()
    bench.broker.append("in", 0, b"x")
    async with bench.running() as task:
        await bench.copied(1)
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert bench.broker.committed["g"] == {("in", 0): 1}
    assert not bench.source.joined
