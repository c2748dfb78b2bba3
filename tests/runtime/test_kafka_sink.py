"""The idempotent producer against a real broker: bounds, refusals, outages."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v3

from devstack import EmbeddedStack
from runtime import kafka_sink
from runtime.connections import KafkaSettings
from runtime.kafka_admin import create_topics, read_all
from runtime.kafka_connection import RecordRefused
from runtime.kafka_sink import Sink
from schemas.errors import StackError, TransientError
from schemas.topics import TopicSpec

pytestmark = pytest.mark.stack


@pytest.fixture
def kafka(stack: EmbeddedStack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=stack.bootstrap_servers, request_timeout_ms=2_000)


@pytest.fixture
async def topic(kafka: KafkaSettings, unique: Callable[[str], str]) -> str:
    name = unique("topic")
    await create_topics(kafka, [TopicSpec(name, 4, {"max.message.bytes": "20000"})])
    return name


async def values(kafka: KafkaSettings, topic: str) -> list[bytes]:
    return [record.value async for record in read_all(kafka, topic)]


async def test_bytes_in_flight_stay_within_the_bound_and_one_record_always_fits(
    kafka: KafkaSettings, topic: str
) -> None:
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=5_000) as sink:
        peak = 0
        deliveries = []
        for number in range(200):
            deliveries.append(await sink.send(topic, b"x" * 1_000, partition=number % 4))
            peak = max(peak, sink.in_flight_bytes)
        assert peak <= 5_000
        large = await sink.send(topic, b"y" * 10_000, partition=0)
        assert sink.in_flight_bytes > 10_000
        await large
        assert await sink.flush(5.0)
        assert sink.in_flight_bytes == 0
        assert all(delivery.done() for delivery in deliveries)
    assert len(await values(kafka, topic)) == 201


async def test_a_record_that_is_too_large_is_refused_alone(kafka: KafkaSettings, topic: str) -> None:
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=100_000) as sink:
        by_client = await sink.send(topic, b"x" * 30_000)
        good = await sink.send(topic, b"good")
        with pytest.raises(RecordRefused):
            await by_client
        await good
    async with Sink(kafka, max_request_bytes=100_000, max_in_flight_bytes=100_000) as sink:
        by_broker = await sink.send(topic, b"x" * 30_000, partition=1)
        with pytest.raises(RecordRefused):
            await by_broker
        await (await sink.send(topic, b"good", partition=1))
        assert sink.in_flight_bytes == 0
    assert await values(kafka, topic) == [b"good", b"good"]


async def test_a_cancelled_send_sends_nothing_and_frees_its_room(kafka: KafkaSettings, topic: str) -> None:
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=2_000) as sink:
        first = await sink.send(topic, b"first" * 300, partition=0)
        waiting = asyncio.ensure_future(sink.send(topic, b"never" * 300, partition=0))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await first
        assert await sink.flush(5.0)
    assert await values(kafka, topic) == [b"first" * 300]


async def refused_by_broker(sink: Sink, topic: str) -> None:
    delivery = await sink.send(topic, b"x" * 30_000, partition=1)
    with pytest.raises(RecordRefused):
        await delivery


async def test_after_a_refusal_by_the_broker_its_partition_goes_on(kafka: KafkaSettings, topic: str) -> None:
    async with Sink(kafka, max_request_bytes=100_000, max_in_flight_bytes=100_000) as sink:
        for number in range(3):
            await refused_by_broker(sink, topic)
            for partition in range(4):
                await (await sink.send(topic, b"%d" % number, partition=partition))
            assert sink.trouble is None
        assert (sink.num_accepted, sink.num_refused) == (12, 3)
    assert sorted(await values(kafka, topic)) == [b"0"] * 4 + [b"1"] * 4 + [b"2"] * 4


async def test_of_a_refused_batch_only_the_culprit_fails_and_the_others_keep_their_order(
    kafka: KafkaSettings, topic: str
) -> None:
    async with Sink(kafka, max_request_bytes=100_000, max_in_flight_bytes=1_000_000, linger_ms=50) as sink:
        sizes = [1_000, 1_000, 30_000, 1_000, 1_000]
        deliveries = [
            await sink.send(topic, b"%d" % number * size, partition=0) for number, size in enumerate(sizes)
        ]
        outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
    assert [isinstance(each, RecordRefused) for each in outcomes] == [False, False, True, False, False]
    assert [value[:1] for value in await values(kafka, topic)] == [b"0", b"1", b"3", b"4"]


async def test_a_sink_whose_records_are_all_refused_says_so_until_one_is_accepted(
    kafka: KafkaSettings, topic: str
) -> None:
    async with Sink(kafka, max_request_bytes=100_000, max_in_flight_bytes=100_000) as sink:
        await (await sink.send(topic, b"good"))
        assert sink.trouble is None
        await refused_by_broker(sink, topic)
        assert "MessageSizeTooLarge" in str(sink.trouble)
        await (await sink.send(topic, b"good"))
        assert sink.trouble is None


class Broken:
    """Sinks whose produce requests are answered with `code` instead of being sent, while it is not 0."""

    def __init__(self, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.code = code
        self.answered_s: list[float] = []
        make = Sink._make

        def broken(sink: Sink) -> Any:
            producer = make(sink)
            send = producer.client.send

            async def answer(node: object, request: Any, **how: Any) -> Any:
                if not self.code or not isinstance(request, ProduceRequest):
                    return await send(node, request, **how)
                self.answered_s.append(time.monotonic())
                answers = [
                    (topic, [(partition, self.code, -1, -1) for partition, _ in partitions])
                    for topic, partitions in request._topics
                ]
                return ProduceResponse_v3(topics=answers, throttle_time_ms=0)

            producer.client.send = answer
            return producer

        monkeypatch.setattr(Sink, "_make", broken)


@pytest.mark.parametrize("code", [-1, 2, 10, 29, 31, 32, 45, 47, 49, 59])
async def test_after_any_error_code_of_the_broker_records_flow_again(
    code: int, kafka: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(0, monkeypatch)
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=100_000) as sink:
        await (await sink.send(topic, b"0", partition=0))
        broken.code = code
        deliveries = [await sink.send(topic, b"%d" % number, partition=0) for number in range(1, 4)]
        while len(broken.answered_s) < 2:  # noqa: ASYNC110 - the sink sends in its own task
            await asyncio.sleep(0.01)
        broken.code = 0
        async with asyncio.timeout(10.0):
            outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
            await (await sink.send(topic, b"4", partition=0))
        assert all(
            each is None or not isinstance(each, BaseException) or isinstance(each, RecordRefused)
            for each in outcomes
        )
        if code in (29, 31, 45, 47, 49, 59):
            assert not any(isinstance(each, RecordRefused) for each in outcomes)
    kept = [b"%d" % n for n, each in enumerate(outcomes, 1) if not isinstance(each, RecordRefused)]
    assert await values(kafka, topic) == [b"0", *kept, b"4"]


@pytest.mark.parametrize("code", [3, 19])
async def test_what_a_broker_asks_for_again_is_sent_again_at_the_pace_that_is_set(
    code: int, kafka: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(code, monkeypatch)
    async with Sink(kafka, max_request_bytes=9_000, max_in_flight_bytes=9_000, retry_backoff_ms=700) as sink:
        delivery = await sink.send(topic, b"x", partition=0)
        while len(broken.answered_s) < 3:  # noqa: ASYNC110 - the sink sends in its own task
            await asyncio.sleep(0.01)
        broken.code = 0
        await delivery
    first, second, third = broken.answered_s
    assert min(second - first, third - second) >= 0.69


async def test_a_leader_is_asked_for_at_the_pace_that_is_set(
    kafka: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_s: list[float] = []
    async with Sink(kafka, max_request_bytes=9_000, max_in_flight_bytes=9_000, retry_backoff_ms=700) as sink:
        await (await sink.send(topic, b"0", partition=0))
        assert sink._live is not None
        cluster = sink._live.producer.client.cluster
        cluster.add_listener(lambda _: asked_s.append(time.monotonic()))
        with monkeypatch.context() as patch:
            patch.setattr(cluster, "leader_for_partition", lambda _: -1)
            delivery = await sink.send(topic, b"1", partition=0)
            while len(asked_s) < 3:  # noqa: ASYNC110 - the sink asks in its own task
                await asyncio.sleep(0.01)
        await delivery
    first, second, third = asked_s[:3]
    assert min(second - first, third - second) >= 0.69


async def test_a_partition_that_the_topic_lacks_is_refused_and_one_may_be_chosen_late(
    kafka: KafkaSettings, topic: str
) -> None:
    async with Sink(kafka, max_request_bytes=1_000, max_in_flight_bytes=1_000) as sink:
        with pytest.raises(RecordRefused, match=r"no partition 7: \[0, 4\)"):
            await (await sink.send(topic, b"x", partition=7))
        found: Any = await (await sink.send(topic, b"x", partition=lambda count: count - 1))
        assert found.partition == 3


async def test_a_missing_topic_is_waited_for_and_said(
    kafka: KafkaSettings, unique: Callable[[str], str]
) -> None:
    missing = unique("missing")
    async with Sink(kafka, max_request_bytes=1_000, max_in_flight_bytes=1_000) as sink:
        with pytest.raises(StackError, match="saccade topics create makes it"):
            await sink.num_partitions(missing)
        sending = asyncio.ensure_future(sink.send(missing, b"late"))
        async with asyncio.timeout(10.0):
            while sink.trouble is None:  # noqa: ASYNC110 - the sink asks in its own task
                await asyncio.sleep(0.01)
            assert "saccade topics create makes it" in sink.trouble
            await create_topics(kafka, [TopicSpec(missing, 1, {})])
            await (await sending)
        assert sink.trouble is None
    assert await values(kafka, missing) == [b"late"]


async def test_a_topic_that_is_made_anew_is_written_again(kafka: KafkaSettings, topic: str) -> None:
    async with Sink(kafka, max_request_bytes=1_000, max_in_flight_bytes=10_000) as sink:
        for number in range(5):
            await (await sink.send(topic, b"%d" % number, partition=0))
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        await admin.start()
        await admin.delete_topics([topic])
        await admin.close()
        sending = asyncio.ensure_future(sink.send(topic, b"again", partition=0))
        async with asyncio.timeout(20.0):
            while topic not in await create_topics(kafka, [TopicSpec(topic, 1, {})]):
                pass
            await (await sending)
    assert await values(kafka, topic) == [b"again"]


async def test_a_sink_in_the_background_starts_without_its_broker_and_sends_once_it_is_there(
    kafka: KafkaSettings, topic: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed_port = taken.getsockname()[1]
    away = kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{closed_port}"})
    host, _, port = kafka.bootstrap_servers.partition(":")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection(host, int(port))

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while some := await source.read(65536):
                target.write(some)
            target.close()

        await asyncio.gather(copy(reader, to_broker), copy(from_broker, writer))

    async with Sink(away, max_request_bytes=20_000, max_in_flight_bytes=50_000, in_background=True) as sink:
        sending = asyncio.ensure_future(sink.send(topic, b"patient", partition=0))
        async with asyncio.timeout(10.0):
            while "does not answer" not in str(sink.trouble):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            async with await asyncio.start_server(forward, "127.0.0.1", closed_port):
                await (await sending)
        assert sink.trouble is None
    assert await values(kafka, topic) == [b"patient"]


async def test_a_sink_that_is_closed_before_it_connected_ends_at_once(closed_port: int) -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{closed_port}", request_timeout_ms=1_000)
    async with (
        asyncio.timeout(5.0),
        Sink(kafka, max_request_bytes=1_000, max_in_flight_bytes=1_000, in_background=True) as sink,
    ):
        sending = asyncio.ensure_future(sink.send("frames", b"x"))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_bytes_of_connections_that_have_ended_are_counted(
    stack: EmbeddedStack, kafka: KafkaSettings, topic: str
) -> None:
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=100_000) as sink:
        begin = sink.wire_bytes_sent()
        if begin is None:
            pytest.skip("this system does not tell what a connection sent")
        for _ in range(3):
            await (await sink.send(topic, b"x" * 10_000, partition=0))
            assert sink._live is not None
            for connection in list(sink._live.producer.client._conns.values()):
                connection.close()
        end = sink.wire_bytes_sent()
        assert end is not None
        assert 30_000 <= end - begin <= 60_000


async def test_bytes_count_also_where_counting_begins_while_the_sink_connects(
    kafka: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting, go_on = asyncio.Event(), asyncio.Event()
    start = AIOKafkaProducer.start

    async def slow_start(producer: AIOKafkaProducer) -> None:
        connecting.set()
        await go_on.wait()
        await start(producer)

    monkeypatch.setattr(AIOKafkaProducer, "start", slow_start)
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=100_000, in_background=True) as sink:
        await connecting.wait()
        begin = sink.wire_bytes_sent()
        go_on.set()
        if begin is None:
            pytest.skip("this system does not tell what a connection sent")
        await (await sink.send(topic, b"x" * 10_000, partition=0))
        end = sink.wire_bytes_sent()
    assert end is not None
    assert end - begin > 10_000


async def test_a_killed_broker_costs_time_and_no_record(
    stack: EmbeddedStack, kafka: KafkaSettings, topic: str
) -> None:
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=50_000) as sink:
        assert await sink.num_partitions(topic) == 4

        async def send_all() -> list[asyncio.Future[object]]:
            return [await sink.send(topic, str(n).encode() * 300, partition=n % 4) for n in range(400)]

        sending = asyncio.ensure_future(send_all())
        while sink.in_flight_bytes == 0:  # noqa: ASYNC110 - another task sends
            await asyncio.sleep(0)
        await stack.kill_kafka()
        await stack.start_kafka()
        async with asyncio.timeout(30.0):
            for delivery in await sending:
                await delivery
    found = [int(value[: len(value) // 300]) for value in await values(kafka, topic)]
    assert sorted(found) == list(range(400))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], asyncio.Event]:
    """An event that is set once the library's client comes to a method."""

    def watch(method: str) -> asyncio.Event:
        reached, original = asyncio.Event(), getattr(AIOKafkaClient, method)

        def watched(*args: Any) -> Any:
            reached.set()
            return original(*args)

        monkeypatch.setattr(AIOKafkaClient, method, watched)
        return reached

    return watch


