"""What one site's faults do to the time that another site's frames wait for the server's answer.

Two sites, one pair of servers, a steady load far below what they can. Each fault strikes the first site for some
seconds; just before it, both were well for as long. The struck site and the script have one core, all else another:
sites have machines of their own, and one that catches up must not look like a slow server. It takes minutes, and a
machine with nothing else to do:

    SACCADE_NEIGHBOURS_S=400 python -m pytest -q -s tests/chaos/test_neighbours.py
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.chaos.auditor import Auditor, tell
from tests.chaos.faults import Faults, Struck
from tests.chaos.world import Scale, World, stopped_for, world_of

DURATION_S = float(os.environ.get("SACCADE_NEIGHBOURS_S", "0"))
WINDOW_S: Final = 5.0
ANSWERED_S: Final = 1.0
"""Between a calm and the fault after it, so that what came in calm is answered in calm."""
SETTLE_S: Final = 3.0
"""After a fault, before the next calm."""
WARM_UP_S: Final = 30.0
GIVE_UP_S: Final = 30.0
"""No wait of the script is longer."""
OUTAGES: Final = {
    "redis out of memory": 1,
    "redis password changed": 1,
    "uplink silent": 3,
    "site cut off": 4,
}
"""Faults that last, with how many times `Faults.outage_s` they do."""
REPEATED: Final = ("uplink reset", "poison", "redis killed")
"""Those that are over at once and come each second."""
MAX_CHANGE: Final = 0.2

Latencies = NDArray[np.float64]
Window = tuple[float, float]
Pairs = Sequence[tuple[Latencies, Latencies]]
"""Seconds that answers took in a calm window and in the one after it, with a fault elsewhere."""


def p99_ratio(pairs: Pairs) -> float:
    """The 99th percentile with a fault elsewhere by that in calm."""
    calm, struck = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    return float(np.quantile(struck, 0.99) / np.quantile(calm, 0.99))


def interval(pairs: Pairs, num_samples: int = 2_000) -> tuple[float, float]:
    """95 % of `p99_ratio` over pairs of windows drawn again: answers of one window depend on each other."""
    rng = np.random.default_rng(0)
    drawn = [[pairs[i] for i in rng.integers(0, len(pairs), len(pairs))] for _ in range(num_samples)]
    low, high = np.quantile([p99_ratio(each) for each in drawn], [0.025, 0.975])
    return float(low), float(high)


def test_the_interval_holds_what_is_true_and_tells_a_slower_neighbour() -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.gamma(4.0, 0.02, 150), rng.gamma(4.0, 0.02, 150)) for _ in range(16)]
    low, high = interval(pairs)
    assert low < 1.0 < high < 1.0 + 2 * MAX_CHANGE
    low, high = interval([(calm, 1.5 * struck) for calm, struck in pairs])
    assert low > 1.0 + MAX_CHANGE


def run_on(cores: set[int], pids: Iterable[int]) -> None:
    """The processes run on these cores, with all the threads that they have and will have."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def cores_apart() -> Iterator[tuple[int, int] | None]:
    """Two cores, this process and what it starts on the second; None where there are not two, or nobody can choose."""
    if not hasattr(os, "sched_getaffinity") or len(before := os.sched_getaffinity(0)) < 2:
        yield None
        return
    first, second, *_ = sorted(before)
    run_on({second}, [os.getpid()])
    try:
        yield first, second
    finally:
        run_on(before, [os.getpid()])


