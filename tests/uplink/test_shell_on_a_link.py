"""The uplink over a real Kafka producer and a rate-limited relay: the cap is judged by the relay's counter."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from devstack.kafka_broker import ExtraListener
from devstack.link.judge import mean_rate, windows_over_cap
from devstack.link.relay import Relay, relay_to
from devstack.settings import load_settings
from devstack.stack import embedded_stack
from lab.simulation.recording import synthetic
from runtime.clock import SystemClock
from runtime.kafka_sink import Sink
from schemas.operating_point import OperatingPoint
from schemas.rates import RateSchedule
from uplink.admission import AdmissionConfig
from uplink.default_curve import default_frontier
from uplink.shell import Uplink
from uplink.task import Delivered, DeliveryResult, OffloadTask

KBIT = 125.0
FPS = 20.0
STEPS = RateSchedule((0.0, 10.0, 16.0, 22.0), (400 * KBIT, 100 * KBIT, 0.0, 400 * KBIT))
END_S = 32.0

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


async def frames(uplink: Uplink, begin_s: float) -> list[tuple[float, asyncio.Future[DeliveryResult]]]:
    """Recorded frames at a steady pace until the end; returns when each was offered, and its result."""
    loop, clock = asyncio.get_running_loop(), SystemClock()
    recording = synthetic(default_frontier(), frames=1_000, frames_per_s=FPS, seed=1)
    order = np.random.default_rng(1).permutation(1_000).tolist()
    offered = []
    for idx in range(int(END_S * FPS)):
        place = order[idx]
        await asyncio.sleep(max(begin_s + idx / FPS - loop.time(), 0.0))
        entropy = float(recording.min_entropy[place])
        uplink.observe(entropy)
        if entropy >= uplink.point.tau:
            value = os.urandom(int(recording.num_bytes[place, uplink._scheduler.tuning.in_use.family]))
            task = OffloadTask(
                camera=f"cam{idx % 4}",
                score=entropy,
                deadline_s=clock.monotonic_s() + 2.0,
                num_bytes=len(value),
                value=value,
            )
            offered.append((loop.time() - begin_s, uplink.enqueue(task)))
    return offered


async def play(relay: Relay) -> tuple[list[tuple[float, float]], list[tuple[float, DeliveryResult]], int]:
    """The counter's samples, the results by time of offer, and what the worker measured itself."""
    settings = load_settings(None, {"kafka": {"bootstrap_servers": relay.address}}, {})
    async with Sink(
        settings.kafka, max_request_bytes=1 << 20, max_in_flight_bytes=4 << 20, request_timeout_ms=3_000
    ) as sink:
        begin_s = asyncio.get_running_loop().time()
        room = tuple(1.2 * rate for rate in STEPS.rates_bytes_per_s)
        relay.follow(RateSchedule(STEPS.starts_s, room))
        config = AdmissionConfig(budget=STEPS, watch_servers=False)
        uplink = Uplink(sink, SystemClock(), OperatingPoint(tau=0.8, delta=1.0), config=config)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(uplink.run(stop))
            offered = await frames(uplink, begin_s)
            stop.set()
        measured = sink.wire_bytes_sent()
        assert measured is not None
        samples = [(at_s - begin_s, total) for at_s, total in relay.counter.samples if at_s >= begin_s]
        return samples, [(at_s, future.result()) for at_s, future in offered], measured


async def test_the_relay_never_sees_more_than_the_budget_and_one_burst(tmp_path: Path) -> None:
    """400 -> 100 -> 0 (a silent link) -> 400 kbit/s: capped, used, recovered, every record with its result."""
    port: list[int] = []
    async with relay_to(lambda: ("127.0.0.1", port[0])) as relay:
        host, relay_port = relay.address.split(":")
        listener = ExtraListener(host, int(relay_port))
        async with embedded_stack(tmp_path, extra_listener=listener) as stack:
            port.append(int(stack.extra_bootstrap_servers.split(":")[1]))
            samples, results, measured = await play(relay)
    assert windows_over_cap(samples, STEPS, 0.5 * 400 * KBIT) == 0
    assert mean_rate(samples, 12, 16) > 0.6 * 100 * KBIT
    assert mean_rate(samples, 26, 32) > 0.6 * 400 * KBIT
    assert mean_rate(samples, 18, 22) < 0.05 * 400 * KBIT
    assert measured == pytest.approx(samples[-1][1], rel=0.05)
    after = [at_s for at_s, result in results if at_s > 22 and isinstance(result, Delivered)]
    assert min(after) < 27.0
