"""A server worker: offload records from Kafka in, final labels in Redis out.

    read -> batcher -> infer -> publish
    (check,  (who is   (device  (a queue for
    decode)   next)    thread)   each Redis)

A record's offset is finished when its label is written, refused as late, or lost with its Redis; when it had
expired; or when it is a dead letter. A batch is formed when the device is free, never before.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import Any, NamedTuple

from gating.task import CLASSIFICATION
from runtime.clock import Clock, SystemClock
from runtime.codec_threads import CodecThreads
from runtime.dead_letters import DeadLetters, LetterSink
from runtime.deployment import DeploymentFollower, open_first
from runtime.device_thread import DeviceThread
from runtime.health import ALL_SITES_ANSWER, DEPLOYED_PAIR, GROUP_JOINED, MODEL_WARM, REDIS_ANSWERS, Health
from runtime.heartbeat import ClockKeeper, Heartbeat
from runtime.kafka_sink import Sink
from runtime.kafka_source import KafkaSource
from runtime.label_writer import LabelWriter
from runtime.log import get_logger
from runtime.metrics import Metrics
from runtime.otlp import span_writers
from runtime.status_server import serve_status
from runtime.traces import TraceWriter
from runtime.worker import GroupMember, run_worker
from schemas.deployment import Role
from schemas.geometry import FULL_TOKENS, PATCH_SIDE
from schemas.limits import DEAD_LETTER_ROOM_BYTES
from schemas.topics import max_offload_record_bytes, offload_topics
from server_workers.batcher import Batcher
from server_workers.infer import ServerInference
from server_workers.intake import RecordCheck, RecordReader
from server_workers.load import LoadReporter
from server_workers.metrics import ServerTally
from server_workers.models import ServerModels, load
from server_workers.publish import AnswerPublisher, LabelQueue
from server_workers.settings import ServerProgramSettings, ServerSettings
from server_workers.sites import SiteRedis, Sites, connect_sites
from server_workers.task import AnswerTask
from server_workers.trace import ServerTracer, ServerTraces

_PATCH_BYTES = PATCH_SIDE * PATCH_SIDE * 3
_log = get_logger(__name__)


class ServerPorts(NamedTuple):
    """What the worker talks to outside its process: Kafka and Redis, or their twins in memory."""

    source: GroupMember
    """Of the offload topics; has not joined its group."""
    sites: Sites
    letters_sink: LetterSink


@dataclass(frozen=True, slots=True)
class ServerAdapters:
    """What the worker is built around, ready. `results` is the thread that waits for the device."""

    ports: ServerPorts
    models: ServerModels
    device: DeviceThread
    results: DeviceThread


class ServerWorker:
    """The stages of one worker and what connects them."""

    def __init__(
        self,
        settings: ServerProgramSettings,
        adapters: ServerAdapters,
        *,
        clock: Clock,
        metrics: Metrics,
        health: Health,
    ) -> None:
        server = settings.server
        self._settings = settings
        self._health = health
        self._clock = clock
        self._metrics = metrics.consumer
        self._sites = adapters.ports.sites
        self._models = adapters.models
        self.letters = DeadLetters(adapters.ports.letters_sink)
        self._threads = CodecThreads(server.decode_threads)
        self._tally = ServerTally(metrics, settings.topics.offload)
        self._batcher = _batcher(settings.server, adapters.models.newest.tokens_per_s)
        self._reader = RecordReader(
            adapters.ports.source,
            self._batcher,
            self.letters,
            self._threads,
            check=RecordCheck(
                adapters.models.of,
                settings.edge.max_offload_bytes,
                adapters.ports.sites.deadline_s,
                settings.topics.offload,
            ),
            clock=clock,
            tally=self._tally,
        )
        self.intake = self._reader.intake
        self._spans = span_writers(settings.otlp, "server")
        self._traces = {
            redis.name: [TraceWriter(redis.store)] if settings.redis.traces else []
            for redis in self._sites.redises
        }
        self._queues = {redis.name: self._queue(redis) for redis in self._sites.redises}
        self._inference = self._make_inference(adapters)
        self._up: set[str] = set()
        self._keepers = {redis.name: self._keeper(redis) for redis in self._sites.redises}
        self._reporters = self._make_reporters()
        self._follower = DeploymentFollower(
            [redis.store for redis in self._sites.redises], self._models, health=health, metrics=self._metrics
        )
        self.heartbeat = Heartbeat(
            self.intake, adapters.ports.source, settings.topics.offload, health=health, metrics=self._metrics
        )

    def _make_inference(self, adapters: ServerAdapters) -> ServerInference:
        return ServerInference(
            adapters.device,
            adapters.results,
            self._batcher,
            self._reader,
            publisher=AnswerPublisher(self._sites, self._queues),
            sites=self._sites,
            letters=self.letters,
            tally=self._tally,
            clock=self._clock,
            tracer=self._make_tracer() if self._settings.redis.traces or self._spans else None,
            edge_weight=self._settings.server.edge_weight,
            batches_in_flight=adapters.models.newest.batches_in_flight,
        )

    def _make_tracer(self) -> ServerTracer:
        worker = f"{socket.gethostname()}:{os.getpid()}"
        return ServerTracer(self._sites, CLASSIFICATION, worker)

    def _keeper(self, redis: SiteRedis) -> ClockKeeper:
        return ClockKeeper(
            redis.store,
            redis.site_clock,
            self._clock,
            redis.name,
            metrics=self._metrics,
            answers=partial(self._answers, redis.name),
        )

    async def read(self) -> None:
        """Takes records until cancelled."""
        await self._reader.run()

    def end(self) -> None:
        """What waits for the model is released; the stages end one after another."""
        self._reader.end()

    def stages(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """From the batcher to labels that wait at their site's Redis."""
        return {"infer": self._inference.begin(), "collect": self._inference.collect()}

    def beside(self, settled: asyncio.Event) -> Mapping[str, Coroutine[Any, Any, None]]:
        """For each Redis: its labels, its clock, and what it is told; the spans of all, and the deployed pair."""
        work = {f"spans {number}": writer.run(settled) for number, writer in enumerate(self._spans)}
        work["models"] = self._follower.run(settled)
        for redis in self._sites.redises:
            work[f"labels {redis.name}"] = self._queues[redis.name].run()
            work[f"clock {redis.name}"] = self._keepers[redis.name].run(settled)
            for writer in self._traces[redis.name]:
                work[f"traces {redis.name}"] = writer.run(settled)
            work[f"report {redis.name}"] = self._reporters[redis.name].run(settled)
        return work

    async def settle(self) -> None:
        """Nothing: a label is written, or lost, when its queue is empty."""

    def close(self) -> None:
        """The codec threads are let go of."""
        self._threads.close()

    def _queue(self, redis: SiteRedis) -> LabelQueue:
        # Where one Redis is all there is, waiting for it costs nobody else anything.
        serves_several = len(self._sites.redises) > 1
        return LabelQueue(
            LabelWriter(redis.store, self._metrics, redis.name),
            self._tally,
            self._clock,
            grace_s=self._settings.redis.deadline_grace_ms / 1000,
            give_up_s=self._settings.server.label_write_timeout_s if serves_several else None,
            board=redis.store,
            traces=ServerTraces([*self._traces[redis.name], *self._spans], redis.site_clock),
        )

    def _make_reporters(self) -> dict[str, LoadReporter]:
        server = f"{socket.gethostname()[:64]}-{os.getpid()}-{token_hex(2)}"
        known = self._sites.named | {"", self._settings.site}
        return {
            redis.name: LoadReporter(
                server,
                redis,
                self._sites,
                {site for site in known if self._sites.of(site) is redis},
                models=self._models,
                tally=self._tally,
                batcher=self._batcher,
                clock=self._clock,
            )
            for redis in self._sites.redises
        }

    def _answers(self, name: str, up: bool) -> None:
        """One Redis that answers makes the worker ready: a dead one is its own site's trouble."""
        if up:
            self._up.add(name)
        else:
            self._up.discard(name)
        self._health.meets(REDIS_ANSWERS, bool(self._up))
        silent = sorted(self._keepers.keys() - self._up)
        self._health.meets(ALL_SITES_ANSWER, not silent, f"no answer from the Redis of {', '.join(silent)}")