class Neighbours:
    """The first site is struck again and again; the second one is looked at."""

    def __init__(self, world: World, auditor: Auditor) -> None:
        self._world = world
        self._auditor = auditor
        self._struck, self._other = world.places.values()
        self._faults = Faults(world, auditor, random.Random(1), sites=(self._struck.name,))
        named = self._faults.named()
        self.strikes: dict[str, Callable[[], Awaitable[None]]] = {
            "edge killed": self._without_an_edge,
            "edges behind": self._edges_behind,
            "redis stood still": lambda: stopped_for([self._struck.redis.pid], WINDOW_S),
        }
        self.strikes |= {name: self._lasting(named[name], times) for name, times in OUTAGES.items()}
        self.strikes |= {name: self._again_and_again(named[name]) for name in REPEATED}
        self._windows: list[tuple[str, Window, Window]] = []

    async def play(self, duration_s: float) -> None:
        """Each fault as often as there is time for whole rounds."""
        began_s, round_s = time.monotonic(), 0.0
        while time.monotonic() - began_s + round_s < duration_s:
            round_began_s = time.monotonic()
            for name, strike in self.strikes.items():
                await self._pair(name, strike)
            round_s = time.monotonic() - round_began_s

    async def _pair(self, name: str, strike: Callable[[], Awaitable[None]]) -> None:
        calm_s = time.time()
        await asyncio.sleep(WINDOW_S)
        calm = (calm_s, time.time())
        await asyncio.sleep(ANSWERED_S)
        struck_s = time.time()
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await strike()
        except TimeoutError:
            pytest.fail(f"{name} came to no end within {GIVE_UP_S:.0f} s")
        again_s = await self._auditor.recovery_s(self._struck, time.time(), GIVE_UP_S)
        over_s = time.time()
        self._windows.append((name, calm, (struck_s, over_s)))
        await asyncio.sleep(SETTLE_S)
        latencies = [self._latencies(window) for window in (calm, (struck_s, over_s))]
        p99s = " and ".join(f"{1000 * np.quantile(each, 0.99):.0f}" for each in latencies if len(each))
        tell(
            f"{name}: {over_s - struck_s:.1f} s, of them {again_s:.1f} until labels came again: p99 {p99s} ms"
        )

    def _lasting(self, fault: Callable[[], Awaitable[Struck]], times: int) -> Callable[[], Awaitable[None]]:
        async def strike() -> None:
            self._faults.outage_s = WINDOW_S / times
            await fault()

        return strike

    def _again_and_again(self, fault: Callable[[], Awaitable[Struck]]) -> Callable[[], Awaitable[None]]:
        async def strike() -> None:
            until_s = time.monotonic() + WINDOW_S
            while time.monotonic() < until_s:
                await fault()
                await asyncio.sleep(1.0)

        return strike

    async def _without_an_edge(self) -> None:
        edge = self._struck.edges[0]
        await edge.kill()
        await asyncio.sleep(WINDOW_S)
        await edge.start()

    async def _edges_behind(self) -> None:
        """Then they have to do at once what came meanwhile."""
        await stopped_for([edge.pid for edge in self._struck.edges], WINDOW_S / 2)
        await asyncio.sleep(WINDOW_S / 2)

    def pairs(self, only: str = "") -> Pairs:
        """What was seen of the second site, by default with all faults of the first."""
        return [
            (self._latencies(calm), self._latencies(struck))
            for name, calm, struck in self._windows
            if only in ("", name)
        ]

    def _latencies(self, window: Window) -> Latencies:
        return np.array(self._auditor.server_latencies_s(self._other, *window))

    def tell(self) -> None:
        """One line for each fault, and one for all."""
        for name in ["", *self.strikes]:
            pairs = self.pairs(name)
            calm, struck = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
            quantiles = [1000 * np.quantile(each, (0.5, 0.99)) for each in (calm, struck)]
            low, high = interval(pairs)
            tell(
                f"{name or 'all faults'} ({len(pairs)}): p50 {quantiles[0][0]:.0f} and {quantiles[1][0]:.0f} ms, "
                f"p99 {quantiles[0][1]:.0f} ms in calm ({len(calm)}) and {quantiles[1][1]:.0f} ms with a fault "
                f"elsewhere ({len(struck)}): {p99_ratio(pairs) - 1:+.0%} ({low - 1:+.0%} to {high - 1:+.0%})"
            )


@pytest.mark.stack
@pytest.mark.timeout(DURATION_S + 300)
@pytest.mark.skipif(not DURATION_S, reason="takes minutes on a quiet machine: SACCADE_NEIGHBOURS_S=400")
async def test_one_sites_faults_leave_another_sites_answers_as_fast(tiny_model: Path, tmp_path: Path) -> None:
    scale = Scale(brokers=1, fps=8.0, is_budgeted=False, has_small_disks=False, direct=("south",))
    with cores_apart() as cores:
        await _play(tmp_path / "world", tiny_model, scale, cores)


async def _play(folder: Path, tiny_model: Path, scale: Scale, cores: tuple[int, int] | None) -> None:
    """What is shared and the site that is looked at have a core, as sites have machines of their own."""
    async with world_of(folder, tiny_model, scale) as world, asyncio.TaskGroup() as group:
        if cores is not None:
            looked_at = list(world.places.values())[1]
            workers = [*world.servers, *looked_at.edges, looked_at.producer]
            others = [*(broker.pid for broker in world.brokers), looked_at.redis.pid]
            run_on({cores[0]}, [*others, *(worker.pid for worker in workers)])
        auditor = Auditor(world)
        watching = group.create_task(auditor.run())
        neighbours = Neighbours(world, auditor)
        for place in world.places.values():
            await auditor.recovery_s(place, 0.0, GIVE_UP_S)
        await asyncio.sleep(WARM_UP_S)
        await neighbours.play(DURATION_S)
        watching.cancel()
        await asyncio.wait([watching], timeout=GIVE_UP_S)
        assert watching.done(), "the auditor came to no end"
    neighbours.tell()
    _, high = interval(neighbours.pairs())
    assert high < 1 + MAX_CHANGE
