"""The whole edge worker on a real broker and a real Redis, with a tiny model of random weights."""

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
import simplejpeg
import zstandard

from devstack.settings import Settings
from edge_workers.worker import run_edge
from runtime.kafka_admin import read_all
from runtime.kafka_sink import Sink
from runtime.redis_store import RedisStore
from schemas.dead_letter import dead_letter_from_headers
from schemas.frame import Frame, encode_frame
from schemas.label import AnswerSource, Label, LabelState
from schemas.offload import Offload, decode_offload
from schemas.topics import dead_topic
from schemas.trace import DELIVERED

pytestmark = pytest.mark.stack
WAIT_S = 30.0


def image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    big = np.ascontiguousarray(np.kron(pixels, np.ones((10, 10, 1), np.uint8)))
    return bytes(simplejpeg.encode_jpeg(big, quality=90, colorspace="RGB"))


def frame(camera: str, seq: int, **changes: Any) -> Frame:
    values: dict[str, Any] = {
        "site": "",
        "camera": camera,
        "seq": seq,
        "captured_ns": time.time_ns(),
        "width": 320,
        "height": 240,
        "encoding": "jpeg",
        "image": image(seq),
        "live": False,
    }
    return Frame(**(values | changes))


async def publish(settings: Settings, values: list[tuple[int, bytes]]) -> None:
    sink = Sink(settings.kafka, max_request_bytes=8 << 20, max_in_flight_bytes=16 << 20)
    async with sink:
        for partition, value in values:
            await sink.send(settings.topics.frames, value, partition=partition)
        assert await sink.flush(WAIT_S)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_edge(settings, stop))
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


async def labels_of(store: RedisStore, frames: list[Frame]) -> list[Label | None]:
    return await store.get_many([(each.camera, each.seq) for each in frames])


async def labelled(store: RedisStore, frames: list[Frame]) -> list[Label]:
    async def all_there() -> bool:
        return all(label is not None for label in await labels_of(store, frames))

    await eventually(all_there)
    return [label for label in await labels_of(store, frames) if label is not None]


async def offloads(settings: Settings) -> list[Offload]:
    records = [record async for record in read_all(settings.kafka, settings.topics.offload)]
    return [decode_offload(record.value, max_offload_bytes=1 << 20) for record in records]


def changed(settings: Settings, **edge: Any) -> Settings:
    return settings.model_copy(update={"edge": settings.edge.model_copy(update=edge)})


