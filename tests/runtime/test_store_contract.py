"""What every store of a site does, in Redis and in memory alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack import EmbeddedStack
from runtime.connections import RedisSettings
from runtime.memory_store import MemoryStore
from runtime.redis_store import RedisStore
from runtime.stores import SiteStores
from runtime.traces import TracePart
from schemas import redis_keys
from schemas.answer import ServerAnswer
from schemas.camera_state import CameraState
from schemas.deployment import Deployment, Pair, Role, WorkerModels
from schemas.label import AnswerSource, Label, LabelState
from schemas.server_report import ServerReport
from schemas.trace import DELIVERED, EDGE, OFFLOAD, SERVER, OffloadTrace, ServerTrace, Trace, encode_part
from schemas.win_rule import PutResult, judge

PAST_NS = 1_000_000_000
FAR_FUTURE_NS = 4_000_000_000_000_000_000
GRACE_NS = RedisSettings().deadline_grace_ms * 1_000_000


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SiteStores]:
    if request.param == "memory":
        yield MemoryStore()
        return
    stack: EmbeddedStack = request.getfixturevalue("stack")
    async with RedisStore(RedisSettings(url=stack.redis_url)) as in_redis:
        yield in_redis


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


label_changes = st.fixed_dictionaries(
    {
        "seq": st.integers(1, 2),
        "state": st.sampled_from(LabelState),
        "source": st.sampled_from(AnswerSource),
        "label": st.integers(0, 3),
        "labelled_ns": st.integers(1, 3),
        "deadline_ns": st.sampled_from([0, PAST_NS, FAR_FUTURE_NS]),
    }
)
writes = st.lists(label_changes, min_size=1, max_size=12)


async def follows_the_win_rule(
    store: SiteStores, changes: list[dict[str, object]], *, is_one_batch: bool
) -> None:
    camera = f"camera-{uuid4()}"
    labels = [make_label(camera, **each) for each in changes]  # type: ignore[arg-type]
    expected: list[PutResult] = []
    held: dict[int, Label] = {}
    written: list[Label] = []
    for label in labels:
        result = judge(held.get(label.seq), label, now_ns=time.time_ns(), grace_ns=GRACE_NS)
        expected.append(result)
        if result is PutResult.WRITTEN:
            held[label.seq] = label
            written.append(label)
    if is_one_batch:
        results = await store.put(labels)
    else:
        results = [(await store.put([label]))[0] for label in labels]
    assert results == expected
    assert await store.get_many([(camera, seq) for seq in (1, 2)]) == [held.get(1), held.get(2)]
    assert [label async for label in store.history(camera)] == written
    finals = [label for label in held.values() if label.state is LabelState.FINAL]
    assert set(await store.put(finals)) <= {PutResult.UNCHANGED}
    assert await store.get_many([(camera, seq) for seq in (1, 2)]) == [held.get(1), held.get(2)]


@pytest.mark.stack
@given(changes=writes, is_one_batch=st.booleans())
@settings(max_examples=150)
async def test_redis_follows_the_win_rule_and_its_stream_grows_only_on_change(
    stack: EmbeddedStack, changes: list[dict[str, object]], is_one_batch: bool
) -> None:
    async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
        await follows_the_win_rule(store, changes, is_one_batch=is_one_batch)


@given(changes=writes, is_one_batch=st.booleans())
@settings(max_examples=150)
async def test_memory_follows_the_win_rule_and_its_stream_grows_only_on_change(
    changes: list[dict[str, object]], is_one_batch: bool
) -> None:
    await follows_the_win_rule(MemoryStore(), changes, is_one_batch=is_one_batch)


async def test_a_label_survives_exactly(store: SiteStores, unique: Callable[[str], str]) -> None:
    camera = unique("camera")
    label = make_label(camera, seq=2**62 + 1, name="Zebrastreifen ü", confidence=0.1 + 0.2)
    await store.put([label])
    assert await store.get_many([(camera, 2**62 + 1), (camera, 5)]) == [label, None]
    assert await store.put([]) == []
    assert await store.get_many([]) == []


async def test_a_cameras_state_moves_forward_only_beyond_what_a_double_holds(
    store: SiteStores, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    assert (await store.newest_seq(camera), await store.latest(camera)) == (None, None)
    for seq in (9, 10, 2**60 + 1, 2**60, 3):
        await store.put([make_label(camera, seq)])
    assert await store.newest_seq(camera) == 2**60 + 1
    latest = await store.latest(camera)
    assert latest is not None
    assert latest.seq == 2**60 + 1
    assert camera in await store.cameras()


@asynccontextmanager
async def watched(store: SiteStores, camera: str | None, warm: str) -> AsyncIterator[AsyncIterator[Label]]:
    """A watch that is under way: it has seen a change of `warm` that was made right after the call."""
    watching = await store.watch(camera)
    await store.put([make_label(warm, 1)])
    assert (await anext(watching)).camera == warm
    yield watching
    await watching.aclose()


async def test_a_watcher_sees_each_change_of_old_and_new_cameras_once_and_in_order(
    store: SiteStores, unique: Callable[[str], str]
) -> None:
    known, fresh = unique("known"), unique("fresh")
    await store.put([make_label(known, 10**6)])
    seen: dict[str, list[int]] = {known: [], fresh: []}
    async with watched(store, None, unique("warm")) as watching:
        await store.put([make_label(camera, seq) for seq in range(2, 50) for camera in (known, fresh)])
        while len(seen[known]) + len(seen[fresh]) < 96:
            found = await anext(watching)
            seen[found.camera].append(found.seq)
    assert seen == {known: list(range(2, 50)), fresh: list(range(2, 50))}


async def test_a_watcher_of_one_camera_sees_no_other(store: SiteStores, unique: Callable[[str], str]) -> None:
    mine, other = unique("mine"), unique("other")
    async with watched(store, mine, mine) as watching:
        await store.put([make_label(other, 1), make_label(mine, 10**6)])
        assert (await anext(watching)).camera == mine


async def test_the_clock_is_the_stores_own(store: SiteStores) -> None:
    assert abs(await store.time_ns() - time.time_ns()) < 2_000_000_000


async def test_a_camera_has_one_holder_until_it_gives_back(
    store: SiteStores, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    assert await store.hold_camera(camera, "a")
    assert not await store.hold_camera(camera, "b")
    await store.release_camera(camera, "b")
    assert await store.hold_camera(camera, "a")
    await store.release_camera(camera, "a")
    assert await store.hold_camera(camera, "b")


def make_report(site: str, server: str, received: int) -> ServerReport:
    return ServerReport(
        server=server,
        site=site,
        sent_ns=1,
        interval_s=1.0,
        received=received,
        finals_in_time=received,
        expired=0,
        queue_age_s=0.25,
        tokens_per_s=1000.0,
    )


async def test_a_site_reads_the_newest_report_of_each_of_its_servers(
    store: SiteStores, unique: Callable[[str], str]
) -> None:
    site = unique("site")
    await store.publish_reports([])
    await store.publish_reports([make_report(site, "two", 1), make_report(site, "one", 2)])
    await store.publish_reports([make_report(site, "one", 3), make_report(unique("site"), "three", 4)])
    assert await store.read_reports(site) == [make_report(site, "one", 3), make_report(site, "two", 1)]
    assert await store.read_reports(unique("site")) == []


async def test_what_workers_run_is_read_by_worker(store: SiteStores, unique: Callable[[str], str]) -> None:
    one, other = (
        WorkerModels(unique(name), Role.SERVER, "large", "s1", "c1", ("s1", "s0"), 2, "loads")
        for name in "ab"
    )
    await store.publish_models(other)
    await store.publish_models(one)
    await store.publish_models(replace(one, trouble=""))
    names = {one.worker, other.worker}
    assert [each for each in await store.read_models() if each.worker in names] == [
        replace(one, trouble=""),
        other,
    ]


async def holds_the_last_deployment(store: SiteStores) -> None:
    assert await store.deployment() is None
    first = Deployment(1, Pair("/pairs/1", "e1", "s1", "c1"), Pair("", "e0", "s0", "c0"))
    await store.deploy(first)
    await store.deploy(first.taken_back())
    assert await store.deployment() == first.taken_back()


async def test_memory_holds_the_last_deployment() -> None:
    await holds_the_last_deployment(MemoryStore())


@pytest.mark.stack
async def test_redis_holds_the_last_deployment(stack: EmbeddedStack) -> None:
    # In a database of its own: workers of other tests would follow it.
    async with RedisStore(RedisSettings(url=stack.redis_url.removesuffix("/0") + "/9")) as store:
        await holds_the_last_deployment(store)


async def test_what_edge_workers_tell_is_read_by_worker(
    store: SiteStores, unique: Callable[[str], str]
) -> None:
    site = unique("site")
    await store.publish_uplink(site, "edge-1", "steady")
    await store.publish_uplink(site, "edge-2", "probe")
    await store.publish_uplink(site, "edge-1", "degrade")
    assert await store.read_uplinks(site) == {"edge-1": "degrade", "edge-2": "probe"}


async def test_a_sites_cameras_are_told_by_camera_until_they_are_forgotten(
    store: SiteStores, unique: Callable[[str], str]
) -> None:
    site = unique("site")

    def state(camera: str, published: int) -> CameraState:
        name, dropped = f"{site}/{camera}", {"late": 3}
        return CameraState(name, "online", "x", 7, 2.5, 5, published, 1, dropped, "frozen", "no picture", 6)

    await store.publish_cameras(site, [])
    await store.publish_cameras(site, [state("b", 1), state("a", 2)])
    await store.publish_cameras(site, [state("a", 3)])
    await store.publish_cameras(unique("site"), [state("c", 4)])
    assert await store.read_cameras(site) == [state("a", 3), state("b", 1)]
    await store.forget_camera(site, f"{site}/a")
    await store.forget_camera(site, f"{site}/unknown")
    assert await store.read_cameras(site) == [state("b", 1)]


async def test_changes_of_the_uplinks_table_are_atomic_among_many_workers(
    store: SiteStores, unique: Callable[[str], str]
) -> None:
    site = unique("site")

    def add_one(rows: dict[str, str], now_s: float, uptime_s: float) -> tuple[dict[str, str], int]:
        assert now_s > 1.7e9
        assert uptime_s >= 0
        total = int(rows.get("total", "0")) + 1
        return {**rows, "total": str(total)}, total

    async def work() -> list[int]:
        return [await store.change_uplink_table(site, add_one) for _ in range(10)]

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(6)]
    totals = sorted(total for worker in workers for total in worker.result())
    assert totals == list(range(1, 61))


async def test_spent_bytes_add_up_in_their_period(store: SiteStores, unique: Callable[[str], str]) -> None:
    site = unique("site")
    century_s = 100 * 365 * 86_400.0
    before_s = time.time()
    assert (await store.add_spent(site, century_s, 100)).num_bytes == 100
    num_bytes, at_s = await store.add_spent(site, century_s, 23)
    assert (num_bytes, at_s) == (123, pytest.approx(before_s, abs=30))
    assert (await store.add_spent(unique("site"), century_s, 0)).num_bytes == 0


def test_a_clock_that_jumps_ahead_and_back_finds_what_it_had_counted() -> None:
    async def spend(store: MemoryStore) -> list[int]:
        counts = []
        for hour in (5, 7, 5, 6):
            now_s[0] = hour * 3600
            counts.append((await store.add_spent("s", 3600.0, 100)).num_bytes)
        return counts

    now_s = [0]
    assert asyncio.run(spend(MemoryStore(now_ns=lambda: now_s[0] * 10**9))) == [100, 100, 200, 100]


@pytest.mark.stack
async def test_redis_forgets_old_periods_and_never_the_present_or_a_later_one(
    stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    site = unique("site")
    key = redis_keys.uplink_spent(site)
    async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
        await store._client.hset(key, mapping={str(period): 7 for period in (*range(9), 10**9)})
        century_s = 100 * 365 * 86_400.0  # the present period is number 0
        assert (await store.add_spent(site, century_s, 5)).num_bytes == 12
        assert {int(each) for each in await store._client.hkeys(key)} == {*range(9), 10**9}
        hour = (await store.add_spent(site, 3600.0, 5)).at_s // 3600
        assert {int(each) for each in await store._client.hkeys(key)} == {*range(1, 9), int(hour), 10**9}


async def test_the_parts_of_a_trace_meet_beside_the_label(
    store: SiteStores,
) -> None:
    camera = f"camera-{uuid4()}"
    assert await store.trace(camera, 1) == Trace()
    sent = OffloadTrace((), "webp", 75, 0.9, bytes(25), 900, DELIVERED)
    served = ServerTrace("h:2", (), (("dog", 0.9),), 3, 40, True, "WRITTEN")
    await store.put_traces(
        [TracePart(camera, 1, OFFLOAD, encode_part(sent)), TracePart(camera, 2, EDGE, "{")]
    )
    await store.put_traces([TracePart(camera, 1, SERVER, encode_part(served))])
    assert await store.trace(camera, 1) == Trace(None, sent, served)
    assert await store.trace(camera, 2) == Trace()


def answer(camera: str, seq: int) -> ServerAnswer:
    return ServerAnswer(camera, seq, (3, 1), (0.75, 0.125))


async def test_answers_come_back_in_order_and_once(store: SiteStores) -> None:
    site = uuid4().hex
    place = await store.answers_end(site)
    assert await store.answers_after(site, place, 0.01) == (place, [])
    await store.put_answers(site, [answer("gate", 1), answer("yard", 2)])
    place, found = await store.answers_after(site, place, 1.0)
    assert found == [answer("gate", 1), answer("yard", 2)]
    assert await store.answers_end(site) == place
    await store.put_answers(uuid4().hex, [answer("elsewhere", 3)])
    await store.put_answers(site, [answer("gate", 4)])
    assert (await store.answers_after(site, place, 1.0))[1] == [answer("gate", 4)]


async def test_an_answer_wakes_who_waits_for_it(store: SiteStores) -> None:
    site = uuid4().hex
    place = await store.answers_end(site)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        waiting = group.create_task(answered(store, site, place))
        await asyncio.sleep(0)
        await store.put_answers(site, [answer("gate", 1)])
    assert waiting.result() == [answer("gate", 1)]


async def answered(store: SiteStores, site: str, place: str) -> list[ServerAnswer]:
    while True:
        place, found = await store.answers_after(site, place, 1.0)
        if found:
            return found


async def test_a_belief_ends_what_waited_and_overwrites_nothing_final(store: SiteStores) -> None:
    camera = uuid4().hex
    asked = make_label(camera, 1, state=LabelState.PROVISIONAL, deadline_ns=FAR_FUTURE_NS)
    held = make_label(camera, 2, state=LabelState.PROVISIONAL, deadline_ns=FAR_FUTURE_NS)
    final = make_label(camera, 3)
    await store.put([asked, held, final])
    belief = {"state": LabelState.FINAL, "source": AnswerSource.BELIEF, "labelled_ns": 30, "rests_on": 1}
    results = await store.put([replace(each, **belief) for each in (held, final)])  # type: ignore[arg-type]
    assert results == [PutResult.WRITTEN, PutResult.ALREADY_FINAL]
    (found,) = await store.get_many([(camera, 2)])
    assert found is not None
    assert (found.source, found.rests_on) == (AnswerSource.BELIEF, 1)
