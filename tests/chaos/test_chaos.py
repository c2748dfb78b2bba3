"""A seeded script of faults over a whole pipeline; an auditor beside it says what that did.

The short form takes a handful of faults on one broker. The long one has three brokers and all faults:

    SACCADE_CHAOS_S=780 SACCADE_CHAOS_SEED=1 python -m pytest -q -s tests/chaos
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.chaos.auditor import Auditor, tell
from tests.chaos.faults import Faults, Struck
from tests.chaos.world import Scale, World, world_of

DURATION_S = float(os.environ.get("SACCADE_CHAOS_S", "0"))
SEED = int(os.environ.get("SACCADE_CHAOS_SEED", "7"))
ONLY = os.environ.get("SACCADE_CHAOS_ONLY", "")
"""Names of faults, separated by commas, to look into one of them."""
pytestmark = [pytest.mark.stack, pytest.mark.timeout(DURATION_S + 600)]
RECOVERY_S = 15.0
GIVE_UP_S = 60.0
CALM_S = 3.0
"""After a fault of one site, before the next one."""
SHORT = ("edge killed", "redis password changed", "uplink reset", "a stranger's records", "poison")


class Chaos:
    """The script, and what became of each fault."""

    def __init__(self, world: World, auditor: Auditor, seed: int) -> None:
        self._world = world
        self._auditor = auditor
        self._rng = random.Random(seed)
        self.faults = Faults(world, auditor, self._rng, outage_s=3.0 if DURATION_S else 1.0)
        self.recoveries_s: dict[str, list[float]] = defaultdict(list)
        self.findings: list[str] = []
        self._began_s = time.time()

    async def play(self, names: list[str], duration_s: float) -> None:
        """One fault after the other, in shuffled rounds until time is up; without a duration one round."""
        faults = self.faults.named()
        began_s = time.monotonic()
        while True:
            for name in self._rng.sample(names, len(names)):
                if duration_s and time.monotonic() - began_s > duration_s:
                    return
                await self._strike(name, faults[name])
            if not duration_s:
                return

    async def _strike(self, name: str, fault: Callable[[], Awaitable[Struck]]) -> None:
        began_s = time.time()
        struck = await fault()
        since_s = struck.since_s or time.time()
        for place in self._world.places.values():
            seconds = await self._auditor.recovery_s(place, since_s, GIVE_UP_S)
            self.recoveries_s[name].append(seconds)
            if struck.site not in (None, place.name):
                silence_s = self._auditor.longest_silence_s(place, began_s, since_s)
                if silence_s > RECOVERY_S:
                    self.findings.append(
                        f"{name} at {struck.site}: {place.name} silent for {silence_s:.1f} s"
                    )
        again_s = " ".join(f"{each:.1f}" for each in self.recoveries_s[name][-len(self._world.places) :])
        tell(
            f"at {began_s - self._began_s:.0f} s, {since_s - began_s:.1f} s {name} ({struck.site or 'all'}): {again_s}"
        )
        if DURATION_S and struck.site is not None:
            await asyncio.sleep(CALM_S)
        await self._supervise(name)

    async def _supervise(self, name: str) -> None:
        """What ended by itself is a finding, and is started again."""
        for worker_name, worker in self._world.workers.items():
            if not worker.running:
                self.findings.append(f"{worker_name} ended by itself ({name})")
                await worker.start()

    def slow(self) -> dict[str, float]:
        """Faults after which labels took too long, with the longest time."""
        return {name: max(each) for name, each in self.recoveries_s.items() if max(each) > RECOVERY_S}


async def test_a_script_of_faults_leaves_every_frame_with_one_state_and_no_final_label_changed(
    tiny_model: Path, tmp_path: Path
) -> None:
    scale = Scale() if DURATION_S else Scale(brokers=1, edges_a_site=1, servers=1)
    async with world_of(tmp_path / "world", tiny_model, scale) as world, asyncio.TaskGroup() as group:
        auditor = Auditor(world)
        watching = group.create_task(auditor.run())
        chaos = Chaos(world, auditor, SEED)
        for place in world.places.values():
            await auditor.recovery_s(place, 0.0, GIVE_UP_S)
        names = ONLY.split(",") if ONLY else list(chaos.faults.named() if DURATION_S else SHORT)
        tell(f"seed {SEED}: {len(names)} faults; left out: {chaos.faults.left_out}")
        await chaos.play(names, DURATION_S)
        for place in world.places.values():
            await place.producer.stop()
        await auditor.settled(60.0)
        found = [*chaos.findings, *await auditor.judge()]
        watching.cancel()
    for name, seconds in sorted(chaos.recoveries_s.items()):
        tell(f"{name}: {len(seconds)}, median {statistics.median(seconds):.1f} s, {max(seconds):.1f} at most")
    for each in found:
        tell(each)
    assert found == [], f"seed {SEED}"
    assert chaos.slow() == {}, f"seed {SEED}"
