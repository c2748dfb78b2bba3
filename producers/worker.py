"""All cameras of one process: each owned, captured and published on its own, none in another's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final

from producers.camera import CameraSpec
from producers.camera_stats import CameraStats
from producers.metrics import CameraSeries, ProducerMetrics
from producers.ownership import TAKE_OVER_WAIT_S, CameraOwnership, CameraStore
from producers.pipeline import CameraContext, CameraPipeline
from producers.publish import Publisher
from producers.settings import ProducerSettings
from producers.sources.source import OpenOptions, Session
from runtime.clock import Clock
from runtime.health import REDIS_ANSWERS, Health
from runtime.log import get_logger
from runtime.metrics import Metrics
from schemas.errors import LeaseError, SettingsError, SourceError, TransientError, leaves
from schemas.identity import camera_id

_log = get_logger(__name__)

REPORT_INTERVAL_S: Final = 1.0

SessionOpener = Callable[[CameraSpec, OpenOptions], Session]


@dataclass(frozen=True, slots=True)
class ProducerPorts:
    """What the cameras share: the ways to Kafka and Redis, threads for encoding, a clock, metrics."""

    publisher: Publisher
    flush: Callable[[float], Awaitable[bool]]
    in_flight_bytes: Callable[[], int]
    store: CameraStore
    newest_in_kafka: Callable[[str], Awaitable[int | None]]
    pool: Executor
    metrics: Metrics
    health: Health
    clock: Clock


class ProducerWorker:
    """Publishes cameras until all have ended or `stop` is set. `stats` holds each camera's counts."""

    def __init__(
        self,
        site: str,
        settings: ProducerSettings,
        cameras: Sequence[CameraSpec],
        ports: ProducerPorts,
        *,
        opener: SessionOpener | None = None,
    ) -> None:
        self._site = site
        self._settings = settings
        self._ports = ports
        self._opener = opener or _open
        self._cameras = {camera_id(site, camera.name): camera for camera in cameras}
        self.stats = {camera: CameraStats(CameraSeries(ports.metrics, camera)) for camera in self._cameras}

    async def run(self, stop: asyncio.Event) -> None:
        """Return when every camera has ended by itself, failed (its stats say why), or `stop` is set.

        What was captured but not handed to Kafka when `stop` is set is discarded; what was handed over is for
        the caller to flush.
        """
        async with asyncio.TaskGroup() as group:
            reporter = group.create_task(self._report())
            tasks = [
                group.create_task(self._run_camera(camera, spec), name=camera)
                for camera, spec in self._cameras.items()
            ]
            stopper = group.create_task(_cancel_after(stop, tasks))
            await asyncio.wait(tasks)
            stopper.cancel()
            reporter.cancel()

    async def _run_camera(self, camera: str, spec: CameraSpec) -> None:
        """Run one camera; what is wrong with it alone ends it alone."""
        try:
            await self._own_and_publish(camera, spec)
        except ExceptionGroup as group:
            errors = leaves(group)
            if not all(isinstance(error, (LeaseError, SourceError, SettingsError)) for error in errors):
                raise
            self._fail(camera, "; ".join(str(error) for error in errors))
        except (LeaseError, SourceError, SettingsError) as error:
            self._fail(camera, str(error))

    async def _own_and_publish(self, camera: str, spec: CameraSpec) -> None:
        ports = self._ports
        ownership = CameraOwnership(
            camera,
            state_dir=self._settings.state_folder,
            block=self._settings.sequence_block,
            store=ports.store,
            newest_in_kafka=ports.newest_in_kafka,
            clock=ports.clock,
            take_over_wait_s=TAKE_OVER_WAIT_S,
            tell=self.stats[camera].troubled,
        )
        async with ownership, asyncio.TaskGroup() as group:
            keeper = group.create_task(ownership.keep())
            context = CameraContext(
                site=self._site,
                camera=camera,
                settings=self._settings,
                numbers=ownership,
                publisher=ports.publisher,
                stats=self.stats[camera],
                clock=ports.clock,
                pool=ports.pool,
                open_source=partial(self._session, spec),
            )
            await CameraPipeline(spec, context).run()
            keeper.cancel()

    async def _redis_answers(self) -> bool:
        try:
            await self._ports.store.time_ns()
        except TransientError:
            return False
        return True

    def _session(self, spec: CameraSpec, pause: Callable[[float], bool]) -> Session:
        settings = self._settings
        fps = settings.fps if spec.fps is None else spec.fps
        options = OpenOptions(
            fps=fps or None,
            open_timeout_s=settings.open_timeout_s,
            read_timeout_s=settings.read_timeout_s,
            max_pixels=settings.max_frame_pixels,
            own_time=settings.captured == "own",
            rtsp_transport=settings.rtsp_transport,
            verify_tls=settings.verify_tls,
            pause=pause,
        )
        return self._opener(spec, options)

    def _fail(self, camera: str, why: str) -> None:
        self.stats[camera].error = why
        _log.error("camera ended", camera=camera, why=why)

    async def _report(self) -> None:
        """Until cancelled: tell the watchdog once a second what waits for Kafka and what got there."""
        published_before = 0
        while True:
            published = sum(stats.published for stats in self.stats.values())
            pending = sum(stats.pending for stats in self.stats.values())
            self._ports.health.progress(pending, published - published_before)
            self._ports.metrics.group(ProducerMetrics).in_flight_bytes.set(self._ports.in_flight_bytes())
            self._ports.health.meets(REDIS_ANSWERS, await self._redis_answers())
            published_before = published
            await asyncio.sleep(REPORT_INTERVAL_S)


def _open(spec: CameraSpec, options: OpenOptions) -> Session:
    return spec.source.open(options)


async def _cancel_after(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    await stop.wait()
    for task in tasks:
        task.cancel()