async def test_closing_without_a_broker_ends_and_fails_what_waits(
    stack: EmbeddedStack,
    kafka: KafkaSettings,
    topic: str,
    seen: Callable[[str], asyncio.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_sink, "CLOSE_TIMEOUT_S", 0.0)
    waits_for_cluster = seen("_maybe_wait_metadata")
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=50_000) as sink:
        await (await sink.send(topic, b"first"))
        await stack.kill_kafka()
        try:
            delivery = await sink.send(topic, b"second")
            await waits_for_cluster.wait()
            async with asyncio.timeout(5.0):
                await sink.__aexit__(None, None, None)
            with pytest.raises(TransientError, match="closed before"):
                await delivery
        finally:
            await stack.start_kafka()


async def test_who_looks_for_a_topic_is_told_of_the_closing(
    kafka: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = asyncio.Event()

    async def never(*_: object) -> None:
        asks.set()
        await asyncio.Event().wait()

    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=50_000) as sink:
        await (await sink.send(topic, b"first"))
        monkeypatch.setattr(sink._newest.client, "_metadata_update", never)
        looking = asyncio.ensure_future(sink.send(f"{topic}-other", b"second"))
        counting = asyncio.ensure_future(sink.num_partitions(f"{topic}-other"))
        await asks.wait()
        monkeypatch.setattr(kafka_sink, "CLOSE_TIMEOUT_S", 0.0)
        await sink.__aexit__(None, None, None)
        async with asyncio.timeout(20.0):
            for task in (looking, counting):
                with pytest.raises(TransientError, match="closed"):
                    await task


async def test_closing_while_a_producer_is_given_up_leaves_nothing_open(
    stack: EmbeddedStack,
    kafka: KafkaSettings,
    topic: str,
    seen: Callable[[str], asyncio.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_sink, "CLOSE_TIMEOUT_S", 0.0)
    retries = seen("_maybe_wait_metadata")
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=50_000) as sink:
        await (await sink.send(topic, b"first"))
        producer = sink._newest
        await stack.kill_kafka()
        try:
            await sink.send(topic, b"second")
            await retries.wait()
            assert sink._live is not None
            sink._end(sink._live, ConnectionResetError())
            while not producer._sender.sender_task.cancelling():  # noqa: ASYNC110 - the keeper's task gives it up
                await asyncio.sleep(0)
            async with asyncio.timeout(20.0):
                await sink.__aexit__(None, None, None)
        finally:
            await stack.start_kafka()
    assert producer._closed
    assert producer._sender.sender_task.done()
