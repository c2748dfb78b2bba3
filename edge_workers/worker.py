"""An edge worker: frames from Kafka in, labels in Redis and offload records out.

    read -> prepare -> infer -> gate -> publish -> offer -> uplink
    (cameras (decode   (device   (label,  (Redis)   (select,  (budget,
    in turn)  threads)  thread)   tau)               encode)   Kafka)

Each frame is a `FrameTask`, which one stage after the other owns. A frame that is refused, too old or no image,
goes the same way to its label.

A frame's offset is free when its label is in Redis and its offload, if any, is acknowledged or given up.
Every channel is bounded: where Redis or the model is slow, reading stops. Where the uplink is slow nothing
else waits; records end at their deadline and frames keep the edge's label.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from edge_workers.answers import Answers
from edge_workers.gate import Gating
from edge_workers.infer import EdgeInference
from edge_workers.intake import FrameReader
from edge_workers.metrics import FrameMetrics
from edge_workers.models import EdgeModels, load
from edge_workers.offer import Offerer
from edge_workers.prepare import FrameBatch, Preparer, prepare
from edge_workers.publish import LabelPublisher
from edge_workers.settings import EdgeProgramSettings
from edge_workers.task import FrameTask, Outputs
from edge_workers.trace import EdgeTracer
from gating.cameras import Cameras
from gating.gate import Gate
from gating.stillness import CameraStillness
from runtime.channel import Channel
from runtime.clock import Clock, SystemClock
from runtime.codec_threads import CodecThreads
from runtime.dead_letters import DeadLetters, LetterSink
from runtime.deployment import DeploymentFollower, open_first
from runtime.device_thread import DeviceThread
from runtime.health import DEPLOYED_PAIR, GROUP_JOINED, MODEL_WARM, OFFLOAD_ACCEPTS, REDIS_ANSWERS, Health
from runtime.heartbeat import ClockKeeper, Heartbeat
from runtime.kafka_admin import pipeline_topics
from runtime.kafka_connection import START_TIMEOUT_S
from runtime.kafka_sink import Sink
from runtime.kafka_source import KafkaSource
from runtime.label_writer import LabelWriter
from runtime.log import get_logger
from runtime.metrics import Metrics
from runtime.otlp import span_writers
from runtime.redis_store import RedisStore
from runtime.site_clock import SiteClock
from runtime.status_server import serve_status
from runtime.stores import SiteStores
from runtime.traces import TraceWriter
from runtime.worker import GroupMember, answered, run_worker
from schemas.deployment import Role
from schemas.limits import DEAD_LETTER_ROOM_BYTES
from schemas.topics import max_frame_record_bytes, max_offload_record_bytes
from uplink.allowance import MAX_HAND_OVER_S
from uplink.setup import make_uplink
from uplink.shell import OffloadSink, Uplink
from vit import SHIPPED_FRONTIER

_CHANNEL_BATCHES = 4
_MAX_IN_FLIGHT_BYTES = 4 * 1024 * 1024
"""Offload bytes handed to Kafka and not acknowledged, without a budget."""
_MAX_REQUESTS = 8
"""Offload requests under way at once, each by a producer of its own, opened when it is needed."""
_RETRY_BACKOFF_MS = round(MAX_HAND_OVER_S * 1_000)
"""What is under way takes so long to send at the budget's rate. A broker that asks for another try again and again
(no topic, not enough replicas) then gets no more than the budget; at the library's 100 ms it got ten times as much."""
_log = get_logger(__name__)


class EdgePorts(NamedTuple):
    """What the worker talks to outside its process: Kafka and Redis, or their twins in memory."""

    source: GroupMember
    """Of `frames`; has not joined its group."""
    store: SiteStores
    letters_sink: LetterSink
    offload_sink: OffloadSink
    more_offload_sinks: Sequence[AbstractAsyncContextManager[OffloadSink]] = ()
    """Connected where one request after the other does not fill the path."""
    offload_trouble: Callable[[], str | None] = lambda: None
    """Why the offload cluster accepts nothing at present, one line; None while it does."""


@dataclass(frozen=True, slots=True)
class EdgeAdapters:
    """What the worker is built around, ready: its ports, its model and its uplink."""

    ports: EdgePorts
    models: EdgeModels
    device: DeviceThread
    uplink: Uplink