async def test_unsure_frames_are_provisional_and_offloaded_once_with_the_answer_and_point(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    frames = [frame(camera, seq) for seq in range(20)]
    async with RedisStore(pipeline.redis) as store, running(pipeline):
        await publish(pipeline, [(seq % 4, encode_frame(each)) for seq, each in enumerate(frames)])
        labels = await labelled(store, frames)
    assert {label.state for label in labels} == {LabelState.PROVISIONAL}
    records = {record.seq: record for record in await offloads(pipeline)}
    assert sorted(records) == list(range(20))
    assert len(await offloads(pipeline)) == 20
    for label in labels:
        record = records[label.seq]
        assert record.leading[0] == (label.label, pytest.approx(label.confidence, abs=0.5 / 255))
        assert 0 <= label.deadline_ns - record.deadline_ns < 1_000_000
        assert label.deadline_ns > label.labelled_ns
        assert record.codec == "webp"


async def test_the_gate_divides_frames_into_final_and_offloaded_by_tau(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    frames = [frame(camera, seq) for seq in range(30)]
    settings = changed(pipeline, tau=1.0)
    async with RedisStore(pipeline.redis) as store, running(settings):
        await publish(settings, [(0, encode_frame(each)) for each in frames])
        labels = await labelled(store, frames)
    sent = {record.seq for record in await offloads(settings)}
    for label in labels:
        unsure = -np.log2(label.confidence) >= 1.0
        assert label.state is (LabelState.PROVISIONAL if unsure else LabelState.FINAL)
        assert (label.seq in sent) == unsure
    assert 0 < len(sent) < 30


async def test_garbage_ends_as_dead_letters_with_reasons_and_its_neighbours_are_labelled(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    good = [frame(camera, seq) for seq in range(8)]
    broken = frame(camera, 100, image=b"no image at all")
    whole = encode_frame(good[0])
    garbage = [
        b"",
        b"\xc1\x00\xff",
        whole[: len(whole) // 2],
        encode_frame(frame(camera, 101, width=1 << 15, height=1 << 15)),
        encode_frame(frame(camera, 102, encoding="bmp")),
        encode_frame(broken),
        msgpack.packb(msgpack.unpackb(whole) | {"v": 99}),
        zstandard.ZstdCompressor().compress(whole),
    ]
    values = [value for each, junk in zip(good, garbage, strict=True) for value in (junk, encode_frame(each))]
    async with RedisStore(pipeline.redis) as store, running(pipeline):
        await publish(pipeline, [(0, value) for value in values])
        await labelled(store, good)
        (undecodable,) = await labelled(store, [broken])
    assert (undecodable.state, undecodable.cause, undecodable.label) == (
        LabelState.UNDECODABLE,
        "bad_image",
        -1,
    )
    topic = dead_topic(pipeline.topics.frames)
    letters = [record async for record in read_all(pipeline.kafka, topic)]
    reasons = {
        dead_letter_from_headers(each.headers).offset: dead_letter_from_headers(each.headers).reason
        for each in letters
    }
    assert sorted(reasons) == list(range(0, 16, 2))
    assert reasons[6] == "too_large"
    assert reasons[10] == "bad_image"
    assert reasons[12] == "version"
    assert {each.value for each in letters} == set(garbage)


async def test_live_frames_past_their_age_are_dropped_with_the_cause_and_files_never_are(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    old_ns = time.time_ns() - 40_000_000_000
    live = [frame(camera, seq, live=True, captured_ns=old_ns + seq) for seq in range(5)]
    files = [frame(camera, seq, captured_ns=old_ns) for seq in range(10, 15)]
    fresh = [frame(camera, 20, live=True)]
    everything = live + files + fresh
    async with RedisStore(pipeline.redis) as store, running(pipeline):
        await publish(pipeline, [(1, encode_frame(each)) for each in everything])
        labels = await labelled(store, everything)
    assert [(label.state, label.cause) for label in labels[:5]] == [(LabelState.DROPPED, "too_old")] * 5
    assert {label.state for label in labels[5:]} == {LabelState.PROVISIONAL}
    assert sorted(record.seq for record in await offloads(pipeline)) == [10, 11, 12, 13, 14, 20]


async def test_a_second_reading_changes_no_label_and_does_not_offload_what_is_final(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    frames = [frame(camera, seq) for seq in range(10)]
    async with RedisStore(pipeline.redis) as store:
        async with running(pipeline):
            await publish(pipeline, [(0, encode_frame(each)) for each in frames])
            before = await labelled(store, frames)
        finals = [replace(label, state=LabelState.FINAL, source=AnswerSource.SERVER) for label in before[:5]]
        await store.put(finals)
        replay = changed(pipeline, group_id=unique("replay"))
        async with running(replay):
            await publish(pipeline, [(1, encode_frame(frame(camera, 99)))])
            await labelled(store, [frame(camera, 99)])

            async def all_sent() -> bool:
                return len(await offloads(pipeline)) == 10 + 5 + 1

            await eventually(all_sent)
        after = await labels_of(store, frames)
        history = [label async for label in store.history(camera)]
    assert after == finals + before[5:]
    assert len(history) == 10 + 5 + 1


async def test_a_restarted_worker_goes_on_where_the_group_stands(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    async with RedisStore(pipeline.redis) as store:
        for start in (0, 10):
            frames = [frame(camera, seq) for seq in range(start, start + 10)]
            async with running(pipeline):
                await publish(pipeline, [(seq % 4, encode_frame(each)) for seq, each in enumerate(frames)])
                await labelled(store, frames)
    assert sorted(record.seq for record in await offloads(pipeline)) == list(range(20))


async def test_two_members_share_the_partitions(pipeline: Settings, unique: Callable[[str], str]) -> None:
    camera = unique("camera")
    frames = [frame(camera, seq) for seq in range(40)]
    async with RedisStore(pipeline.redis) as store, running(pipeline), running(pipeline):
        await publish(pipeline, [(seq % 4, encode_frame(each)) for seq, each in enumerate(frames)])
        labels = await labelled(store, frames)
    assert len(labels) == 40


async def test_a_frames_trace_tells_its_way_to_the_broker(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    frames = [frame(camera, seq) for seq in range(3)] + [frame(camera, 9, image=b"no image")]
    traced = pipeline.model_copy(update={"redis": pipeline.redis.model_copy(update={"traces": True})})
    async with RedisStore(pipeline.redis) as store:
        async with running(traced):
            await publish(traced, [(0, encode_frame(each)) for each in frames])
            (*labels, _) = await labelled(store, frames)
        traces = [await store.trace(camera, each.seq) for each in frames]
    for label, trace in zip(labels, traces, strict=False):
        assert trace.edge is not None
        assert trace.offload is not None
        names = [stage.name for stage in trace.stages]
        assert names == ["read", "prepare", "infer", "gate", "publish", "offer", "queue", "send"]
        ends = [stage.ended_ns for stage in trace.stages]
        assert ends == sorted(ends)
        assert trace.edge.leading[0] == (label.name, pytest.approx(label.confidence, abs=1e-6))
        assert (trace.offload.result, trace.offload.codec) == (DELIVERED, "webp")
        assert trace.why(label) == "the record was sent; no server's answer has come"
    refused = traces[-1]
    assert refused.edge is not None
    assert ([stage.name for stage in refused.stages], refused.edge.leading) == (
        ["read", "prepare", "gate", "publish"],
        (),
    )
