"""A group member against a real broker: earliest, commits, rebalances, errors."""

from __future__ import annotations

import asyncio
import itertools
import math
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, TypeVar

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from devstack import EmbeddedStack
from runtime import kafka_fetch
from runtime.connections import KafkaSettings
from runtime.intake import Intake
from runtime.kafka_admin import create_topics
from runtime.kafka_batches import readable
from runtime.kafka_connection import CLOSE_TIMEOUT_S, Record, started
from runtime.kafka_sink import Sink
from runtime.kafka_source import KafkaSource
from runtime.offsets import TopicPartition
from schemas.errors import StackError, TransientError
from schemas.topics import TopicSpec, offload_topics

pytestmark = pytest.mark.stack

NUM_PARTITIONS = 6
T = TypeVar("T")


@pytest.fixture
def kafka(stack: EmbeddedStack) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=stack.bootstrap_servers, heartbeat_interval_ms=200, request_timeout_ms=5_000
    )


@pytest.fixture
async def topic(kafka: KafkaSettings, unique: Callable[[str], str]) -> str:
    name = unique("topic")
    await create_topics(kafka, [TopicSpec(name, NUM_PARTITIONS, {})])
    return name


@pytest.fixture
async def sink(kafka: KafkaSettings) -> AsyncIterator[Sink]:
    async with Sink(kafka, max_request_bytes=1 << 20, max_in_flight_bytes=1 << 20) as sink:
        yield sink


async def fill(sink: Sink, topic: str, values: range) -> None:
    for value in values:
        await sink.send(topic, str(value).encode(), key=b"key", partition=value % NUM_PARTITIONS)
    assert await sink.flush(10.0)


async def read(source: KafkaSource, count: int) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(20.0):
        while len(records) < count:
            records += await source.getmany(100, 0.5)
    return records


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """What the broker says once it is quick enough again, as workers ask it."""
    async with asyncio.timeout(20.0):
        while True:
            try:
                return await ask()
            except TransientError:
                continue


def values_of(records: list[Record]) -> list[int]:
    return sorted(int(record.value) for record in records)


def next_offsets(records: list[Record]) -> dict[TopicPartition, int]:
    return {(record.topic, record.partition): record.offset + 1 for record in records}


