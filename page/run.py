"""`saccade page`: connects, serves until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import uvicorn

from page.access import Sessions, read_users, require_users
from page.app import Page
from page.event_engine import EventEngine
from page.events import EventRule, Patience
from page.feed import Feed
from page.frames import FrameWindow, PictureLimits
from page.harvest import Harvest
from page.kept_frames import KeptFrames
from page.labels import SharedLabels
from page.outlets import KafkaTopic, Mqtt, Outlet, Webhook, run_outlet
from page.settings import EventSettings, HarvestSettings, PageProgramSettings, PageSettings
from runtime.clock import Clock, SystemClock
from runtime.dead_letter_store import list_dead_letters, replay_dead_letters
from runtime.kafka_reader import TopicReader
from runtime.kafka_sink import Sink
from runtime.lifecycle import cut_short_by
from runtime.redis_events import EventStore
from runtime.redis_reader import SiteReader
from schemas.errors import SettingsError, StackError
from schemas.topics import max_frame_record_bytes

_CLOSE_S = 2
_MAX_EVENT_BYTES = 16 * 1024


class StoredLetters:
    """The dead-letter topics of the settings' clusters."""

    def __init__(self, settings: PageProgramSettings) -> None:
        self._settings = settings

    async def list(self, limit: int) -> list[dict[str, Any]]:
        """The newest `limit` letters, newest first; empty where there are no dead-letter topics yet."""
        try:
            letters = [letter.to_json() async for letter in list_dead_letters(self._settings)]
        except StackError:
            return []
        return sorted(letters, key=lambda each: -each["dead_timestamp_ms"])[:limit]

    async def replay(self, topic: str | None, reason: str | None) -> int:
        """The letters are sent again; how many."""
        return await replay_dead_letters(self._settings, topic=topic, reason=reason)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the command has them."""

    def capture_signals(self) -> Any:
        return nullcontext()


async def run_page(
    settings: PageProgramSettings, stop: asyncio.Event, on_ready: Callable[[str], None]
) -> None:
    """Serves until `stop` is set; `on_ready` gets the address once it is open.

    Raises:
        SettingsError: others could reach the page without a password, the users file or the harvest's is wrong,
            or the port is taken.
        TransientError: Kafka does not answer.
        StoppedEarly: `stop` was set before it was open.
    """
    page = settings.page
    users = {} if page.users_file is None else read_users(page.users_file)
    require_users(page.host, users)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        async with cut_short_by(stop):
            store = await stack.enter_async_context(SiteReader(settings.redis))
            reader = await stack.enter_async_context(
                TopicReader(
                    settings.kafka,
                    settings.topics.frames,
                    max_fetch_bytes=max_frame_record_bytes(settings.producer.max_frame_bytes),
                )
            )
        threads = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="pictures"))
        window = FrameWindow(
            reader,
            threads,
            PictureLimits(settings.producer.max_frame_bytes, settings.producer.max_frame_pixels),
            max_held=page.max_held_frames,
            thumbnail_pixels=page.thumbnail_pixels,
        )
        events = await stack.enter_async_context(EventStore(settings.redis))
        labels = SharedLabels(store)
        feed = Feed(store, labels, events, clock, settings.site, max_viewers=page.max_viewers)
        harvest = _harvest_of(settings.harvest, labels, window, stack)
        app = Page(
            site=settings.site,
            store=store,
            events=events,
            feed=feed,
            window=window,
            letters=StoredLetters(settings),
            harvest=harvest,
            sessions=Sessions(users),
            clock=clock,
            is_https=page.ssl_certfile is not None,
        ).app()
        engine = EventEngine(
            store,
            labels,
            events,
            clock,
            rule_of(settings.events),
            site=settings.site,
            owner=f"{socket.gethostname()}:{os.getpid()}",
        )
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(run_outlet(events, settings.site, outlet), name=outlet.name)
                for outlet in outlets_of(settings, clock)
            ]
            beside.append(group.create_task(labels.run(), name="labels"))
            beside.append(group.create_task(engine.run(stop), name="events"))
            if harvest is not None:
                beside.append(group.create_task(harvest.run(), name="harvest"))
            try:
                await _serve(app, page, stop, on_ready, feed, window)
            finally:
                for each in beside:
                    each.cancel()


def _harvest_of(
    settings: HarvestSettings, labels: SharedLabels, window: FrameWindow, stack: AsyncExitStack
) -> Harvest | None:
    """Open until the stack ends; None where no file is set. Raises `SettingsError`."""
    if settings.file is None:
        return None
    kept = KeptFrames.open(settings.file, max_bytes=settings.max_bytes)
    stack.callback(kept.close)
    return Harvest(labels, window, kept, max_confidence=settings.max_confidence)


def rule_of(settings: EventSettings) -> EventRule:
    """The rule that the settings describe."""
    return EventRule(
        Patience(settings.stand_s, settings.gone_s),
        settings.min_confidence,
        frozenset(settings.ignored),
        {label: Patience(each.stand_s, each.gone_s) for label, each in settings.by_label.items()},
    )


def outlets_of(settings: PageProgramSettings, clock: Clock) -> list[Outlet]:
    """The ways out that the settings name."""
    events = settings.events
    outlets: list[Outlet] = []
    if events.webhook_url is not None:
        secret = events.webhook_secret.get_secret_value() if events.webhook_secret else None
        outlets.append(Webhook(events.webhook_url.get_secret_value(), secret, clock))
    if events.mqtt_url is not None:
        password = events.mqtt_password.get_secret_value() if events.mqtt_password else None
        outlets.append(Mqtt(events.mqtt_url, events.mqtt_username, password, prefix=events.mqtt_prefix))
    if events.kafka_topic is not None:
        outlets.append(
            KafkaTopic(
                lambda: Sink(
                    settings.kafka,
                    max_request_bytes=_MAX_EVENT_BYTES,
                    max_in_flight_bytes=16 * _MAX_EVENT_BYTES,
                ),
                events.kafka_topic,
            )
        )
    return outlets


async def _serve(
    app: Any,
    page: PageSettings,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
    feed: Feed,
    window: FrameWindow,
) -> None:
    config = uvicorn.Config(
        app,
        host=page.host,
        port=page.port,
        ssl_certfile=page.ssl_certfile,
        ssl_keyfile=page.ssl_keyfile,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_CLOSE_S,
        server_header=False,
    )
    config.load()
    server = _Server(config)
    try:
        listening = config.bind_socket()
    except SystemExit:
        raise SettingsError(f"page.port = {page.port}: {page.host} does not let us listen there") from None
    try:
        async with asyncio.TaskGroup() as group:
            following = [
                group.create_task(feed.run(), name="feed"),
                group.create_task(window.run(), name="frames"),
            ]
            serving = group.create_task(server.serve(sockets=[listening]), name="serve")
            scheme = "http" if page.ssl_certfile is None else "https"
            on_ready(f"{scheme}://{page.host}:{listening.getsockname()[1]}/")
            ending = group.create_task(stop.wait())
            await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await asyncio.wait([serving])
            for each in (*following, ending):
                each.cancel()
    finally:
        listening.close()
