"""The label store against a real Redis: the win rule against a plain model, reading back, watching."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack import EmbeddedStack
from devstack.locks import Locks
from devstack.redis_server import RedisServer
from runtime.connections import RedisSettings
from runtime.redis_store import LabelStore, PutResult
from schemas.errors import SaccadeError, TransientError
from schemas.label import Label, Source, State

pytestmark = pytest.mark.stack

PAST_NS = 1_000_000_000
FAR_FUTURE_NS = 4_000_000_000_000_000_000


def make_label(camera: str, seq: int = 1, **changes: object) -> Label:
    label = Label(
        site="",
        camera=camera,
        seq=seq,
        state=State.FINAL,
        source=Source.EDGE,
        label=3,
        name="stop sign",
        confidence=0.625,
        captured_ns=10,
        labelled_ns=20,
    )
    return replace(label, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def store(stack: EmbeddedStack) -> AsyncIterator[LabelStore]:
    async with LabelStore(RedisSettings(url=stack.redis_url)) as store:
        yield store


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    locks = Locks()
    server = RedisServer(tmp_path, tmp_path / "data", locks)
    await server.start()
    yield server
    await server.kill()
    locks.release()


def judge(old: Label | None, new: Label) -> PutResult:  # noqa: PLR0911 - a table of cases
    """The win rule in plain Python; a deadline is either long past or far away."""
    is_new_past = new.deadline_ns == PAST_NS
    if old is not None:
        if (old.state, old.source, old.labelled_ns) == (new.state, new.source, new.labelled_ns):
            return PutResult.UNCHANGED
        if old.state is not State.PROVISIONAL:
            return PutResult.ALREADY_FINAL
        is_last_word = old.deadline_ns == PAST_NS
        if new.state is State.PROVISIONAL:
            return PutResult.ALREADY_FINAL if is_last_word else PutResult.STALE
        if new.state is not State.FINAL or new.source is Source.EDGE:
            return PutResult.STALE
        if is_last_word:
            return PutResult.LATE
    if new.source is Source.SERVER and is_new_past:
        return PutResult.LATE
    return PutResult.WRITTEN


label_changes = st.fixed_dictionaries(
    {
        "seq": st.integers(1, 2),
        "state": st.sampled_from(State),
        "source": st.sampled_from(Source),
        "label": st.integers(0, 3),
        "labelled_ns": st.integers(1, 3),
        "deadline_ns": st.sampled_from([0, PAST_NS, FAR_FUTURE_NS]),
    }
)


@given(writes=st.lists(label_changes, min_size=1, max_size=12), is_one_batch=st.booleans())
@settings(max_examples=150)
async def test_the_win_rule_is_the_plain_model_and_the_stream_grows_only_on_change(
    stack: EmbeddedStack, writes: list[dict[str, object]], is_one_batch: bool
) -> None:
    camera = f"camera-{uuid4()}"
    labels = [make_label(camera, **changes) for changes in writes]  # type: ignore[arg-type]
    expected: list[PutResult] = []
    held: dict[int, Label] = {}
    written: list[Label] = []
    for label in labels:
        expected.append(judge(held.get(label.seq), label))
        if expected[-1] is PutResult.WRITTEN:
            held[label.seq] = label
            written.append(label)
    async with LabelStore(RedisSettings(url=stack.redis_url)) as store:
        if is_one_batch:
            results = await store.put(labels)
        else:
            results = [(await store.put([label]))[0] for label in labels]
        assert results == expected
        assert await store.get_many([(camera, seq) for seq in (1, 2)]) == [held.get(1), held.get(2)]
        assert [label async for label in store.history(camera)] == written
        before = [await store.get(camera, 1), await store.get(camera, 2)]
        for replayed in await store.put([label for label in held.values() if label.state is State.FINAL]):
            assert replayed is PutResult.UNCHANGED
        assert [await store.get(camera, 1), await store.get(camera, 2)] == before


async def test_concurrent_writers_leave_one_provisional_and_one_final_in_the_stream(
    stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")

    async def write(worker: int) -> None:
        async with LabelStore(RedisSettings(url=stack.redis_url)) as store:
            for seq in range(20):
                at = 100 * worker + 1
                await store.put([make_label(camera, seq, state=State.PROVISIONAL, labelled_ns=at)])
                await store.put([make_label(camera, seq, source=Source.SERVER, label=worker, labelled_ns=at)])

    async with asyncio.TaskGroup() as group:
        for worker in range(4):
            group.create_task(write(worker))
    async with LabelStore(RedisSettings(url=stack.redis_url)) as store:
        states: dict[int, list[State]] = {}
        async for label in store.history(camera):
            states.setdefault(label.seq, []).append(label.state)
    assert all(found == [State.PROVISIONAL, State.FINAL] for found in states.values())
    assert len(states) == 20


async def test_a_label_survives_the_round_trip_exactly(
    store: LabelStore, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    label = make_label(camera, seq=2**62 + 1, name="Zebrastreifen ü", confidence=0.1 + 0.2, site="")
    await store.put([label])
    assert await store.get(camera, 2**62 + 1) == label
    assert await store.get(camera, 5) is None


async def test_the_cameras_state_moves_forward_only_beyond_what_a_double_holds(
    store: LabelStore, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    assert await store.newest_seq(camera) is None
    for seq in (9, 10, 2**60 + 1, 2**60, 3):
        await store.put([make_label(camera, seq)])
    assert await store.newest_seq(camera) == 2**60 + 1
    latest = await store.latest(camera)
    assert latest is not None
    assert latest.seq == 2**60 + 1
    assert camera in await store.cameras()


async def test_labels_expire_and_the_stream_is_capped(
    stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    settings = RedisSettings(url=stack.redis_url, stream_max_len=100, label_ttl_s=1800)
    async with LabelStore(settings) as store, redis.asyncio.Redis.from_url(stack.redis_url) as client:
        await store.put([make_label(camera, seq) for seq in range(1000)])
        assert 100 <= await client.xlen(f"labels:{camera}") < 400
        assert 1790 <= await client.ttl(f"label:{camera}:7") <= 1800
        assert await client.ttl(f"labels:{camera}") > 1790
        assert await client.ttl(f"camera:{camera}") > 24 * 3600


async def test_labels_are_written_also_after_redis_lost_its_scripts(
    store: LabelStore, stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    async with redis.asyncio.Redis.from_url(stack.redis_url) as client:
        await client.script_flush()
    assert await store.put([make_label(camera, 1), make_label(camera, 1)]) == ["WRITTEN", "UNCHANGED"]


async def test_a_watcher_sees_each_change_of_old_and_new_cameras_once_and_in_order(
    store: LabelStore, stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    known, fresh = unique("known"), unique("fresh")
    await store.put([make_label(known, 0)])
    seen: dict[str, list[int]] = {known: [], fresh: []}
    async with LabelStore(RedisSettings(url=stack.redis_url)) as reader:
        watching = aiter(reader.watch())
        first = asyncio.ensure_future(anext(watching))
        await until_watched(stack.redis_url)
        await store.put([make_label(known, 1)])
        found = await first
        seen[found.camera].append(found.seq)
        await store.put([make_label(camera, seq) for seq in range(2, 50) for camera in (known, fresh)])
        while len(seen[known]) + len(seen[fresh]) < 97:
            found = await anext(watching)
            seen[found.camera].append(found.seq)
        await watching.aclose()
    assert seen == {known: list(range(1, 50)), fresh: list(range(2, 50))}


async def until_watched(url: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        while not (await client.pubsub_numsub("labels:wake"))[0][1]:  # noqa: ASYNC110 - only Redis knows
            await asyncio.sleep(0.001)


async def test_a_watcher_rides_out_a_killed_redis_and_misses_nothing(own_redis: RedisServer) -> None:
    settings = RedisSettings(url=own_redis.url)
    async with LabelStore(settings) as writer, LabelStore(settings) as reader:
        await writer.put([make_label("gate", 0)])
        watching = aiter(reader.watch("gate"))
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


async def test_every_call_fails_in_time_when_redis_accepts_and_says_nothing() -> None:
    connected = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = RedisSettings(url=f"redis://127.0.0.1:{port}", timeout_s=0.2)
        async with LabelStore(settings) as store:
            started_s = time.monotonic()
            with pytest.raises(TransientError):
                await store.put([make_label("gate")])
            with pytest.raises(TransientError):
                await store.time_ns()
            with pytest.raises(TransientError):
                await anext(aiter(store.watch()))
        assert connected.is_set()
        assert time.monotonic() - started_s < 5.0


async def test_a_password_is_never_part_of_an_error(own_redis: RedisServer) -> None:
    url = own_redis.url.replace("redis://", "redis://user:geheim@")
    async with LabelStore(RedisSettings(url=url)) as store:
        with pytest.raises(SaccadeError) as caught:
            await store.get("gate", 1)
    assert "geheim" not in str(caught.value)
    assert "refuses" in str(caught.value)
    assert not isinstance(caught.value, TransientError)


async def test_unsafe_server_settings_are_named(own_redis: RedisServer) -> None:
    async with (
        LabelStore(RedisSettings(url=own_redis.url)) as store,
        redis.asyncio.Redis.from_url(own_redis.url) as client,
    ):
        assert await store.check_durability() == []
        await client.config_set("appendonly", "no")
        await client.config_set("maxmemory-policy", "allkeys-lru")
        problems = await store.check_durability()
    assert len(problems) == 2
    assert "appendonly is 'no', should be 'yes'" in problems[0]
    assert "allkeys-lru" in problems[1]


async def test_the_clock_is_redis_own(store: LabelStore) -> None:
    assert abs(await store.time_ns() - time.time_ns()) < 2_000_000_000
