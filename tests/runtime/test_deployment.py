"""A worker at what is deployed: loads beside, takes when it may, keeps what it has where it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

import runtime.deployment
from runtime.clock import ManualClock
from runtime.deployment import DeploymentFollower, open_first
from runtime.health import DEPLOYED_PAIR, Health
from runtime.memory_store import MemoryStore
from runtime.metrics import Metrics
from runtime.waiting import set_within
from schemas.deployment import Deployment, Pair, Role, WorkerModels
from schemas.errors import ModelError

GOOD, BAD = Pair("/good", "e1", "s1", "c1"), Pair("/bad", "e2", "s2", "c2")
TIMEOUT_S = 10.0


class FakeHolder:
    """Takes a pair when it is told that it may; a bad folder cannot be loaded."""

    def __init__(self) -> None:
        self.in_use, self.loaded = "as started", ""
        self.waits = ""
        self.released: list[Sequence[WorkerModels]] = []

    def told(self) -> WorkerModels:
        return WorkerModels("w", Role.EDGE, self.in_use, "e0", "c0")

    async def load(self, pair: Pair) -> None:
        self.loaded = ""
        if pair.folder == "/bad":
            raise ModelError("model /bad: not a readable safetensors file")
        self.loaded = pair.folder

    def take(self, pair: Pair, workers: Sequence[WorkerModels]) -> str:
        assert pair.folder == self.loaded
        if not self.waits:
            self.in_use = self.loaded
        return self.waits

    def release(self, workers: Sequence[WorkerModels]) -> None:
        self.released.append(workers)


class Bench:
    """A follower on a store in memory, asked each few milliseconds."""

    def __init__(self, *more: MemoryStore) -> None:
        self.store, self.holder = MemoryStore(), FakeHolder()
        self.health, self.metrics = Health(ManualClock(), 10.0, wished=(DEPLOYED_PAIR,)), Metrics("test")
        self.follower = DeploymentFollower(
            [self.store, *more], self.holder, health=self.health, metrics=self.metrics.consumer
        )

    async def told(self, **fields: object) -> WorkerModels:
        """What the board says once these fields are so."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                for each in await self.store.read_models():
                    if each == replace(each, **fields):  # type: ignore[arg-type]
                        return each
                await asyncio.sleep(0.005)

    async def __aenter__(self) -> Bench:
        self._until = asyncio.Event()
        self._running = asyncio.create_task(self.follower.run(self._until))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._until.set()
        async with asyncio.timeout(TIMEOUT_S):
            await self._running


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.deployment, "BEAT_S", 0.01)


async def test_without_a_deployment_a_worker_tells_what_it_runs() -> None:
    async with Bench() as bench:
        assert (await bench.told()).model == "as started"


async def test_a_pair_is_loaded_and_taken_when_it_may_be() -> None:
    async with Bench() as bench:
        bench.holder.waits = "waits until every server holds the pair"
        await bench.store.deploy(Deployment(1, GOOD, Pair("")))
        told = await bench.told(trouble=bench.holder.waits)
        assert (told.model, told.generation, told.failed) == ("as started", 1, False)
        bench.holder.waits = ""
        await bench.told(model="/good", generation=1, trouble="")


async def test_a_pair_that_cannot_be_loaded_leaves_the_one_in_use_and_is_told_everywhere() -> None:
    async with Bench() as bench:
        await bench.store.deploy(Deployment(1, BAD, Pair("")))
        told = await bench.told(failed=True)
        assert (told.model, told.generation) == ("as started", 1)
        assert "/bad" in told.trouble
        async with asyncio.timeout(TIMEOUT_S):
            while len(bench.health.ready().causes) < 2:  # noqa: ASYNC110 - health tells nobody
                await asyncio.sleep(0.005)
        assert bench.health.ready().causes == ("starting", f"deployed_pair: {told.trouble}")
        assert bench.metrics.registry.get_sample_value("saccade_model_failed") == 1
        await bench.store.deploy(Deployment(2, GOOD, BAD))
        await bench.told(model="/good", generation=2, trouble="", failed=False)


async def test_while_a_board_is_away_nothing_is_taken_or_released() -> None:
    far = MemoryStore()
    far.away = True
    async with Bench(far) as bench:
        await bench.store.deploy(Deployment(1, GOOD, Pair("")))
        await bench.told(generation=1)
        assert bench.holder.in_use == "as started"
        assert bench.holder.released == []
        far.away = False
        await bench.told(model="/good")
        assert bench.holder.released


class SlowStore(MemoryStore):
    """Takes so long for what it is told; None is for ever."""

    def __init__(self, wait_s: float | None) -> None:
        super().__init__()
        self.wait_s = wait_s
        self.num_asked = 0

    async def publish_models(self, models: WorkerModels) -> None:
        self.num_asked += 1
        await set_within(asyncio.Event(), self.wait_s)
        await super().publish_models(models)


async def test_a_silent_board_does_not_hold_up_what_the_others_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime.deployment, "_ANSWER_S", 0.01)
    far = SlowStore(None)
    async with Bench(far) as bench:
        await bench.told(model="as started")
        await bench.store.deploy(Deployment(1, GOOD, Pair("")))
        await bench.told(generation=1)
        assert bench.holder.in_use == "as started", "not before it is known what all workers run"
    assert bench.holder.released == []
    assert far.num_asked == 1, "one question waits, and no heap of them"


async def test_a_board_behind_a_long_link_is_heard_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.deployment, "_ANSWER_S", 0.01)
    async with Bench(SlowStore(0.05)) as bench:
        await bench.store.deploy(Deployment(1, GOOD, Pair("")))
        await bench.told(model="/good")


async def test_a_first_board_that_does_not_say_what_is_deployed_is_told_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime.deployment, "_ANSWER_S", 0.01)
    far = MemoryStore()
    async with Bench(far) as bench:

        async def never() -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(bench.store, "deployment", never)
        bench.holder.in_use = "another"
        async with asyncio.timeout(TIMEOUT_S):
            while [each.model for each in await far.read_models()] != ["another"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)


async def test_a_worker_begins_with_the_deployed_pair_or_with_its_settings() -> None:
    store = MemoryStore()

    async def open_pair(pair: Pair) -> str:
        if pair.folder == "/bad":
            raise ModelError("no such file")
        return pair.folder or "as set"

    assert await open_first(store, Role.EDGE, open_pair) == (Pair(""), "as set")
    await store.deploy(Deployment(1, GOOD, Pair("")))
    assert await open_first(store, Role.EDGE, open_pair) == (GOOD, "/good")
    await store.deploy(Deployment(2, BAD, GOOD))
    assert await open_first(store, Role.EDGE, open_pair) == (Pair(""), "as set")
    store.away = True
    assert await open_first(store, Role.EDGE, open_pair) == (Pair(""), "as set")
