"""The edge worker's rate with the page open in a browser, against its rate without any page.

The edge has one core for itself and more frames than it can answer; broker, Redis, the frames' producer, the page and
its browser share the other. Turns with and without the page follow each other, in an order that changes: the page's
process stands still in the turns without. A ratio is of two turns of the same round; per answered frame, and so also
of the processor time that the edge spent on each.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
from collections.abc import Awaitable, Callable

import numpy as np

from devstack.demo.processes import Worker, workers_running
from lab.benchmarks.edge import edge_worker, frames_of, tau_for
from lab.benchmarks.interleaved import CAMERAS, RecordFeed, Turn
from lab.benchmarks.machine import pin, two_cores
from lab.benchmarks.models import deit_tiny
from lab.benchmarks.recorded import mixed
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import Testbed, WorkerProcess, rate_of, testbed
from lab.benchmarks.wall_browser import WallBrowser, wall_browser

OFFLOAD_SHARE = 0.4
SETTLE_S = 3.0
FIRST_RATE = 100.0
AHEAD = 1.15
DRAIN_S = 60.0
LOOK_S = 0.1
RESAMPLES = 10_000


async def measure(arguments: argparse.Namespace) -> list[Figure]:
    """Return the ratios with their intervals."""
    chosen, shots = deit_tiny(), mixed(80, seed=0)
    tau = tau_for(chosen, [shot.crop() for shot in shots], OFFLOAD_SHARE)
    own, other = two_cores()
    pin(other)  # the browser and the page too, as they are started from here
    async with testbed("page-beside-edge") as bed:
        frames = frames_of(shots, bed.settings.topics.partitions)
        feed = RecordFeed(bed, "frames", frames, lambda number: CAMERAS[number % len(CAMERAS)].encode())
        site = ["--kafka", bed.stack.bootstrap_servers, "--redis", bed.stack.redis_url]
        page = Worker("page", bed.run_dir, ["page", *site], port_flag="--port", ready_path="/api/session")
        edge = edge_worker(bed, chosen, own, tau)
        await edge.start()
        try:
            async with workers_running([page]):
                with wall_browser() as browser:
                    rate = (await edge_turn(bed, feed, edge, FIRST_RATE, arguments.seconds)).rate

                    async def turn() -> Turn:
                        return await edge_turn(bed, feed, edge, rate, arguments.seconds)

                    pairs = [
                        await pair(page, browser, turn, is_open_first=number % 2 == 0)
                        for number in range(arguments.rounds)
                    ]
        finally:
            await edge.stop()
    return figures(pairs, f"{chosen.title}, one core, {rate:.0f} frames/s; {len(CAMERAS)} cameras in view")


async def edge_turn(bed: Testbed, feed: RecordFeed, edge: WorkerProcess, rate: float, seconds: float) -> Turn:
    """Return what the edge did of a stream that comes faster than it can answer."""
    count = max(8, int(rate * AHEAD * seconds))
    seen, cpu_s, answered = len(await bed.writes(CAMERAS)), edge.cpu_s, await frames_of_edge(edge)
    await feed.publish(count, rate * AHEAD)
    async with asyncio.timeout(DRAIN_S):
        while await frames_of_edge(edge) - answered < count:  # noqa: ASYNC110 - another process answers
            await asyncio.sleep(LOOK_S)
    cpu_s = edge.cpu_s - cpu_s
    return Turn(rate_of((await bed.writes(CAMERAS))[seen:]), cpu_s / count)


async def frames_of_edge(edge: WorkerProcess) -> float:
    """Return how many frames it has answered."""
    return (await edge.metrics()).total("frames_total")


async def pair(
    page: Worker, browser: WallBrowser, turn: Callable[[], Awaitable[Turn]], *, is_open_first: bool
) -> tuple[Turn, Turn]:
    """Return a turn with the page open and one without any page."""
    found = {}
    for is_open in (is_open_first, not is_open_first):
        if is_open:
            await asyncio.to_thread(browser.open, f"http://127.0.0.1:{page.port}/")
        else:
            browser.close()
            os.kill(page.child.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(SETTLE_S)
            found[is_open] = await turn()
        finally:
            if not is_open:
                os.kill(page.child.pid, signal.SIGCONT)
    return found[True], found[False]


def figures(pairs: list[tuple[Turn, Turn]], note: str) -> list[Figure]:
    """Return the ratios of rates and of processor times, in per cent of the turn without a page."""
    rates = np.array([with_page.rate / without.rate for with_page, without in pairs])
    costs = np.array([with_page.cpu_s / without.cpu_s for with_page, without in pairs])
    return [
        Figure(
            "edge's rate with the page open",
            100 * statistics.median(rates),
            "%",
            98,
            note=f"{interval(rates)}; {note}",
        ),
        Figure(
            "edge's processor time a frame with the page open",
            100 * statistics.median(costs),
            "%",
            note=interval(costs),
        ),
    ]


def interval(ratios: np.ndarray) -> str:
    """Return the middle 95 % of medians of as many rounds, drawn anew."""
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f} %, {len(ratios)} rounds"


def main() -> None:
    """Measure, print and write."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments)), arguments.json)


if __name__ == "__main__":
    main()
