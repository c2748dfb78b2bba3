"""All cameras of one process: each owned, captured and published on its own, none in another's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from producers.board import CameraBoard, StateTeller
from producers.camera import CameraSpec
from producers.camera_stats import CameraStats
from producers.metrics import CameraSeries, ProducerMetrics
from producers.ownership import TAKE_OVER_WAIT_S, CameraOwnership, CameraStore
from producers.pipeline import CameraContext, CameraPipeline
from producers.publish import FramePublisher
from producers.settings import ProducerSettings
from producers.sources.source import OpenOptions, Session
from producers.trouble import trouble_of
from runtime.clock import Clock
from runtime.codec_threads import CodecThreads
from runtime.health import KAFKA_ACCEPTS, REDIS_ANSWERS, Health
from runtime.log import get_logger
from runtime.metrics import Metrics
from schemas.errors import LeaseError, SettingsError, SourceError, TransientError, leaves
from schemas.identity import camera_id

_log = get_logger(__name__)

REPORT_INTERVAL_S: Final = 1.0


class ProducerStore(CameraStore, CameraBoard, Protocol):
    """What cameras need of the site's store: leases, newest numbers, and the board."""


SessionOpener = Callable[[CameraSpec, OpenOptions], Session]


@dataclass(frozen=True, slots=True)
class ProducerPorts:
    """What the cameras share: the ways to Kafka and Redis, threads for encoding, a clock, metrics.

    `trouble` says why Kafka accepts no frames at present, None while it does.
    """

    publisher: FramePublisher
    flush: Callable[[float], Awaitable[bool]]
    in_flight_bytes: Callable[[], int]
    trouble: Callable[[], str | None]
    store: ProducerStore
    newest_in_kafka: Callable[[str], Awaitable[int | None]]
    threads: CodecThreads
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
        self._cameras = self._by_id(cameras)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._teller = StateTeller(ports.store, site)
        self.stats: dict[str, CameraStats] = {}

    async def run(
        self, stop: asyncio.Event, changes: AsyncIterator[Sequence[CameraSpec]] | None = None
    ) -> None:
        """Return when every camera has ended by itself, failed (its stats say why), or `stop` is set.

        What was captured but not handed to Kafka when `stop` is set is discarded; what was handed over is for
        the caller to flush. With `changes`, each of which is all cameras anew, only `stop` ends it: added cameras
        begin, those that were taken away end, changed ones begin anew, and the others are not touched.
        """
        async with asyncio.TaskGroup() as group:
            reporter = group.create_task(self._report())
            for camera, spec in self._cameras.items():
                self._start(group, camera, spec)
            if changes is None:
                stopper = group.create_task(_cancel_after(stop, list(self._tasks.values())))
                await asyncio.wait(self._tasks.values())
                stopper.cancel()
            else:
                follower = group.create_task(self._follow(group, changes))
                await stop.wait()
                follower.cancel()
                await asyncio.wait([follower])
                await _ended(list(self._tasks.values()))
            reporter.cancel()
            await asyncio.wait([reporter])
        await self._tell()

    def _by_id(self, cameras: Sequence[CameraSpec]) -> dict[str, CameraSpec]:
        return {camera_id(spec.site_or(self._site), spec.name): spec for spec in cameras}

    def _start(self, group: asyncio.TaskGroup, camera: str, spec: CameraSpec) -> None:
        if camera not in self.stats:
            self.stats[camera] = CameraStats(CameraSeries(self._ports.metrics, camera))
        self.stats[camera].error = ""
        self._tasks[camera] = group.create_task(self._run_camera(camera, spec), name=camera)

    async def _follow(self, group: asyncio.TaskGroup, changes: AsyncIterator[Sequence[CameraSpec]]) -> None:
        async for cameras in changes:
            wanted = self._by_id(cameras)
            gone = {camera: spec for camera, spec in self._cameras.items() if wanted.get(camera) != spec}
            added = [camera for camera in wanted if camera not in self._cameras]
            self._cameras = wanted
            for camera in added:
                self._start(group, camera, wanted[camera])
            await _ended([self._tasks.pop(camera) for camera in gone])
            for camera, spec in gone.items():
                if camera in wanted:
                    self._start(group, camera, wanted[camera])
                else:
                    await self._teller.forget(camera, spec)
            _log.info(
                "cameras",
                added=len(added),
                changed=len(gone.keys() & wanted),
                removed=len(gone.keys() - wanted),
            )

    async def _run_camera(self, camera: str, spec: CameraSpec) -> None:
        """Run one camera; what is wrong with it alone ends it alone."""
        try:
            await self._own_and_publish(camera, spec)
            self.stats[camera].is_over("ended")
        except ExceptionGroup as group:
            errors = leaves(group)
            if not all(isinstance(error, (LeaseError, SourceError, SettingsError)) for error in errors):
                raise
            self._fail(camera, errors)
        except (LeaseError, SourceError, SettingsError) as error:
            self._fail(camera, [error])

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
                site=spec.site_or(self._site),
                camera=camera,
                settings=self._settings,
                numbers=ownership,
                publisher=ports.publisher,
                stats=self.stats[camera],
                clock=ports.clock,
                threads=ports.threads,
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

    def _fail(self, camera: str, errors: Sequence[BaseException]) -> None:
        why = "; ".join(str(error) for error in errors)
        stats = self.stats[camera]
        stats.error = why
        stats.troubled(trouble_of(errors[0]), why)
        stats.is_over("failed")
        _log.error("camera ended", camera=camera, why=why)

    async def _tell(self) -> None:
        cameras = [
            (camera, spec, self.stats[camera])
            for camera, spec in self._cameras.items()
            if camera in self.stats
        ]
        await self._teller.tell(cameras, self._ports.clock.monotonic_s())

    async def _report(self) -> None:
        """Until cancelled: tell the watchdog once a second what waits for Kafka and what got there."""
        published_before = 0
        while True:
            published = sum(stats.published for stats in self.stats.values())
            pending = sum(stats.pending for stats in self.stats.values())
            self._ports.health.progress(pending, published - published_before)
            self._ports.metrics.group(ProducerMetrics).in_flight_bytes.set(self._ports.in_flight_bytes())
            trouble = self._ports.trouble()
            self._ports.health.meets(KAFKA_ACCEPTS, trouble is None, trouble or "")
            self._ports.health.meets(REDIS_ANSWERS, await self._redis_answers())
            published_before = published
            await self._tell()
            await asyncio.sleep(REPORT_INTERVAL_S)


def _open(spec: CameraSpec, options: OpenOptions) -> Session:
    return spec.source.open(options)


async def _cancel_after(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    await stop.wait()
    for task in tasks:
        task.cancel()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Return when all of the tasks have ended, cancelled where they had not."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
