"""Events out: to a web address, an MQTT broker and a Kafka topic; each at least once, in order, with its id.

The site's stream in Redis is the queue: bounded, durable, and read by each outlet at its own pace.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiomqtt
import httpx
import stamina

from runtime.clock import Clock
from runtime.kafka_connection import RecordRefused
from runtime.kafka_sink import Sink
from runtime.log import get_logger
from schemas.errors import SaccadeError, TransientError
from schemas.event import Event, Kind, encode_event

_BATCH = 32
_WAIT_S = 5.0
_RETRY_MAX_S = 60.0
_TIMEOUT_S = 10.0
_TRIES = 5
"""So often an event is tried at once. One that is still refused (4xx) is passed over; a receiver that does not
answer is connected to anew, for ever."""
_WORD = re.compile(r"[^A-Za-z0-9_-]")
_log = get_logger(__name__)


class EventRefusedError(SaccadeError):
    """The receiver understood and does not want this event; another one may pass."""


class EventQueue(Protocol):
    """What an outlet needs of `runtime.redis_events.EventStore`."""

    async def after(
        self, site: str, position: str, *, count: int, wait_s: float
    ) -> list[tuple[str, Event | None]]:
        """The next events."""
        ...

    async def position(self, site: str, outlet: str) -> str | None:
        """How far the outlet has sent."""
        ...

    async def newest_position(self, site: str) -> str:
        """Where the stream ends now."""
        ...

    async def sent(self, site: str, outlet: str, position: str) -> None:
        """Remembered."""
        ...


class Outlet(Protocol):
    """One way out."""

    name: str

    def connected(self) -> AbstractAsyncContextManager[None]:
        """Open while inside. Raises `TransientError`."""
        ...

    async def send(self, event: Event) -> None:
        """The receiver has the event.

        Raises:
            TransientError: it does not answer, or cannot now.
            EventRefusedError: it does not want this event.
        """
        ...


async def run_outlet(queue: EventQueue, site: str, outlet: Outlet) -> None:
    """Sends what comes, from where it stopped last time; a new outlet begins with the next event.

    Ends by cancellation only: a receiver that is away, or a Redis that refuses, is tried again, with pauses of up to
    a minute.
    """
    async for attempt in stamina.retry_context(
        on=SaccadeError, attempts=None, timeout=None, wait_initial=0.5, wait_max=_RETRY_MAX_S
    ):
        with attempt:
            position = await queue.position(site, outlet.name)
            if position is None:
                # Marked before the receiver answers: what happens while it is away is sent, too.
                position = await queue.newest_position(site)
                await queue.sent(site, outlet.name, position)
            async with outlet.connected():
                while True:
                    for place, event in await queue.after(site, position, count=_BATCH, wait_s=_WAIT_S):
                        if event is not None:
                            await _send(outlet, event)
                        position = place
                        await queue.sent(site, outlet.name, position)


async def _send(outlet: Outlet, event: Event) -> None:
    try:
        async for attempt in stamina.retry_context(
            on=(TransientError, EventRefusedError), attempts=_TRIES, timeout=None, wait_max=5.0
        ):
            with attempt:
                try:
                    await outlet.send(event)
                except (TransientError, EventRefusedError):
                    raise
                except Exception as error:  # an event that a library cannot send would end every start
                    raise EventRefusedError(f"{type(error).__name__}: {error}"[:300]) from error
    except EventRefusedError as error:
        _log.error("event passed over", outlet=outlet.name, id=event.id, error=str(error))


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC of `TIMESTAMP.BODY`, which a receiver computes and compares."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


class Webhook:
    """POSTs each event as JSON, with its id, the time and a signature in headers."""

    def __init__(self, url: str, secret: str | None, clock: Clock) -> None:
        self.name = "webhook"
        self._url = url
        self._secret = secret
        self._clock = clock
        self._client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """The client's pool is open."""
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as self._client:
            yield

    async def send(self, event: Event) -> None:
        """Answered with 2xx; see `Outlet.send`."""
        assert self._client is not None
        body = encode_event(event).encode()
        timestamp = str(self._clock.time_ns() // 1_000_000_000)
        headers = {
            "content-type": "application/json",
            "x-saccade-event": event.id,
            "x-saccade-timestamp": timestamp,
        }
        if self._secret:
            headers["x-saccade-signature"] = signature(self._secret, timestamp, body)
        host = urlsplit(self._url).hostname
        try:
            # The status is all that is wanted: a body may be without end, and httpx limits each read, not the answer.
            async with (
                asyncio.timeout(_TIMEOUT_S),
                self._client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                pass
        except (httpx.HTTPError, TimeoutError) as error:
            raise TransientError(f"webhook {host}: {type(error).__name__}") from None
        if answer.status_code in {408, 425, 429} or answer.status_code >= 500:
            raise TransientError(f"webhook {host} answered {answer.status_code}")
        if not answer.is_success:
            raise EventRefusedError(f"webhook {host} answered {answer.status_code}")


class Mqtt:
    """Publishes each event, and each camera's present label as a sensor that Home Assistant finds by itself."""

    def __init__(self, url: str, username: str | None, password: str | None, *, prefix: str) -> None:
        parts = urlsplit(url)
        self.name = "mqtt"
        self._host = parts.hostname or ""
        self._port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._tls = aiomqtt.TLSParameters() if parts.scheme == "mqtts" else None
        self._username, self._password = username, password
        self._prefix = prefix
        self._client: aiomqtt.Client | None = None
        self._announced: set[str] = set()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """The broker has accepted this client."""
        self._announced.clear()
        try:
            async with aiomqtt.Client(
                self._host,
                self._port,
                username=self._username,
                password=self._password,
                tls_params=self._tls,
                timeout=_TIMEOUT_S,
            ) as self._client:
                yield
        except aiomqtt.MqttError as error:
            raise TransientError(f"MQTT broker {self._host}:{self._port}: {error}") from None

    async def send(self, event: Event) -> None:
        """Acknowledged by the broker (QoS 1); see `Outlet.send`."""
        assert self._client is not None
        base = f"{self._prefix}/{event.camera}"
        if event.camera not in self._announced:
            await self._publish(*discovery(event.camera, base, self._prefix), retain=True)
            self._announced.add(event.camera)
        await self._publish(f"{base}/event", encode_event(event), retain=False)
        label = "" if event.kind is Kind.ENDED else event.label
        await self._publish(f"{base}/label", label or "none", retain=True)

    async def _publish(self, topic: str, payload: str, *, retain: bool) -> None:
        assert self._client is not None
        try:
            await self._client.publish(topic, payload, qos=1, retain=retain, timeout=_TIMEOUT_S)
        except aiomqtt.MqttError as error:
            raise TransientError(f"MQTT broker {self._host}:{self._port}: {error}") from None


def discovery(camera: str, base: str, prefix: str) -> tuple[str, str]:
    """(topic, payload) that makes Home Assistant show the camera's label as a sensor."""
    unique = f"{prefix}_{_WORD.sub('_', camera)}"
    config: dict[str, Any] = {
        "name": "Label",
        "unique_id": f"{unique}_label",
        "state_topic": f"{base}/label",
        "json_attributes_topic": f"{base}/event",
        "icon": "mdi:eye",
        "device": {"identifiers": [unique], "name": camera, "manufacturer": "Saccade"},
    }
    return f"homeassistant/sensor/{unique}/label/config", json.dumps(config)


class KafkaTopic:
    """Events as records of a topic, keyed by camera."""

    def __init__(self, make_sink: Callable[[], Sink], topic: str) -> None:
        self.name = "kafka"
        self._make_sink = make_sink
        self._sink: Sink | None = None
        self._topic = topic

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """The producer is open."""
        async with self._make_sink() as self._sink:
            yield

    async def send(self, event: Event) -> None:
        """Acknowledged by the broker; see `Outlet.send`."""
        assert self._sink is not None
        key, value = event.camera.encode(), encode_event(event).encode()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await asyncio.shield(await self._sink.send(self._topic, value, key=key))
        except TimeoutError:
            why = self._sink.trouble or "no acknowledgement"
            raise TransientError(f"topic {self._topic}: {why}") from None
        except RecordRefused as error:
            raise EventRefusedError(f"topic {self._topic}: {error}") from None