def _batcher(server: ServerSettings, tokens_per_s: float) -> Batcher[AnswerTask]:
    batcher: Batcher[AnswerTask] = Batcher(
        max_batch_tokens=server.max_batch_tokens,
        max_batch_s=server.max_batch_ms / 1000,
        max_wait_s=server.max_batch_wait_ms / 1000,
        max_waiting_sets=server.max_waiting_records,
        max_waiting_tokens=server.max_waiting_bytes // _PATCH_BYTES,
        max_set_tokens=FULL_TOKENS,
    )
    batcher.learn(FULL_TOKENS, FULL_TOKENS / tokens_per_s)
    return batcher


ConnectServer = Callable[[ServerProgramSettings, Clock, AsyncExitStack], Awaitable[ServerPorts]]


async def run_server(
    settings: ServerProgramSettings, stop: asyncio.Event, connect_ports: ConnectServer | None = None
) -> None:
    """One server worker until `stop` is set; more of them in the same group share the work.

    Args:
        connect_ports: makes the ports, entered into the stack; by default to Kafka and Redis.

    Raises:
        SaccadeError: a setting, the model or Kafka does not allow to start.
        StoppedEarly: `stop` was set before the work began.
    """
    clock, metrics = SystemClock(), Metrics("server", per_camera=settings.metrics.per_camera)
    needed = (GROUP_JOINED, MODEL_WARM, REDIS_ANSWERS)
    health = Health(clock, settings.metrics.stuck_after_s, needed, wished=(ALL_SITES_ANSWER, DEPLOYED_PAIR))

    async def connect(stack: AsyncExitStack) -> tuple[GroupMember, ServerWorker]:
        ports = await (connect_ports or connect_kafka_and_redis)(settings, clock, stack)
        adapters = await _adapters(settings, ports, clock, stack)
        health.meets(MODEL_WARM, True)
        worker = ServerWorker(settings, adapters, clock=clock, metrics=metrics, health=health)
        stack.callback(worker.close)
        return ports.source, worker

    async with serve_status(settings.metrics, metrics, health):
        commit_interval_s = settings.server.commit_interval_ms / 1000
        await run_worker(connect, stop, health=health, commit_interval_s=commit_interval_s)


