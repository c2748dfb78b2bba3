import asyncio
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.clock import ManualClock, SystemClock
from runtime.codec_threads import CodecThreads
from runtime.dead_letters import DeadLetters
from runtime.intake import Delivery
from runtime.kafka_connection import Record
from runtime.memory_kafka import MemoryBroker, MemorySink, MemorySource
from runtime.metrics import Metrics
from schemas.errors import DecodeError
from schemas.offload import Offload, bitmap_of, encode_offload
from server_workers.batcher import Batcher
from server_workers.intake import RecordCheck, RecordReader
from server_workers.metrics import ServerTally
from server_workers.task import AnswerTask, Verdict
from vit.codecs import encode_patches

CROP = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
POSITIONS = np.array([0, 5, 195])
GOOD = Offload(
    camera="c",
    seq=1,
    captured_ns=0,
    deadline_ns=50_000_000,
    bitmap=bitmap_of(POSITIONS),
    codec="raw",
    quality=0,
    patches=encode_patches("raw", 1, CROP, POSITIONS),
    leading=((0, 0.5),),
    classes_hash="0123456789abcdef",
)

ENGINE: Any = SimpleNamespace(identity=SimpleNamespace(classes=("a", "b", "c", "d", "e")))


def opened(*values: bytes, deadline_s: float = math.inf, topic: str = "offload") -> list[AnswerTask]:
    tasks = [
        AnswerTask(Delivery(Record(topic, 0, offset, 0, None, value), lambda *_: None), 0.0)
        for offset, value in enumerate(values)
    ]
    check = RecordCheck(
        lambda record, _: ENGINE if record.is_of_classes(GOOD.classes_hash) else None,
        200_000,
        lambda site, deadline_ns: deadline_s,
        "offload",
    )
    for task in tasks:
        try:
            check.open(task, ManualClock(10.0))
        except DecodeError as error:
            task.refuse(error.reason, str(error))
    return tasks


def test_a_sound_record_becomes_a_token_set_with_its_patches() -> None:
    (task,) = opened(encode_offload(GOOD))
    assert task.verdict is Verdict.WAITS
    assert (task.num_tokens, task.deadline_s, task.site) == (4, math.inf, "")
    assert task.positions.tolist() == [0, 5, 195]
    assert np.array_equal(task.patches[2], CROP[208:, 208:])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes_hash": "fedcba9876543210"}, "classes"),
        ({"leading": ((0, 0.5), (5, 0.2))}, "classes"),
        ({"leading": ((1, 0.5), (1, 0.2))}, "classes"),
        ({"codec": "unknown"}, "bad_patches"),
        ({"patches": b"short"}, "bad_patches"),
        ({"bitmap": bitmap_of(np.arange(7))}, "bad_patches"),
        ({"codec": "webp"}, "bad_image"),
    ],
)
def test_a_record_that_is_not_sound_is_refused_with_its_reason_and_spoils_no_other(
    change: dict[str, object], reason: str
) -> None:
    bad = replace(GOOD, **change)  # type: ignore[arg-type]
    first, refused, last = opened(encode_offload(GOOD), encode_offload(bad), encode_offload(GOOD))
    assert (refused.verdict, refused.reason) == (Verdict.REFUSED, reason)
    assert refused.error
    assert {first.verdict, last.verdict} == {Verdict.WAITS}


def test_bytes_that_are_no_record_are_refused() -> None:
    (task,) = opened(b"not zstd")
    assert (task.verdict, task.reason) == (Verdict.REFUSED, "bad_zstd")


def test_an_expired_record_is_told_apart_without_opening_its_patches() -> None:
    (task,) = opened(encode_offload(replace(GOOD, patches=b"never opened")), deadline_s=9.9)
    assert task.verdict is Verdict.EXPIRED


@pytest.mark.parametrize(
    ("topic", "camera", "is_own"),
    [
        ("offload", "c", True),
        ("offload.north", "north/c", True),
        ("offload", "north/c", False),
        ("offload.north", "c", False),
        ("offload.north", "south/c", False),
        ("offload.nor", "north/c", False),
    ],
)
def test_a_site_speaks_for_itself_only(topic: str, camera: str, is_own: bool) -> None:
    (task,) = opened(encode_offload(replace(GOOD, camera=camera)), topic=topic)
    expected = (Verdict.WAITS, "") if is_own else (Verdict.REFUSED, "foreign_site")
    assert (task.verdict, task.reason) == expected