async def test_a_new_group_reads_what_was_there_before_and_goes_on_where_it_committed(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    group = unique("group")
    await fill(sink, topic, range(60))
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        assert source.joined
        assert len(source.assignment()) == NUM_PARTITIONS
        records = await read(source, 60)
        assert values_of(records) == list(range(60))
        assert await source.lag() == 0
        await source.commit(next_offsets([record for record in records if int(record.value) < 30]))
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        assert await source.lag() == 30
        assert values_of(await read(source, 30)) == list(range(30, 60))


async def test_a_record_keeps_its_key_headers_and_time(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    await (await sink.send(topic, b"v", key=b"k", partition=2, headers=[("h", b"\x00\xff")]))
    async with KafkaSource(kafka, [topic], group_id=unique("group")) as source:
        (record,) = await read(source, 1)
    assert (record.topic, record.partition, record.offset) == (topic, 2, 0)
    assert (record.key, record.value, record.headers) == (b"k", b"v", (("h", b"\x00\xff"),))
    assert record.timestamp_ms > 1_700_000_000_000


async def test_a_commit_leaves_out_partitions_that_are_not_held(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    group = unique("group")
    await fill(sink, topic, range(6))
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        await read(source, 6)
        await source.commit({(topic, 1): 1, (topic, 99): 5, ("elsewhere", 0): 1})
        await source.commit({("elsewhere", 0): 1})
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        assert values_of(await read(source, 5)) == [0, 2, 3, 4, 5]


async def test_members_that_come_and_go_hand_over_without_loss_or_a_second_turn(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    group = unique("group")
    done: list[int] = []
    most_members = 0

    async def work(stop: asyncio.Event) -> None:
        source = KafkaSource(kafka, [topic], group_id=group)
        intake = Intake(source, forget=lambda _: None, max_drain_s=5.0)
        async with source:
            while not stop.is_set():
                for delivery in await intake.poll(20, 0.2):
                    done.append(int(delivery.record.value))
                    delivery.ack()
                await intake.commit()

    async def until(count: int) -> None:
        while len(set(done)) < count:  # noqa: ASYNC110 - other tasks append
            await asyncio.sleep(0.01)

    async with asyncio.timeout(60.0), asyncio.TaskGroup() as tasks:
        stops = [asyncio.Event() for _ in range(3)]
        for round_number, stop in enumerate(stops):
            tasks.create_task(work(stop))
            most_members = max(most_members, round_number + 1)
            await fill(sink, topic, range(round_number * 300, round_number * 300 + 300))
            await until(round_number * 300 + 300)
        for round_number, stop in enumerate(stops, start=3):
            await fill(sink, topic, range(round_number * 300, round_number * 300 + 300))
            if round_number < 5:
                stop.set()
            await until(round_number * 300 + 300)
        stops[-1].set()
    assert sorted(done) == list(range(1800))
    assert most_members == 3


async def test_records_of_an_assignment_that_is_over_are_not_handed_out(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    group = unique("group")
    await fill(sink, topic, range(600))
    revoking, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: set[TopicPartition]) -> None:
        revoking.set()
        await go_on.wait()

    first = KafkaSource(kafka, [topic], group_id=group)
    first.listen(on_revoked=hold)
    async with first:
        assert await first.getmany(10, 5.0)
        async with asyncio.TaskGroup() as tasks:
            second = KafkaSource(kafka, [topic], group_id=group)
            joining = tasks.create_task(second.__aenter__())
            await revoking.wait()
            assert await first.getmany(100, 0.05) == []
            assert not first.joined
            go_on.set()
            await joining
        records = await read(first, 300) + await read(second, 300)
        assert values_of(records) == list(range(600))
        assert first.generation() == 2
        await second.__aexit__(None, None, None)


async def test_a_read_that_outlasts_a_rebalance_returns_the_first_records_of_the_new_assignment(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    group = unique("group")
    await fill(sink, topic, range(600))
    async with KafkaSource(kafka, [topic], group_id=group) as first:
        assert values_of(await read(first, 600)) == list(range(600))
        # Nothing is committed, so everything comes again once a second member has changed the assignment.
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(first.getmany(100, 20.0))
            async with KafkaSource(kafka, [topic], group_id=group) as second:
                again = await reading
                again += await read(first, 300 - len(again)) + await read(second, 300)
        assert values_of(again) == list(range(600))


async def test_records_that_come_before_the_listener_is_done_are_kept_for_the_next_read(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    group = unique("group")
    await fill(sink, topic, range(600))
    go_on = asyncio.Event()
    go_on.set()

    async def hold(_: set[TopicPartition]) -> None:
        await go_on.wait()

    first = KafkaSource(kafka, [topic], group_id=group)
    first.listen(on_assigned=hold)
    async with first:
        await read(first, 600)
        go_on.clear()
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(first.getmany(100, 20.0))
            async with KafkaSource(kafka, [topic], group_id=group) as second:
                assert await reading == []
                go_on.set()
                again = await read(first, 300) + await read(second, 300)
        assert values_of(again) == list(range(600))


async def delete_before(kafka: KafkaSettings, topic: str, partition: int, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records({KafkaTopicPartition(topic, partition): RecordsToDelete(offset)})
    finally:
        await admin.close()


async def test_records_deleted_before_they_were_read_are_counted(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    group = unique("group")
    await fill(sink, topic, range(60))
    await delete_before(kafka, topic, 3, 4)
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        records = await read(source, 56)
        assert source.num_missed == 0  # a new group misses nothing: it never had a position there
        await source.commit(next_offsets(records))
    await fill(sink, topic, range(60, 120))
    await delete_before(kafka, topic, 2, 17)
    await delete_before(kafka, topic, 5, 11)
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        assert len(await read(source, 60 - 7 - 1)) == 52
        assert source.num_missed == 8
        assert source.joined


async def test_what_a_callback_raises_reaches_the_reader(
    kafka: KafkaSettings, topic: str, unique: Callable[[str], str]
) -> None:
    async def fail(_: set[TopicPartition]) -> None:
        raise RuntimeError("cannot hand over")

    source = KafkaSource(kafka, [topic], group_id=unique("group"))
    source.listen(on_assigned=fail)
    async with source:
        with pytest.raises(RuntimeError, match="cannot hand over"):
            await source.getmany(10, 1.0)


async def test_a_cancelled_read_has_taken_nothing(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    async with KafkaSource(kafka, [topic], group_id=unique("group")) as source:
        for count in range(20):
            reading = asyncio.ensure_future(source.getmany(10, 5.0))
            await asyncio.sleep(0)
            await fill(sink, topic, range(count, count + 1))
            if reading.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await reading
                assert source._member is not None
                assert source._member.consumer._subscription.fetcher_idle_time > 0
                (record,) = await read(source, 1)
                assert int(record.value) == count
            else:
                assert values_of(reading.result()) == [count]


async def test_paused_partitions_give_nothing_until_resumed(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    async with KafkaSource(kafka, [topic], group_id=unique("group")) as source:
        source.pause({(topic, 0), (topic, 77)})
        await fill(sink, topic, range(6))
        assert values_of(await read(source, 5)) == [1, 2, 3, 4, 5]
        assert await source.getmany(10, 0.1) == []
        source.resume({(topic, 0), (topic, 77)})
        assert values_of(await read(source, 1)) == [0]


async def test_a_read_that_waits_is_woken_by_what_is_resumed_and_nothing_is_fetched_twice(
    kafka: KafkaSettings,
    topic: str,
    sink: Sink,
    unique: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = 0

    def counted(found: bytes, *arguments: Any) -> Any:
        nonlocal opened
        opened += len(found)
        return readable(found, *arguments)

    monkeypatch.setattr(kafka_fetch, "readable", counted)
    everything = {(topic, number) for number in range(NUM_PARTITIONS)}
    for value in range(300):
        await sink.send(topic, str(value).encode(), partition=0)
    assert await sink.flush(10.0)
    async with KafkaSource(kafka, [topic], group_id=unique("group")) as source:
        await read(source, 300)
    num_bytes, opened = opened, 0
    async with KafkaSource(kafka, [topic], group_id=unique("group")) as source, asyncio.timeout(20.0):
        records: list[Record] = []
        while len(records) < 300:
            records += await source.getmany(50, 30.0)
            for paused in (everything, {(topic, 0)}):
                source.pause(paused)
                reading = asyncio.ensure_future(source.getmany(50, 30.0))
                await asyncio.sleep(0)
                assert source._member is not None
                # Else the library takes the reader for dead after a while, and leaves its group.
                assert source._member.consumer._subscription.fetcher_idle_time == 0
                source.resume(paused)
                records += await reading
    assert values_of(records) == list(range(300))
    assert opened < 1.5 * num_bytes


async def test_a_missing_topic_is_one_clear_line(kafka: KafkaSettings, unique: Callable[[str], str]) -> None:
    quick = kafka.model_copy(update={"request_timeout_ms": 1_000})
    with pytest.raises(StackError, match="lacks a topic: saccade topics create makes it"):
        await KafkaSource(quick, [unique("missing")], group_id="g").__aenter__()


async def test_a_static_member_that_comes_back_has_its_partitions_and_the_others_notice_nothing(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    group = unique("group")
    await fill(sink, topic, range(60))
    # The first to join leads the group: it is the one that comes back.
    first = KafkaSource(kafka, [topic], group_id=group, group_instance_id="first")
    await first.__aenter__()
    async with KafkaSource(kafka, [topic], group_id=group, group_instance_id="second") as second:
        records = await read(second, 30)
        await second.commit(next_offsets(records))
        held, generation = first.assignment(), second.generation()
        assert len(held) == NUM_PARTITIONS // 2
        await first.__aexit__(None, None, None)
        async with KafkaSource(kafka, [topic], group_id=group, group_instance_id="first") as back:
            again = await read(back, 30)
            assert back.assignment() == held
            assert {(each.topic, each.partition) for each in again} == held
            assert second.generation() == generation
            assert await second.getmany(10, 0.1) == []


async def test_a_broker_that_is_not_there_is_one_clear_line() -> None:
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1", request_timeout_ms=1_000)
    source = KafkaSource(kafka, ["frames"], group_id="g")
    with pytest.raises(TransientError, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
        await started(source._make, kafka, timeout_s=0.3)


async def test_an_outage_is_ridden_out_and_a_member_can_leave_during_it(
    stack: EmbeddedStack, kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    quick = kafka.model_copy(update={"request_timeout_ms": 1_000})
    await fill(sink, topic, range(60))
    async with KafkaSource(quick, [topic], group_id=unique("group")) as staying:
        records = await read(staying, 60)
        async with KafkaSource(quick, [topic], group_id=unique("group")) as leaving:
            await read(leaving, 60)
            await stack.kill_kafka()
            try:
                assert await staying.getmany(10, 0.2) == []
                with pytest.raises(TransientError):
                    await staying.commit(next_offsets(records))
                with pytest.raises(TransientError):
                    await staying.lag()
                async with asyncio.timeout(CLOSE_TIMEOUT_S + 2.0):
                    await leaving.__aexit__(None, None, None)
            finally:
                await stack.start_kafka()
        await fill(sink, topic, range(60, 120))
        again = await read(staying, 60)
        assert values_of(again) == list(range(60, 120))
        await answered(lambda: staying.commit(next_offsets(again)))
        assert await answered(staying.lag) == 0


def batch(values: list[bytes | None], *, codec: int = 0) -> bytearray:
    """A batch as a client makes it."""
    builder = DefaultRecordBatchBuilder(
        2, codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1 << 30
    )
    for index, value in enumerate(values):
        builder.append(index, timestamp=None, key=b"k", value=value, headers=[("h", b"1")])
    return bytearray(builder.build())


async def write_batch(kafka: KafkaSettings, topic: str, partition: int, built: bytearray) -> None:
    """A producer of our own making, which sends what no client library would."""
    struct.pack_into(">i", built, 8, len(built) - 12)
    struct.pack_into(">I", built, 17, calc_crc32c(bytes(built[21:])))
    client = AIOKafkaClient(bootstrap_servers=kafka.bootstrap_servers)
    await client.bootstrap()
    try:
        await client._wait_on_metadata(topic)
        leader = client.cluster.leader_for_partition(KafkaTopicPartition(topic, partition))
        request = ProduceRequest(
            transactional_id=None,
            required_acks=-1,
            timeout=5_000,
            topics=[(topic, [(partition, bytes(built))])],
        )
        async with asyncio.timeout(10.0):
            # A new topic's leader may not know yet that it is one, and nobody tells when it does.
            while (await client.send(leader, request)).topics[0][1][0][1] == 6:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await client.close()


async def write_poison(kafka: KafkaSettings, topic: str) -> None:
    """What stood in topics and ended workers, each between good records of partition 0."""
    await write_batch(kafka, topic, 0, batch([b"0"]))
    for codec in (1, 3, 4):  # 64 MiB of zeros in some kB
        await write_batch(kafka, topic, 0, batch([bytes(64 << 20)], codec=codec))
    await write_batch(kafka, topic, 0, batch([b"1", b"2"], codec=4))
    no_utf8 = batch([b"x"])
    no_utf8[no_utf8.index(b"\x02h") + 1] = 0xFF
    await write_batch(kafka, topic, 0, no_utf8)
    await write_batch(kafka, topic, 0, batch([b"3"], codec=2))
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=topic)
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(topic, b"4", partition=0)
    await producer.stop()
    await write_batch(kafka, topic, 0, batch([None, b"5"], codec=3))


async def test_whatever_stands_in_a_topic_is_one_record_that_says_so_and_its_neighbours_are_read(
    kafka: KafkaSettings, topic: str, unique: Callable[[str], str]
) -> None:
    await write_poison(kafka, topic)
    group = unique("group")
    async with KafkaSource(kafka, [topic], group_id=group, max_partition_fetch_bytes=1 << 20) as source:
        records = await read(source, 11)
        assert source.num_missed == 0
        await source.commit(next_offsets(records))
        async with asyncio.timeout(20.0):
            while await source.lag():  # offsets without a record may come with a later answer of the broker
                assert await source.getmany(10, 0.1) == []
    assert [record.value for record in records if record.unreadable is None] == [
        b"0",
        b"1",
        b"2",
        b"3",
        b"4",
        b"",
        b"5",
    ]
    unreadable = [record for record in records if record.unreadable is not None]
    assert [record.value for record in unreadable] == [b""] * 4
    assert ["more than" in str(each.unreadable) for each in unreadable] == [True, True, True, False]
    assert "utf-8" in str(unreadable[3].unreadable)
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        assert await source.getmany(10, 0.3) == []


@pytest.mark.parametrize("lost", ["_fetcher._fetch_task", "_coordinator._coordination_task"])
async def test_a_member_that_lost_its_tasks_is_replaced_and_reads_on(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str], lost: str
) -> None:
    """Nothing of it is lost: what was read and not committed comes again to the next member."""
    revoked: list[int] = []

    async def note(partitions: set[TopicPartition]) -> None:
        revoked.append(len(partitions))

    source = KafkaSource(kafka, [topic], group_id=unique("group"))
    source.listen(on_revoked=note)
    async with source:
        await fill(sink, topic, range(60))
        records = await read(source, 60)
        await source.commit(next_offsets(records))
        assert source._member is not None
        attrgetter(lost)(source._member.consumer).cancel()
        await fill(sink, topic, range(60, 120))
        assert values_of(await read(source, 60)) == list(range(60, 120))
        assert source.generation() == 2
        assert revoked == [NUM_PARTITIONS]
        assert source.trouble is None


async def test_a_topic_that_is_made_anew_is_read_again(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    async with KafkaSource(kafka, [topic], group_id=unique("group")) as source:
        await fill(sink, topic, range(60))
        await source.commit(next_offsets(await read(source, 60)))
        await delete(kafka, topic)
        async with asyncio.timeout(15.0):
            while "lacks a topic" not in str(source.trouble):
                await source.getmany(10, 0.1)
        await create_topics(kafka, [TopicSpec(topic, NUM_PARTITIONS, {})])
        await fill(sink, topic, range(6))
        assert values_of(await read(source, 6)) == list(range(6))


@pytest.mark.parametrize("is_same_member", [True, False])
async def test_an_old_place_counts_for_nothing_in_a_topic_that_is_made_anew(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str], is_same_member: bool
) -> None:
    """A commit that is under way meanwhile is taken for a place in the new log by a group that believes it."""
    group = unique("group")
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        await fill(sink, topic, range(60))
        records = await read(source, 60)
        await source.commit(next_offsets(records))
        with held_up(source) as go_on:
            committing = asyncio.create_task(source.commit(next_offsets(records)))
            await asyncio.sleep(0)
            await make_anew(kafka, topic)
            await fill(sink, topic, range(120))
            go_on.set()
            await committing
        if is_same_member:
            assert values_of(await read(source, 120)) == list(range(120))
    if not is_same_member:
        async with KafkaSource(kafka, [topic], group_id=group) as source:
            again = await read(source, 120)
            assert values_of(again) == list(range(120))
            await source.commit(next_offsets(again))
        async with KafkaSource(kafka, [topic], group_id=group) as source:
            assert await source.getmany(10, 0.3) == []


async def test_a_commit_whose_topic_is_away_is_tried_once(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    """The library would try until it is there again, and meanwhile commit nothing of other topics."""
    async with KafkaSource(kafka, [topic], group_id=unique("group")) as source:
        await fill(sink, topic, range(60))
        records = await read(source, 60)
        with held_up(source) as go_on:
            committing = asyncio.create_task(source.commit(next_offsets(records)))
            await asyncio.sleep(0)
            await delete(kafka, topic)
            go_on.set()
            async with asyncio.timeout(2.0):
                with pytest.raises(TransientError, match="UnknownTopicOrPartition"):
                    await committing


@contextmanager
def held_up(source: KafkaSource) -> Iterator[asyncio.Event]:
    """What a member asks its group reaches the broker once the event is set."""
    assert source._member is not None
    coordinator, go_on = source._member.consumer._coordinator, asyncio.Event()
    send = coordinator._send_req

    async def late(request: object) -> object:
        await go_on.wait()
        return await send(request)

    coordinator._send_req = late
    yield go_on
    coordinator._send_req = send


async def delete(kafka: KafkaSettings, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([topic])
    while topic in await admin.list_topics():  # noqa: ASYNC110 - the broker tells nobody
        await asyncio.sleep(0.01)
    await admin.close()


async def make_anew(kafka: KafkaSettings, topic: str) -> None:
    await delete(kafka, topic)
    await create_topics(kafka, [TopicSpec(topic, NUM_PARTITIONS, {})])


async def test_a_source_in_the_background_starts_without_its_topic_and_joins_once_it_is_there(
    kafka: KafkaSettings, sink: Sink, unique: Callable[[str], str]
) -> None:
    topic = unique("late")
    async with KafkaSource(kafka, [topic], group_id=unique("group"), in_background=True) as source:
        async with asyncio.timeout(15.0):
            while "saccade topics create makes it" not in str(source.trouble):
                assert await source.getmany(10, 0.1) == []
        assert not source.joined
        assert await source.lag() == 0
        await source.commit({(topic, 0): 1})
        await create_topics(kafka, [TopicSpec(topic, NUM_PARTITIONS, {})])
        await fill(sink, topic, range(6))
        assert values_of(await read(source, 6)) == list(range(6))
        assert source.trouble is None


async def test_a_pattern_reads_the_topics_that_it_names_and_no_others(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    site_topic = f"{topic}.north"
    await create_topics(kafka, [TopicSpec(f"{topic}{end}", 1, {}) for end in (".north", ".north.dead", "s")])
    for number, name in enumerate([topic, site_topic, f"{site_topic}.dead", f"{topic}s"]):
        await (await sink.send(name, str(number).encode(), partition=0))
    async with KafkaSource(kafka, pattern=offload_topics(topic), group_id=unique("group")) as source:
        assert values_of(await read(source, 2)) == [0, 1]
        assert {name for name, _ in source.assignment()} == {topic, site_topic}


async def test_topics_that_have_much_to_catch_up_take_turns_with_each_other(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    other = f"{topic}.north"
    await create_topics(kafka, [TopicSpec(other, NUM_PARTITIONS, {})])
    for name in (topic, other):
        await fill(sink, name, range(200))
    async with KafkaSource(kafka, [topic, other], group_id=unique("group")) as source:
        records: list[Record] = []
        while len(records) < 200:
            records += await source.getmany(10, 5.0)
    of_topic = [record.topic == topic for record in records]
    assert 60 <= sum(of_topic) <= 140
    partitions = [record.partition for record in records if record.topic == topic]
    assert len(set(partitions[:60])) > 3


async def test_a_topic_that_comes_and_goes_holds_up_the_others_for_a_moment_only(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    kafka = kafka.model_copy(update={"heartbeat_interval_ms": 1_000, "metadata_max_age_ms": 500})
    neighbour, group = f"{topic}.neighbour", unique("group")
    waits_s: list[float] = []
    came = asyncio.Event()

    async def follow(source: KafkaSource) -> None:
        while True:
            for record in await source.getmany(100, 0.5):
                waits_s.append(time.time() - record.timestamp_ms / 1000)
                came.set()
                await source.commit(next_offsets([record]))

    async def keep_sending() -> None:
        for value in itertools.count():
            await sink.send(topic, b"", partition=value % NUM_PARTITIONS)
            await asyncio.sleep(0.02)

    async def held(num_partitions: int) -> None:
        """So many partitions are held, fifty more records came, and none of all waited longer than it should."""

        def is_held() -> bool:
            held = first.assignment() | second.assignment()
            return first.joined and second.joined and len(held) == num_partitions

        num_wanted = math.inf
        async with asyncio.timeout(20.0):
            while len(waits_s) < num_wanted:
                came.clear()
                await came.wait()
                if is_held():
                    num_wanted = min(num_wanted, len(waits_s) + 50)
        assert max(waits_s) < 5.0

    async with (
        KafkaSource(kafka, pattern=offload_topics(topic), group_id=group) as first,
        KafkaSource(kafka, pattern=offload_topics(topic), group_id=group) as second,
    ):
        tasks = [asyncio.create_task(each) for each in (follow(first), follow(second), keep_sending())]
        await held(NUM_PARTITIONS)
        await create_topics(kafka, [TopicSpec(neighbour, NUM_PARTITIONS, {})])
        await held(2 * NUM_PARTITIONS)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        await admin.start()
        await admin.delete_topics([neighbour])
        await admin.close()
        await held(NUM_PARTITIONS)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_a_record_that_its_members_died_with_is_handed_out_unopened(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    """The fifth record kills whoever opens it; a member that leaves with an error is dead."""
    group = unique("group")
    done: set[int] = set()
    refused: list[int] = []

    async def live() -> None:
        source = KafkaSource(kafka, [topic], group_id=group)
        intake = Intake(source, forget=lambda _: None)
        async with source, asyncio.timeout(20.0):
            while len(done) + len(refused) < 60:
                for delivery in await intake.poll(20, 0.5):
                    if delivery.record.unreadable is not None:
                        refused.append(int(delivery.record.value))
                    elif delivery.record.value == b"5":
                        raise RuntimeError("dead")
                    else:
                        done.add(int(delivery.record.value))
                    delivery.ack()
                await intake.commit()

    await fill(sink, topic, range(60))
    num_deaths = 0
    while True:
        try:
            await live()
            break
        except RuntimeError:
            num_deaths += 1
            assert num_deaths < 10
    assert refused == [5]
    assert num_deaths <= 5


async def test_deaths_of_records_that_were_deleted_meanwhile_hold_up_and_blame_nobody(
    kafka: KafkaSettings, topic: str, sink: Sink, unique: Callable[[str], str]
) -> None:
    group = unique("group")
    await fill(sink, topic, range(NUM_PARTITIONS))
    for _ in range(3):
        with pytest.raises(RuntimeError, match="dead"):
            async with KafkaSource(kafka, [topic], group_id=group) as source:
                await read(source, 1)
                raise RuntimeError("dead")
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        assert source._member is not None
        assert source._member.places.attempts.is_careful
    for partition in range(NUM_PARTITIONS):
        await delete_before(kafka, topic, partition, 1)
    async with KafkaSource(kafka, [topic], group_id=group) as source:
        assert source._member is not None
        assert not source._member.places.attempts.is_careful
        await fill(sink, topic, range(NUM_PARTITIONS, 2 * NUM_PARTITIONS))
        records = await read(source, NUM_PARTITIONS)
    assert values_of(records) == list(range(NUM_PARTITIONS, 2 * NUM_PARTITIONS))
    assert {each.unreadable for each in records} == {None}