class EdgeWorker:
    """The stages of one worker and the channels between them."""

    def __init__(
        self,
        settings: EdgeProgramSettings,
        adapters: EdgeAdapters,
        *,
        clock: Clock,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._settings = settings
        self._adapters = adapters
        self._clock = clock
        self._health = health
        self._metrics = metrics.consumer
        self._frame_metrics = FrameMetrics(metrics, settings.topics.frames, clock)
        self._threads = CodecThreads(
            settings.edge.decode_threads, initializer=adapters.models.engine.in_codec_thread
        )
        self._site_clock = SiteClock()
        self._clock_keeper = ClockKeeper(
            adapters.ports.store,
            self._site_clock,
            clock,
            settings.site,
            metrics=metrics.consumer,
            answers=self._tell_health,
        )
        self.letters = DeadLetters(adapters.ports.letters_sink)
        # Nothing waits between prepare and infer: the next frames are chosen when the model takes a batch.
        self._prepared: Channel[FrameBatch] = Channel(0)
        self._inferred: Channel[list[FrameTask]] = Channel(_CHANNEL_BATCHES)
        self._asking: Channel[list[FrameTask]] = Channel(_CHANNEL_BATCHES)
        self._traces = [TraceWriter(adapters.ports.store)] if settings.redis.traces else []
        self._traces += span_writers(settings.otlp, "edge")
        self._tracer = self._make_tracer() if self._traces else None
        self._reader = FrameReader(adapters.ports.source, settings, clock, self.letters, self._frame_metrics)
        self.intake = self._reader.intake
        self.heartbeat = Heartbeat(
            self.intake, adapters.ports.source, settings.topics.frames, health=health, metrics=self._metrics
        )
        self._follower = DeploymentFollower(
            [adapters.ports.store], adapters.models, health=health, metrics=self._metrics
        )
        self._offers_over = asyncio.Event()
        self._prepare = partial(
            prepare,
            max_frame_pixels=settings.producer.max_frame_pixels,
            resize_crop=adapters.models.engine.resize_crop,
        )
        self._preparer = self._make_preparer()
        self._inference = EdgeInference(
            adapters.models,
            adapters.device,
            prepared=self._prepared,
            inferred=self._inferred,
            metrics=self._frame_metrics,
        )
        gating = self._make_gating()
        writer = LabelWriter(adapters.ports.store, self._metrics, settings.site)
        self._answers = Answers(adapters.ports.store, settings.site, gating, writer)
        self._publisher = LabelPublisher(
            gating,
            writer,
            self.letters,
            inferred=self._inferred,
            asking=self._asking,
            unasked=self._answers.unasked,
            tracer=self._tracer,
            metrics=self._frame_metrics,
        )
        self._offerer = self._make_offerer()

    def _make_tracer(self) -> EdgeTracer:
        worker = f"{socket.gethostname()}:{os.getpid()}"
        return EdgeTracer(self._traces, self._clock, self._site_clock, worker)

    def _make_preparer(self) -> Preparer:
        uplink, wanted = self._adapters.uplink, self._settings.edge.stillness
        cameras = Cameras(CameraStillness[Outputs])

        def stillness() -> Cameras[CameraStillness[Outputs]] | None:
            is_auto_on = uplink.belief is not None and uplink.belief.memory_s > 0
            return cameras if wanted == "on" or (wanted == "auto" and is_auto_on) else None

        return Preparer(
            self._reader,
            self._threads,
            batch_frames=self._settings.edge.batch_frames,
            max_frame_pixels=self._settings.producer.max_frame_pixels,
            prepare=self._prepare,
            prepared=self._prepared,
            metrics=self._frame_metrics,
            clock=self._clock,
            stillness=stillness,
        )

    def _make_gating(self) -> Gating:
        return Gating(
            Gate(score=self._settings.edge.score),
            self._adapters.uplink,
            max_latency_ms=self._settings.edge.max_latency_ms,
            clock=self._clock,
            site_clock=self._site_clock,
            metrics=self._frame_metrics,
        )

    def _make_offerer(self) -> Offerer:
        return Offerer(
            self._adapters.uplink,
            self._threads,
            site_clock=self._site_clock,
            max_offload_bytes=self._settings.edge.max_offload_bytes,
            prepare=self._prepare,
            asking=self._asking,
            unasked=self._answers.unasked,
            tracer=self._tracer,
            metrics=self._frame_metrics,
        )

    def _tell_health(self, redis_answers: bool) -> None:
        """Told once a second; without the offload cluster frames keep the edge's answer, and the worker is ready."""
        self._health.meets(REDIS_ANSWERS, redis_answers)
        trouble = self._adapters.ports.offload_trouble()
        self._health.meets(OFFLOAD_ACCEPTS, trouble is None, trouble or "")

    async def ready(self) -> None:
        """The site's Redis has told its time, without which there are no deadlines.

        Raises:
            TransientError: it does not answer.
        """
        await self._clock_keeper.known(START_TIMEOUT_S)

    async def read(self) -> None:
        """Takes frames until cancelled."""
        await self._reader.run()

    def end(self) -> None:
        """What waits for the model is released; the stages end one after another."""
        self._reader.end()

    def stages(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """From the backlog to labels in Redis and records at the uplink."""
        return {
            "prepare": self._preparer.run(),
            "infer": self._inference.run(),
            "publish": self._publisher.run(),
            "offer": self._offerer.run(),
        }

    def beside(self, settled: asyncio.Event) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The uplink, the site's clock, traces, the way back, and the deployed pair."""
        return {
            "uplink": self._adapters.uplink.run(self._offers_over),
            "clock": self._clock_keeper.run(settled),
            "answers": self._answers.run(settled),
            **{f"traces {number}": writer.run(settled) for number, writer in enumerate(self._traces)},
            "models": self._follower.run(settled),
        }

    async def settle(self) -> None:
        """The uplink has had some time to send what it holds; the rest is left to be read again."""
        edge = self._settings.edge
        with suppress(TimeoutError):
            async with asyncio.timeout(min(edge.max_latency_ms / 1000, edge.drain_s / 2)):
                await self.intake.drained()
        self._offers_over.set()

    def close(self) -> None:
        """The codec threads are let go of."""
        self._threads.close()


ConnectEdge = Callable[[EdgeProgramSettings, AsyncExitStack], Awaitable[EdgePorts]]


async def run_edge(
    settings: EdgeProgramSettings, stop: asyncio.Event, connect_ports: ConnectEdge | None = None
) -> None:
    """One edge worker until `stop` is set; more of them in the same group share the work.

    Args:
        connect_ports: makes the ports, entered into the stack; by default to Kafka and Redis.

    Raises:
        SaccadeError: a setting, the model, Kafka or Redis does not allow to start.
        StoppedEarly: `stop` was set before the work began.
    """
    clock, metrics = SystemClock(), Metrics("edge", per_camera=settings.metrics.per_camera)
    needed = (GROUP_JOINED, MODEL_WARM, REDIS_ANSWERS)
    health = Health(clock, settings.metrics.stuck_after_s, needed, wished=(OFFLOAD_ACCEPTS, DEPLOYED_PAIR))

    async def connect(stack: AsyncExitStack) -> tuple[GroupMember, EdgeWorker]:
        ports = await (connect_ports or connect_kafka_and_redis)(settings, stack)
        adapters = await _adapters(settings, ports, clock, metrics, stack)
        health.meets(MODEL_WARM, True)
        worker = EdgeWorker(settings, adapters, clock=clock, metrics=metrics, health=health)
        stack.callback(worker.close)
        await answered(worker.ready, health=health, condition=REDIS_ANSWERS)
        return ports.source, worker

    async with serve_status(settings.metrics, metrics, health):
        commit_interval_s = settings.edge.commit_interval_ms / 1000
        await run_worker(connect, stop, health=health, commit_interval_s=commit_interval_s)


async def connect_kafka_and_redis(settings: EdgeProgramSettings, stack: AsyncExitStack) -> EdgePorts:
    """The ports of a worker on a real site."""
    store = await stack.enter_async_context(RedisStore(settings.redis))
    frame_bytes = max_frame_record_bytes(settings.producer.max_frame_bytes) + DEAD_LETTER_ROOM_BYTES
    letters_sink = Sink(
        settings.kafka,
        max_request_bytes=frame_bytes,
        max_in_flight_bytes=2 * frame_bytes,
        in_background=True,
    )
    offload_bytes = max_offload_record_bytes(settings.edge.max_offload_bytes)
    offload_sink, *more_sinks = (
        Sink(
            settings.offload_cluster,
            max_request_bytes=offload_bytes,
            max_in_flight_bytes=_MAX_IN_FLIGHT_BYTES,
            linger_ms=settings.edge.offload_linger_ms,
            request_timeout_ms=settings.edge.offload_request_timeout_ms,
            retry_backoff_ms=max(_RETRY_BACKOFF_MS, settings.offload_cluster.retry_backoff_ms),
            in_background=True,
        )
        for _ in range(_MAX_REQUESTS)
    )
    await stack.enter_async_context(letters_sink)
    await stack.enter_async_context(offload_sink)
    source = KafkaSource(
        settings.kafka,
        [settings.topics.frames],
        group_id=settings.edge.group_id,
        group_instance_id=settings.edge.group_instance_id,
        fetch_max_bytes=settings.edge.fetch_max_bytes,
        max_partition_fetch_bytes=settings.edge.max_partition_fetch_bytes,
        expects=pipeline_topics(settings)[:2],
        in_background=True,
    )
    return EdgePorts(source, store, letters_sink, offload_sink, more_sinks, lambda: offload_sink.trouble)


async def _adapters(
    settings: EdgeProgramSettings,
    ports: EdgePorts,
    clock: Clock,
    metrics: Metrics,
    stack: AsyncExitStack,
) -> EdgeAdapters:
    # torch is imported here and not with this module: it takes seconds and other commands do without.
    from edge_workers.engine import EdgeEngine

    device = await stack.enter_async_context(DeviceThread("edge-model"))
    load_pair = partial(load, EdgeEngine, settings.edge)
    pair, first = await open_first(ports.store, Role.EDGE, partial(device.submit, load_pair))
    identity = first.engine.identity
    _log.info("edge model is warm", model=identity.name, classes=len(identity.classes), pair=pair.folder)
    is_others = pair.folder and settings.edge.model.partition(":")[0] != "shipped"
    uplink = make_uplink(
        settings,
        ports.offload_sink,
        ports.store,
        clock,
        metrics,
        edge_hash=None if pair.folder else identity.weights_hash,
        classes_hash=identity.classes_hash,
        shipped=None if is_others else SHIPPED_FRONTIER,
        point=settings.edge.point,
        request_timeout_s=settings.edge.offload_request_timeout_ms / 1000,
        more_sinks=ports.more_offload_sinks,
    )
    return EdgeAdapters(ports, EdgeModels(first, load_pair, uplink), device, uplink)