def batcher_of(max_waiting_sets: int) -> Batcher[AnswerTask]:
    return Batcher(
        max_batch_tokens=197,
        max_batch_s=1.0,
        max_wait_s=0.0,
        max_waiting_sets=max_waiting_sets,
        max_waiting_tokens=9_999,
        max_set_tokens=197,
    )


def reader_of(
    source: MemorySource, broker: MemoryBroker, batcher: Batcher[AnswerTask], threads: CodecThreads
) -> RecordReader:
    return RecordReader(
        source,
        batcher,
        DeadLetters(MemorySink(broker)),
        threads,
        check=RecordCheck(lambda *_: ENGINE, 200_000, lambda *_: math.inf, "offload"),
        clock=SystemClock(),
        tally=ServerTally(Metrics("server"), "offload"),
    )


async def test_labels_that_wait_for_a_silent_redis_do_not_hold_up_a_rebalance_and_are_served_again() -> None:
    broker, threads = MemoryBroker(num_partitions=1), CodecThreads(1)
    broker.append("offload", 0, encode_offload(GOOD))
    first, second = (MemorySource(broker, ["offload"], group_id="servers") for _ in range(2))
    batcher = batcher_of(9)
    reader = reader_of(first, broker, batcher, threads)
    async with first, asyncio.timeout(10.0):
        reading = asyncio.create_task(reader.run())
        await reader.arrived.wait()
        (held,) = batcher.take(0.0).sets  # its label waits, and what becomes of it is not known
        began_s = asyncio.get_running_loop().time()
        async with second:
            assert asyncio.get_running_loop().time() - began_s < 3.0
            reader.arrived.clear()
            await reader.arrived.wait()
            (again,) = batcher.take(0.0).sets
            held.delivery.ack()
            await reader.intake.commit()
            assert broker.committed["servers"] == {}
            again.delivery.ack()
            await reader.intake.commit()
            assert broker.committed["servers"] == {("offload", 0): 1}
        reading.cancel()
        await asyncio.wait([reading])
    threads.close()


async def test_a_site_that_fills_its_share_is_read_no_further_and_holds_up_no_other() -> None:
    broker, threads = MemoryBroker(num_partitions=1), CodecThreads(1)
    for _ in range(40):
        broker.append("offload.behind", 0, encode_offload(replace(GOOD, camera="behind/c")))
    source = MemorySource(broker, ["offload.behind", "offload.calm"], group_id="servers")
    batcher = batcher_of(20)
    reader = reader_of(source, broker, batcher, threads)

    async def arrivals() -> None:
        reader.arrived.clear()
        await reader.arrived.wait()

    async with source, asyncio.timeout(20.0):
        reading = asyncio.create_task(reader.run())
        await arrivals()
        assert len(batcher) == 16
        broker.append("offload.calm", 0, encode_offload(replace(GOOD, camera="calm/c")))
        await arrivals()
        assert len(batcher) == 17
        assert reader.intake.paused == {("offload.behind", 0)}
        taken = batcher.take(0.0).sets
        reader.batch_left()
        assert [task.site for task in taken][:2] == ["behind", "calm"]
        while len(batcher) < 16:  # the poll that waited may have been for fewer
            await arrivals()
        reading.cancel()
        await asyncio.wait([reading])
    threads.close()


async def test_however_many_sites_are_behind_the_bound_holds() -> None:
    broker, threads = MemoryBroker(num_partitions=1), CodecThreads(1)
    sites = [f"site{number}" for number in range(30)]
    for site in sites:
        for _ in range(10):
            broker.append(f"offload.{site}", 0, encode_offload(replace(GOOD, camera=f"{site}/c")))
    batcher = batcher_of(40)
    source = MemorySource(broker, [f"offload.{site}" for site in sites], group_id="servers")
    reader = reader_of(source, broker, batcher, threads)
    async with source, asyncio.timeout(20.0):
        reading = asyncio.create_task(reader.run())
        heard: set[str] = set()
        while len(heard) < len(sites):
            reader.arrived.clear()
            await reader.arrived.wait()
            heard |= set(batcher._lines)
        assert len(batcher) <= 40 + len(sites)
        reading.cancel()
        await asyncio.wait([reading])
    threads.close()
