"""The whole server worker on a real broker and a real Redis, with a tiny model of random weights."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard
from aiokafka.admin import AIOKafkaAdminClient

from devstack.settings import Settings
from gating.belief import fuse, spread
from runtime.kafka_admin import create_topics, pipeline_topics, read_all
from runtime.kafka_sink import Sink
from runtime.redis_store import RedisStore
from schemas import offload as wire
from schemas.dead_letter import dead_letter_from_headers
from schemas.errors import ModelError
from schemas.label import AnswerSource, Label, LabelState
from schemas.offload import Offload, bitmap_of, encode_offload
from schemas.topics import dead_topic, offload_topic
from server_workers.worker import run_server
from vit.codecs import encode_patches

pytestmark = pytest.mark.stack
WAIT_S = 30.0
FIVE_CLASSES = tuple(f"class {index}" for index in range(5))


def offload(camera: str, seq: int, *, site: str = "", latency_s: float = 60.0, **changes: Any) -> Offload:
    from vit.classes import classes_hash

    rng = np.random.default_rng(seq)
    crop = np.kron(rng.integers(0, 256, (14, 14, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    positions = np.sort(rng.choice(196, rng.integers(1, 197), replace=False)).astype(np.int64)
    now_ns = time.time_ns()
    record = Offload(
        camera=camera,
        seq=seq,
        captured_ns=now_ns,
        deadline_ns=now_ns + round(latency_s * 1e9),
        bitmap=bitmap_of(positions),
        codec="webp",
        quality=75,
        patches=encode_patches("webp", 75, crop, positions),
        leading=((0, 0.5),),
        classes_hash=classes_hash(FIVE_CLASSES),
    )
    return replace(record, **changes)


async def publish(settings: Settings, values: list[bytes], site: str = "") -> None:
    topic = offload_topic(site, settings.topics.offload)
    sink = Sink(settings.kafka, max_request_bytes=1 << 20, max_in_flight_bytes=16 << 20)
    async with sink:
        for index, value in enumerate(values):
            await sink.send(topic, value, partition=index % settings.topics.partitions)
        assert await sink.flush(WAIT_S)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_server(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_S):
            await task


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await check():  # noqa: ASYNC110 - Redis and Kafka are asked, nobody tells
            await asyncio.sleep(0.05)


async def finals(store: RedisStore, records: list[Offload]) -> list[Label]:
    async def all_final() -> bool:
        found = await store.get_many([(each.camera, each.seq) for each in records])
        return all(label is not None and label.state is LabelState.FINAL for label in found)

    await eventually(all_final)
    found = await store.get_many([(each.camera, each.seq) for each in records])
    return [label for label in found if label is not None]


def provisional(record: Offload) -> Label:
    return Label(
        site=record.site,
        camera=record.camera,
        seq=record.seq,
        state=LabelState.PROVISIONAL,
        source=AnswerSource.EDGE,
        label=0,
        name="class 0",
        confidence=0.5,
        captured_ns=record.captured_ns,
        labelled_ns=record.captured_ns,
        deadline_ns=record.deadline_ns,
    )


async def test_every_record_gets_the_models_label_over_the_provisional_one(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    from server_workers.engine import ServerEngine
    from vit.codecs import decode_patches

    camera = unique("camera")
    records = [offload(camera, seq) for seq in range(24)]
    async with RedisStore(pipeline.redis) as store, running(pipeline):
        await store.put([provisional(each) for each in records])
        await publish(pipeline, [encode_offload(each) for each in records])
        labels = await finals(store, records)
    engine = ServerEngine(pipeline.server)
    from schemas.offload import positions_of

    positions = [positions_of(each.bitmap) for each in records]
    patches = [
        decode_patches("webp", each.patches, kept) for each, kept in zip(records, positions, strict=True)
    ]
    scores = np.concatenate([engine.classify([p], [k]) for p, k in zip(patches, positions, strict=True)])
    edge = spread([0], [0.5], scores.shape[1])  # the records' own answer weighs in
    scores = np.stack([fuse(row.astype(np.float64), edge, pipeline.server.edge_weight) for row in scores])
    margins = np.sort(scores, axis=1)
    for label, row, margin in zip(labels, scores, margins, strict=True):
        assert (label.source, label.deadline_ns > label.labelled_ns) == (AnswerSource.SERVER, True)
        if margin[-1] - margin[-2] > 0.05:  # below, the number format of the packed batch may decide
            assert label.label == int(np.argmax(row))
        assert label.name == f"class {label.label}"


async def test_garbage_ends_as_dead_letters_with_reasons_and_its_neighbours_are_labelled(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    good = [offload(camera, seq) for seq in range(11)]
    whole = encode_offload(offload(camera, 50))
    huge = zstandard.ZstdCompressor().compress(b"\0" * (8 << 20))
    other_version = zstandard.ZstdCompressor().compress(msgpack.packb({"v": 99}))
    lean = zstandard.ZstdDecompressor(wire._dictionary(), format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    items = msgpack.unpackb(lean.decompress(whole[1:]))
    items[wire._FIELDS.index("kept")] = b"\xff" * 24
    unordered = whole[:1] + wire._compressor().compress(msgpack.packb(items))
    # Magic number, a descriptor that says "eight bytes of content size follow", the size, no block.
    declares_a_terabyte = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little")
    garbage = [
        b"",
        b"not zstd",
        whole[: len(whole) // 2],
        huge,
        unordered,
        encode_offload(offload(camera, 52, bitmap=bitmap_of(np.arange(196)))),
        encode_offload(offload(camera, 53, codec="raw")),
        encode_offload(offload(camera, 54, codec="hologram")),
        encode_offload(offload(camera, 55, classes_hash="0" * 16)),
        other_version,
        declares_a_terabyte,
    ]
    values = [
        value for each, junk in zip(good, garbage, strict=True) for value in (junk, encode_offload(each))
    ]
    async with RedisStore(pipeline.redis) as store, running(pipeline):
        await publish(pipeline, values)
        await finals(store, good)

        async def all_refused() -> bool:
            return len([1 async for _ in read_all(pipeline.kafka, topic)]) == len(garbage)

        topic = dead_topic(pipeline.topics.offload)
        await eventually(all_refused)
    letters = [record async for record in read_all(pipeline.kafka, topic)]
    reasons = {each.value: dead_letter_from_headers(each.headers).reason for each in letters}
    assert [reasons[value] for value in garbage] == [
        "bad_zstd",
        "bad_zstd",
        "bad_zstd",
        "too_large",
        reasons[garbage[4]],
        "bad_patches",
        "bad_patches",
        "bad_patches",
        "classes",
        "version",
        "too_large",
    ]


async def test_expired_records_are_skipped_and_the_edge_label_stands(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    late = [offload(camera, seq, latency_s=-5.0) for seq in range(5)]
    good = [offload(camera, seq) for seq in range(10, 15)]
    async with RedisStore(pipeline.redis) as store, running(pipeline):
        await store.put([provisional(each) for each in late])
        await publish(pipeline, [encode_offload(each) for each in late + good])
        await finals(store, good)
        stands = await store.get_many([(each.camera, each.seq) for each in late])
    assert {label.state for label in stands if label is not None} == {LabelState.PROVISIONAL}


async def test_a_second_reading_changes_no_label(pipeline: Settings, unique: Callable[[str], str]) -> None:
    camera = unique("camera")
    records = [offload(camera, seq) for seq in range(12)]
    async with RedisStore(pipeline.redis) as store:
        async with running(pipeline):
            await publish(pipeline, [encode_offload(each) for each in records])
            before = await finals(store, records)
        replay = pipeline.model_copy(
            update={"server": pipeline.server.model_copy(update={"group_id": unique("replay")})}
        )
        async with running(replay):
            more = [offload(camera, 100)]
            await publish(pipeline, [encode_offload(each) for each in more])
            await finals(store, more)
        assert await finals(store, records) == before
        assert len([label async for label in store.history(camera)]) == 13


async def test_two_members_share_the_work_and_hand_it_over(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")

    async def two_members() -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.kafka.bootstrap_servers)
        await admin.start()
        try:
            (answer,) = await admin.describe_consumer_groups([pipeline.server.group_id])
        finally:
            await admin.close()
        (_, _, state, _, _, members, *_) = answer.groups[0]
        return state == "Stable" and len(members) == 2

    async with RedisStore(pipeline.redis) as store, running(pipeline):
        async with running(pipeline):
            await eventually(two_members)
            records = [offload(camera, seq) for seq in range(40)]
            await publish(pipeline, [encode_offload(each) for each in records])
            await finals(store, records)
        more = [offload(camera, seq) for seq in range(40, 60)]
        await publish(pipeline, [encode_offload(each) for each in more])
        await finals(store, more)
        assert len([label async for label in store.history(camera)]) == 60


async def test_each_site_has_its_redis_and_a_dead_one_stalls_no_other(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    dead = {"alive": pipeline.redis.url, "dead": "redis://127.0.0.1:1/0"}
    server = pipeline.server.model_copy(update={"redis_by_site": dead, "label_write_timeout_s": 0.3})
    settings = pipeline.model_copy(update={"server": server})
    name = unique("camera")
    records = [offload(f"{site}/{name}", seq, site=site) for seq in range(10) for site in dead]
    alive = [record for record in records if record.site == "alive"]
    for site in dead:
        await create_topics(settings.kafka, pipeline_topics(settings.model_copy(update={"site": site})))
    async with RedisStore(settings.redis) as store, running(settings):
        for site in dead:
            await publish(settings, [encode_offload(each) for each in records if each.site == site], site)
        await finals(store, alive)

        async def reported() -> bool:
            reports = await store.read_reports("alive")
            return bool(reports)

        await eventually(reported)


async def test_a_model_that_is_not_there_is_one_clear_line(pipeline: Settings) -> None:
    server = pipeline.server.model_copy(update={"model": "/nowhere/model.safetensors"})
    with pytest.raises((ModelError, ExceptionGroup), match="nowhere"):
        await run_server(pipeline.model_copy(update={"server": server}), asyncio.Event())
