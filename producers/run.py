"""The producers' process: settings to adapters, checks at start, cameras, drain."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from producers.camera import CameraSpec, check_names
from producers.camera_file import followed, load_cameras
from producers.camera_stats import ProducerSummary
from producers.newest import NewestNumbers
from producers.ownership import MAX_KNOWN_SEQ, warn_of_ignored
from producers.publish import FramePublisher
from producers.settings import ProducerProgramSettings
from producers.worker import ProducerPorts, ProducerWorker
from runtime.clock import Clock, SystemClock
from runtime.codec_threads import CodecThreads
from runtime.health import KAFKA_ACCEPTS, REDIS_ANSWERS, Health
from runtime.kafka_admin import check_topics
from runtime.kafka_connection import Record
from runtime.kafka_newest import newest_by_key
from runtime.kafka_sink import Sink
from runtime.lifecycle import cut_short_by
from runtime.log import get_logger
from runtime.metrics import Metrics
from runtime.redis_store import RedisStore
from runtime.status_server import serve_status
from schemas.errors import DecodeError, SettingsError, StackError, TransientError
from schemas.frame import decode_frame
from schemas.topics import frames_specs, max_frame_record_bytes

_log = get_logger(__name__)

ENCODE_THREADS: Final = 2
"""A 640x480 JPEG takes about 1 ms: two threads encode more than one event loop can send."""

FLUSH_SHARE: Final = 0.3
"""Of the drain time; cameras end before, and the sink waits once more when it closes and then gives up."""


async def run_producers(
    settings: ProducerProgramSettings,
    cameras: Sequence[CameraSpec],
    *,
    stop: asyncio.Event,
    camera_file: Path | None = None,
) -> ProducerSummary:
    """Publish the cameras until all have ended or `stop` is set; return what became of their frames.

    The cameras of `camera_file` come beside them; it may be edited meanwhile, and only `stop` ends the work then.

    Without Kafka the cameras are read all the same, and their frames dropped as each camera's policy says. A camera
    that fails ends alone and its summary says why. At the end, what Kafka's client holds has up to
    `producer.drain_s` to be acknowledged.

    Raises:
        SettingsError: two cameras of one name, or a limit on the way that does not let a frame through.
        StackError: the topic is missing.
        StoppedEarly: `stop` was set before the cameras could begin.
    """
    listed = [] if camera_file is None else await asyncio.to_thread(load_cameras, camera_file)
    check_names([*cameras, *listed], site=settings.site, at_least=0 if camera_file is not None else 1)
    clock = SystemClock()
    metrics = Metrics("producer", per_camera=settings.metrics.per_camera)
    health = Health(clock, settings.metrics.stuck_after_s, [REDIS_ANSWERS, KAFKA_ACCEPTS])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve_status(settings.metrics, metrics, health))
        async with cut_short_by(stop):
            ports = await open_ports(settings, stack, metrics, health, clock)
        worker = ProducerWorker(settings.site, settings.producer, [*cameras, *listed], ports)
        health.running()
        _log.info("ready", cameras=[str(camera) for camera in [*cameras, *listed]])
        await worker.run(
            stop, None if camera_file is None else _all_cameras(cameras, camera_file, settings.site)
        )
        health.stopping()
        await ports.flush(settings.producer.drain_s * FLUSH_SHARE)
    await asyncio.sleep(0)  # the sink's last answers are counted in callbacks
    return ProducerSummary({camera: stats.summary() for camera, stats in worker.stats.items()})


async def _all_cameras(
    fixed: Sequence[CameraSpec], camera_file: Path, site: str
) -> AsyncIterator[Sequence[CameraSpec]]:
    async for listed in followed(camera_file):
        try:
            check_names([*fixed, *listed], site=site, at_least=0)
        except SettingsError as wrong:
            _log.error("cameras unchanged", why=str(wrong))
        else:
            yield [*fixed, *listed]


async def open_ports(
    settings: ProducerProgramSettings, stack: AsyncExitStack, metrics: Metrics, health: Health, clock: Clock
) -> ProducerPorts:
    """Return what the cameras share, open until `stack` ends; the topic, if Kafka tells, takes the largest frame."""
    try:
        await check_frames_topic(settings)
    except TransientError as away:
        _log.warning("begins without Kafka", why=str(away))
    store = await stack.enter_async_context(RedisStore(settings.redis))
    sink = await stack.enter_async_context(frames_sink(settings))
    publisher = FramePublisher(sink, topic=settings.topics.frames)
    return ProducerPorts(
        publisher=publisher,
        flush=sink.flush,
        in_flight_bytes=lambda: sink.in_flight_bytes,
        trouble=lambda: sink.trouble,
        store=store,
        newest_in_kafka=NewestNumbers(
            partial(newest_seqs, settings), num_partitions=publisher.num_partitions
        ),
        threads=stack.enter_context(CodecThreads(ENCODE_THREADS)),
        metrics=metrics,
        health=health,
        clock=clock,
    )


def frames_sink(settings: ProducerProgramSettings) -> Sink:
    """Return the sink for `frames`, which refuses by itself what the topic would refuse."""
    return Sink(
        settings.kafka,
        max_request_bytes=max_frame_record_bytes(settings.producer.max_frame_bytes),
        max_in_flight_bytes=settings.producer.max_in_flight_bytes,
        linger_ms=settings.producer.linger_ms,
        in_background=True,
    )


async def check_frames_topic(settings: ProducerProgramSettings) -> None:
    """Return when the topic exists and lets the largest frame through; other differences are logged.

    The limits of the producer itself and of the edge workers' consumers are checked with the settings.

    Raises:
        StackError: the topic is missing.
        SettingsError: its `max.message.bytes` is below what `producer.max_frame_bytes` needs.
        TransientError: Kafka does not answer.
    """
    spec = frames_specs(
        name=settings.topics.frames,
        partitions=settings.topics.partitions,
        max_frame_bytes=settings.producer.max_frame_bytes,
        disk_bytes=settings.topics.frames_disk_bytes,
    )[0]
    for problem in await check_topics(settings.kafka, [spec]):
        if "does not exist" in problem:
            raise StackError(f"{problem}; saccade topics create makes it")
        if "max.message.bytes" in problem:
            limit = settings.producer.max_frame_bytes
            raise SettingsError(f"producer.max_frame_bytes {limit} does not fit: {problem} or more")
        _log.warning("topic differs from the settings", problem=problem)


async def newest_seqs(
    settings: ProducerProgramSettings, partition: int, keys: Collection[bytes]
) -> dict[bytes, int]:
    """Return, by key, the number of each camera's newest frame in a partition of the topic.

    Frames numbered above `MAX_KNOWN_SEQ` are passed over with one warning a camera, so that the newest real one
    before them is found.

    Raises:
        TransientError: Kafka does not answer.
    """
    warned: set[str] = set()

    def seq_of(record: Record) -> int | None:
        try:
            frame = decode_frame(
                record.value, max_frame_bytes=len(record.value), max_frame_pixels=sys.maxsize
            )
        except DecodeError:
            return None  # garbage under this camera's key; the edge workers count it
        if frame.seq <= MAX_KNOWN_SEQ:
            return frame.seq
        if frame.camera not in warned:
            warned.add(frame.camera)
            warn_of_ignored(frame.camera, frame.seq)
        return None

    return await newest_by_key(settings.kafka, settings.topics.frames, partition, keys, seq_of)
