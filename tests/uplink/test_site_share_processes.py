"""Three edge workers' uplinks as processes on one real Redis: what they send together, through every fault."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from devstack.child import GuardedChild
from devstack.link.judge import mean_rate, windows_over_cap
from devstack.link.relay import relay_to
from devstack.locks import Locks
from devstack.redis_server import RedisServer
from schemas.rates import constant
from uplink.allowance import burst_bytes

BUDGET = 60_000.0
FPS = {"a": 30.0, "b": 40.0, "c": 50.0}
"""All want more than a third of the budget."""
LEASE_AND_GRACE_S = 4.0
SETTLE_S = 3.0
PROGRAM = Path(__file__).with_name("sharing_process.py")

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


class Meter:
    """What came from each worker: (seconds, total bytes), and of all together."""

    def __init__(self) -> None:
        self.samples: dict[str, list[tuple[float, float]]] = {name: [(0.0, 0.0)] for name in FPS}
        self.together: list[tuple[float, float]] = [(0.0, 0.0)]

    async def count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(1 << 16):
                for samples in (self.samples[chr(data[0])], self.together):
                    samples.append((loop.time(), samples[-1][1] + len(data)))
        finally:
            writer.close()

    def shares(self, from_s: float, to_s: float) -> dict[str, float]:
        """Each worker's mean rate over the budget."""
        return {name: mean_rate(samples, from_s, to_s) / BUDGET for name, samples in self.samples.items()}


@asynccontextmanager
async def processes(
    folder: Path, meter: Meter, addresses: dict[str, str]
) -> AsyncIterator[dict[str, GuardedChild]]:
    """A running process for each name, on the Redis at its address."""
    path = folder / "meter.sock"
    async with AsyncExitStack() as stack:
        server = await asyncio.start_unix_server(meter.count, path)
        stack.callback(server.close)
        children = {}
        for name, url in addresses.items():
            command = [sys.executable, str(PROGRAM), name, url, str(path), str(BUDGET), str(FPS[name])]
            child = GuardedChild(name, command, folder / f"{name}.log", grace_s=5.0, held_fds=())
            child.start()
            stack.push_async_callback(child.kill)
            children[name] = child
        async with asyncio.timeout(30):
            while any(len(samples) < 2 for samples in meter.samples.values()):  # noqa: ASYNC110 - processes start
                await asyncio.sleep(0.05)
        yield children


async def test_the_sum_of_bytes_stays_under_the_cap_through_every_fault(tmp_path: Path) -> None:
    """Fair at first; one is stopped, one is cut off from Redis, Redis is killed; fair again after each."""
    loop, meter, locks = asyncio.get_running_loop(), Meter(), Locks()
    redis = RedisServer(tmp_path, tmp_path / "data", locks)
    async with AsyncExitStack() as stack:
        stack.callback(locks.release)
        await redis.start()
        stack.push_async_callback(redis.stop)
        relay = await stack.enter_async_context(relay_to(lambda: ("127.0.0.1", redis.port)))
        addresses = {"a": redis.url, "b": f"redis://{relay.address}/0", "c": redis.url}
        children = await stack.enter_async_context(processes(tmp_path, meter, addresses))
        await asyncio.sleep(SETTLE_S)
        fair_s = loop.time()
        await asyncio.sleep(5.0)
        stopped_s = loop.time()
        os.kill(children["a"].pid, signal.SIGSTOP)
        await asyncio.sleep(LEASE_AND_GRACE_S + SETTLE_S)
        os.kill(children["a"].pid, signal.SIGCONT)
        await asyncio.sleep(SETTLE_S)
        cut_s = loop.time()
        relay.follow(constant(0.0))
        await asyncio.sleep(LEASE_AND_GRACE_S + SETTLE_S)
        relay.follow(None)
        await asyncio.sleep(SETTLE_S)
        await redis.kill()
        await redis.start()
        await asyncio.sleep(LEASE_AND_GRACE_S + SETTLE_S)
        again_s = loop.time()
        await asyncio.sleep(4.0)
        end_s = loop.time()
    begin_s = meter.together[1][0]
    together = [(at_s - begin_s, total) for at_s, total in meter.together[1:]]
    assert windows_over_cap(together, constant(BUDGET), burst_bytes(BUDGET)) == 0
    for name, share in meter.shares(fair_s, stopped_s).items():
        assert share == pytest.approx(1 / 3, rel=0.05), name
    left = meter.shares(stopped_s + LEASE_AND_GRACE_S + 1.0, stopped_s + LEASE_AND_GRACE_S + SETTLE_S)
    assert left == pytest.approx({"a": 0.0, "b": 0.5, "c": 0.5}, abs=0.06)
    left = meter.shares(cut_s + LEASE_AND_GRACE_S + 1.0, cut_s + LEASE_AND_GRACE_S + SETTLE_S)
    assert left == pytest.approx({"a": 0.5, "b": 0.0, "c": 0.5}, abs=0.06)
    assert meter.shares(again_s, end_s) == pytest.approx(dict.fromkeys(FPS, 1 / 3), rel=0.1)
