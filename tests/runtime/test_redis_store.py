"""What only a real Redis can show: scripts, expiry, full memory, outages. The rest is in `test_store_contract`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio

from devstack import EmbeddedStack
from devstack.locks import Locks
from devstack.redis_server import RedisServer
from runtime.connections import RedisSettings
from runtime.redis_connection import FROM_START
from runtime.redis_reader import SiteReader
from runtime.redis_store import RedisStore
from schemas import redis_keys
from schemas.answer import ServerAnswer
from schemas.errors import SaccadeError, TransientError
from schemas.label import AnswerSource, Label, LabelState

pytestmark = pytest.mark.stack


def make_label(camera: str, seq: int = 1, **changes: object) -> Label:
    label = Label(
        site="",
        camera=camera,
        seq=seq,
        state=LabelState.FINAL,
        source=AnswerSource.EDGE,
        label=3,
        name="stop sign",
        confidence=0.625,
        captured_ns=10,
        labelled_ns=20,
    )
    return replace(label, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def store(stack: EmbeddedStack) -> AsyncIterator[RedisStore]:
    async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
        yield store


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    locks = Locks()
    server = RedisServer(tmp_path, tmp_path / "data", locks, is_open=True)
    await server.start()
    yield server
    await server.kill()
    locks.release()


async def test_concurrent_writers_leave_one_provisional_and_one_final_in_the_stream(
    stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")

    async def write(worker: int) -> None:
        async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
            for seq in range(20):
                at = 100 * worker + 1
                await store.put([make_label(camera, seq, state=LabelState.PROVISIONAL, labelled_ns=at)])
                await store.put(
                    [make_label(camera, seq, source=AnswerSource.SERVER, label=worker, labelled_ns=at)]
                )

    async with asyncio.TaskGroup() as group:
        for worker in range(4):
            group.create_task(write(worker))
    async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
        states: dict[int, list[LabelState]] = {}
        async for label in store.history(camera):
            states.setdefault(label.seq, []).append(label.state)
    assert all(found == [LabelState.PROVISIONAL, LabelState.FINAL] for found in states.values())
    assert len(states) == 20


async def test_labels_expire_and_the_stream_is_capped(
    stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    settings = RedisSettings(url=stack.redis_url, stream_max_len=100, label_ttl_s=1800)
    async with RedisStore(settings) as store, redis.asyncio.Redis.from_url(stack.redis_url) as client:
        await store.put([make_label(camera, seq) for seq in range(1000)])
        assert 100 <= await client.xlen(f"labels:{camera}") < 400
        assert 1790 <= await client.ttl(f"label:{camera}:7") <= 1800
        assert await client.ttl(f"labels:{camera}") > 1790
        assert await client.ttl(f"camera:{camera}") > 24 * 3600


async def test_labels_are_written_also_after_redis_lost_its_scripts(
    store: RedisStore, stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    async with redis.asyncio.Redis.from_url(stack.redis_url) as client:
        await client.script_flush()
    assert await store.put([make_label(camera, 1), make_label(camera, 1)]) == ["WRITTEN", "UNCHANGED"]


async def until_watched(url: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        while not (await client.pubsub_numsub("labels:wake"))[0][1]:  # noqa: ASYNC110 - only Redis knows
            await asyncio.sleep(0.001)


async def test_a_watcher_rides_out_a_killed_redis_and_misses_nothing(own_redis: RedisServer) -> None:
    settings = RedisSettings(url=own_redis.url)
    async with RedisStore(settings) as writer, RedisStore(settings) as reader:
        await writer.put([make_label("gate", 0)])
        watching = await reader.watch("gate")
        first = asyncio.ensure_future(anext(watching))
        await until_watched(own_redis.url)
        await writer.put([make_label("gate", 1)])
        assert (await first).seq == 1
        following = asyncio.ensure_future(anext(watching))
        await own_redis.kill()
        with pytest.raises(TransientError, match="does not answer"):
            await writer.put([make_label("gate", 2)])
        await own_redis.start()
        assert await writer.put([make_label("gate", 1), make_label("gate", 2)]) == ["UNCHANGED", "WRITTEN"]
        assert (await following).seq == 2
        await watching.aclose()


async def test_batches_hold_each_label_of_old_and_new_cameras_also_after_a_killed_redis(
    own_redis: RedisServer,
) -> None:
    settings = RedisSettings(url=own_redis.url)
    async with RedisStore(settings) as writer, SiteReader(settings) as reader:
        await writer.put([make_label("gate", 0)])
        batches = reader.batches(0.0)
        assert await anext(batches) == []
        await writer.put([make_label("gate", 1), make_label("yard", 1), make_label("gate", 2)])
        seen = [(label.camera, label.seq) for label in await anext(batches)]
        assert sorted(seen) == [("gate", 1), ("gate", 2), ("yard", 1)]
        following = asyncio.ensure_future(anext(batches))
        await own_redis.kill()
        await own_redis.start()
        await writer.put([make_label("gate", 3)])
        assert [(label.camera, label.seq) for label in await following] == [("gate", 3)]
        await batches.aclose()


async def test_every_call_fails_in_time_when_redis_accepts_and_says_nothing() -> None:
    connected = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = RedisSettings(url=f"redis://127.0.0.1:{port}", timeout_s=0.2)
        async with RedisStore(settings) as store:
            started_s = time.monotonic()
            with pytest.raises(TransientError):
                await store.put([make_label("gate")])
            with pytest.raises(TransientError):
                await store.time_ns()
            with pytest.raises(TransientError):
                await store.watch()
        assert connected.is_set()
        assert time.monotonic() - started_s < 5.0


async def test_a_password_is_never_part_of_an_error(own_redis: RedisServer) -> None:
    url = own_redis.url.replace("redis://", "redis://user:geheim@")
    async with RedisStore(RedisSettings(url=url)) as store:
        with pytest.raises(SaccadeError) as caught:
            await store.get("gate", 1)
    assert "geheim" not in str(caught.value)
    assert "refuses" in str(caught.value)


async def test_unsafe_server_settings_are_named(own_redis: RedisServer) -> None:
    async with (
        RedisStore(RedisSettings(url=own_redis.url)) as store,
        redis.asyncio.Redis.from_url(own_redis.url) as client,
    ):
        assert await store.check_durability() == []
        await client.config_set("appendonly", "no")
        await client.config_set("maxmemory-policy", "allkeys-lru")
        problems = await store.check_durability()
    assert len(problems) == 2
    assert "appendonly is 'no', should be 'yes'" in problems[0]
    assert "allkeys-lru" in problems[1]


async def test_the_clock_is_redis_own(store: RedisStore) -> None:
    assert abs(await store.time_ns() - time.time_ns()) < 2_000_000_000


async def test_a_full_redis_takes_no_more_labels_and_stays_within_its_memory(own_redis: RedisServer) -> None:
    limit_bytes = 3_000_000
    settings = RedisSettings(url=own_redis.url)
    async with (
        RedisStore(settings) as store,
        redis.asyncio.Redis.from_url(own_redis.url) as client,
    ):
        await client.config_set("maxmemory", limit_bytes)
        written = 0
        with pytest.raises(SaccadeError, match="OOM"):
            while written < 40_000:
                await store.put([make_label("gate", written + seq) for seq in range(64)])
                written += 64
        assert written > 0
        assert (await client.info("memory"))["used_memory"] < 1.2 * limit_bytes
        await client.config_set("maxmemory", 1)
        with pytest.raises(SaccadeError, match="OOM"):
            await store.put([make_label("other", 1)])
        with pytest.raises(SaccadeError, match="OOM"):
            await store.publish_uplink("s", "w", "steady")
        with pytest.raises(SaccadeError, match="OOM"):
            await store.hold_camera("gate", "me")
        with pytest.raises(SaccadeError):
            await store.change_uplink_table("s", lambda rows, *_: ({**rows, "w": "x"}, None))
        await client.config_set("maxmemory", 0)
        assert await store.put([make_label("other", 1)]) == ["WRITTEN"]


async def test_a_label_keeps_no_field_that_only_its_forerunner_had(
    store: RedisStore, stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    await store.put([make_label(camera, state=LabelState.PROVISIONAL)])
    async with redis.asyncio.Redis.from_url(stack.redis_url, decode_responses=True) as client:
        await client.hset(f"label:{camera}:1", "of_another_version", "x")
        await store.put([make_label(camera, source=AnswerSource.SERVER, labelled_ns=30)])
        assert "of_another_version" not in await client.hkeys(f"label:{camera}:1")


async def test_the_list_of_cameras_is_capped_and_expires(
    store: RedisStore, stack: EmbeddedStack, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schemas.redis_keys.MAX_CAMERAS", 10_000)
    names = [unique("flood") for _ in range(50)]
    await store.put([make_label(names[0])])
    async with redis.asyncio.Redis.from_url(stack.redis_url) as client:
        assert await client.ttl("cameras:seen") > 24 * 3600
        await client.zadd("cameras:seen", dict.fromkeys(names[1:], 5))
        await store.put([make_label(names[0], 2)])
        assert names[0] in await store.cameras()
        assert not set(names[1:]) & set(await store.cameras())
        monkeypatch.setattr("schemas.redis_keys.MAX_CAMERAS", 3)
        await store.put([make_label(name) for name in names])
        assert len(await store.cameras()) == 3


async def test_answers_are_heard_after_the_clock_went_ahead_and_back_and_the_stream_expired(
    own_redis: RedisServer,
) -> None:
    """Redis names entries by its clock, so that the new ones come before the place of the last one that was read."""
    answer = ServerAnswer("gate", 1, (3, 1), (0.75, 0.125))
    key = redis_keys.answers("site")
    async with RedisStore(RedisSettings(url=own_redis.url)) as store:
        await store.put_answers("site", [answer])
        now_ms = int((await store.answers_end("site")).split("-")[0])
        place = f"{now_ms + 3_600_000}-0"
        await store._client.delete(key)
        await store.put_answers("site", [answer])
        found: list[ServerAnswer] = []
        for _ in range(2):
            place, more = await store.answers_after("site", place, 0.01)
            found += more
        assert found == [answer]
        assert await store.answers_after("site", place, 0.01) == (place, [])


async def test_one_key_that_holds_something_else_hides_no_other_camera(own_redis: RedisServer) -> None:
    settings = RedisSettings(url=own_redis.url)
    async with SiteReader(settings) as store, redis.asyncio.Redis.from_url(own_redis.url) as client:
        await store.put([make_label("gate", 0), make_label("yard", 0)])
        for key in ("labels:yard", "camera:yard"):
            await client.set(key, "something else")
        found = await store.latest_many(["gate", "yard"])
        assert [None if each is None else each.seq for each in found] == [0, None]
        async with asyncio.timeout(20), aclosing(store.batches(0.01)) as batches:
            assert await anext(batches) == []
            await store.put([make_label("gate", 1)])
            assert [(each.camera, each.seq) for each in await anext(batches)] == [("gate", 1)]
            await client.delete("labels:yard", "camera:yard")
            await store.put([make_label("yard", 1)])
            assert [(each.camera, each.seq) for each in await anext(batches)] == [("yard", 1)]


async def test_a_key_that_holds_something_else_is_forgotten_with_its_camera(own_redis: RedisServer) -> None:
    settings = RedisSettings(url=own_redis.url)
    async with SiteReader(settings) as store, redis.asyncio.Redis.from_url(own_redis.url) as client:
        await client.set("labels:yard", "something else")
        positions = {"gate": FROM_START, "yard": FROM_START}
        assert await store._read_apart(positions, set()) == []
        assert positions.keys() == {"gate"}