async def connect_kafka_and_redis(
    settings: ServerProgramSettings, clock: Clock, stack: AsyncExitStack
) -> ServerPorts:
    """The ports of a worker in a real data centre; no site is waited for."""
    sites = await connect_sites(settings, clock, stack)
    record_bytes = max_offload_record_bytes(settings.edge.max_offload_bytes) + DEAD_LETTER_ROOM_BYTES
    sink = Sink(
        settings.offload_cluster,
        max_request_bytes=record_bytes,
        max_in_flight_bytes=8 * record_bytes,
        in_background=True,
    )
    await stack.enter_async_context(sink)
    source = KafkaSource(
        settings.offload_cluster,
        pattern=offload_topics(settings.topics.offload),
        group_id=settings.server.group_id,
        group_instance_id=settings.server.group_instance_id,
        fetch_max_bytes=settings.server.fetch_max_bytes,
        max_partition_fetch_bytes=settings.server.max_partition_fetch_bytes,
        in_background=True,
    )
    return ServerPorts(source, sites, sink)


async def _adapters(
    settings: ServerProgramSettings, ports: ServerPorts, clock: Clock, stack: AsyncExitStack
) -> ServerAdapters:
    # torch is imported here and not with this module: it takes seconds and other commands do without.
    from server_workers.engine import ServerEngine

    device = await stack.enter_async_context(DeviceThread("server-model"))
    load_pair = partial(load, ServerEngine, settings.server)
    board = ports.sites.redises[0].store
    pair, first = await open_first(board, Role.SERVER, partial(device.submit, load_pair))
    _log.info(
        "server model is warm", model=first.name, tokens_per_s=round(first.tokens_per_s), pair=pair.folder
    )
    results = await stack.enter_async_context(DeviceThread("server-results"))
    return ServerAdapters(ports, ServerModels(first, load_pair, clock), device, results)
