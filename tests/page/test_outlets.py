"""Events reach real receivers at least once, in order, signed, also when these fail at times."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest
import stamina

from page.outlets import KafkaTopic, Mqtt, Outlet, Webhook, discovery, run_outlet, signature
from page.settings import EventSettings
from runtime.clock import ManualClock
from runtime.kafka_connection import RecordRefused
from schemas.errors import SaccadeError, TransientError
from schemas.event import Event, Kind, decode_event, encode_event

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    """Retries follow each other at once."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


def event(number: int, kind: Kind = Kind.BEGUN) -> Event:
    return Event(f"gate:{number}:{kind}", "", "gate", kind, "stop", "", number, number, number, number, 0.9)


class FakeQueue:
    """A stream of events; positions are indices."""

    def __init__(self, events: list[Event | None]) -> None:
        self.events = events
        self.marks: dict[str, str] = {}
        self.all_sent = asyncio.Event()

    async def after(
        self, site: str, position: str, *, count: int, wait_s: float
    ) -> list[tuple[str, Event | None]]:
        start = int(position)
        found = [
            (str(start + 1 + step), each) for step, each in enumerate(self.events[start : start + count])
        ]
        if not found:
            self.all_sent.set()
            await asyncio.Event().wait()
        return found

    async def position(self, site: str, outlet: str) -> str | None:
        return self.marks.get(outlet, "0")

    async def newest_position(self, site: str) -> str:
        return str(len(self.events))

    async def sent(self, site: str, outlet: str, position: str) -> None:
        self.marks[outlet] = position


async def send_all(
    outlet: Outlet, events: list[Event | None], queue_type: type[FakeQueue] = FakeQueue
) -> FakeQueue:
    queue = queue_type(events)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        sending = group.create_task(run_outlet(queue, "", outlet))
        await queue.all_sent.wait()
        sending.cancel()
    return queue


class RefusingQueue(FakeQueue):
    """Redis refuses the mark at first, because its key holds something else."""

    refusals = 3

    async def position(self, site: str, outlet: str) -> str | None:
        if self.refusals:
            self.refusals -= 1
            raise SaccadeError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return await super().position(site, outlet)


Request = tuple[dict[str, str], bytes]


@asynccontextmanager
async def receiver(answers: list[int]) -> AsyncIterator[tuple[str, list[Request]]]:
    """A web address that gives these statuses in turn, then 200; 0 closes the connection without an answer."""
    got: list[Request] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head if line)}
        got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        status = answers.pop(0) if answers else 200
        if status:
            writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", got


async def test_a_webhook_gets_each_event_signed_and_in_order() -> None:
    events: list[Event | None] = [event(1), None, event(2), event(3)]
    async with receiver([]) as (url, got):
        queue = await send_all(Webhook(url, "s3cret", ManualClock()), events)
    assert [decode_event(body.decode()) for _, body in got] == [event(1), event(2), event(3)]
    for headers, body in got:
        assert headers["x-saccade-signature"] == signature("s3cret", headers["x-saccade-timestamp"], body)
        assert headers["x-saccade-event"] == decode_event(body.decode()).id
    assert queue.marks == {"webhook": "4"}


async def test_a_receiver_that_fails_at_times_misses_nothing() -> None:
    async with receiver([503, 0, 429, 200, 500]) as (url, got):
        await send_all(Webhook(url, None, ManualClock()), [event(1), event(2)])
    ids = [headers["x-saccade-event"] for headers, _ in got]
    assert ids == [event(1).id] * 4 + [event(2).id] * 2
    assert "x-saccade-signature" not in got[0][0]


@pytest.mark.parametrize("error", [ValueError("no topic"), UnicodeEncodeError("ascii", "ß", 0, 1, "odd")])
async def test_an_event_that_cannot_be_sent_is_passed_over(error: Exception) -> None:
    class Odd(Webhook):
        async def send(self, event: Event) -> None:
            if event.first_seq == 1:
                raise error
            await super().send(event)

    async with receiver([]) as (url, got):
        queue = await send_all(Odd(url, None, ManualClock()), [event(1), event(2)])
    assert [headers["x-saccade-event"] for headers, _ in got] == [event(2).id]
    assert queue.marks == {"webhook": "2"}


@pytest.mark.parametrize(
    "address", ["//", "//:1", "//h:0", "//h:65536", "//h:x", "//[::1", "//h\x7f", "//[::1]:x"]
)
def test_an_address_without_a_host_or_with_an_odd_port_is_refused_at_the_start(address: str) -> None:
    for settings in ({"webhook_url": f"http:{address}"}, {"mqtt_url": f"mqtt:{address}"}):
        with pytest.raises(ValueError, match=r"host|pattern"):
            EventSettings.model_validate(settings)


@pytest.mark.parametrize("address", ["//h", "//h:1", "//[::1]:65535", "//home.example"])
def test_good_addresses_are_taken(address: str) -> None:
    EventSettings.model_validate({"webhook_url": f"https:{address}/x?y=z", "mqtt_url": f"mqtts:{address}/"})


class NewQueue(FakeQueue):
    """No outlet has a mark yet."""

    async def position(self, site: str, outlet: str) -> str | None:
        return self.marks.get(outlet)


async def test_a_new_outlet_sends_what_happens_while_its_receiver_is_away() -> None:
    class Away(Webhook):
        tries = 0

        @asynccontextmanager
        async def connected(self) -> AsyncIterator[None]:
            self.tries += 1
            if self.tries <= 2:
                queue.events.append(event(self.tries + 1))
                raise TransientError("away")
            async with super().connected():
                yield

    queue = NewQueue([event(1)])
    async with receiver([]) as (url, got), asyncio.timeout(30), asyncio.TaskGroup() as group:
        sending = group.create_task(run_outlet(queue, "", Away(url, None, ManualClock())))
        await queue.all_sent.wait()
        sending.cancel()
    assert [headers["x-saccade-event"] for headers, _ in got] == [event(2).id, event(3).id]


async def test_what_redis_refuses_for_good_ends_nothing() -> None:
    async with receiver([]) as (url, got):
        await send_all(Webhook(url, None, ManualClock()), [event(1)], RefusingQueue)
    assert len(got) == 1


@asynccontextmanager
async def endless(head: bytes) -> AsyncIterator[str]:
    """A web address that begins each answer with `head` and never ends it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        try:
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        server.close()


async def test_an_answer_without_end_is_taken_by_its_status() -> None:
    head = b"HTTP/1.1 200 x\r\ncontent-type: text/plain\r\n\r\n"
    async with endless(head) as url, asyncio.timeout(5):
        outlet = Webhook(url, None, ManualClock())
        async with outlet.connected():
            await outlet.send(event(1))


async def test_a_status_that_takes_too_long_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("page.outlets._TIMEOUT_S", 0.1)
    async with endless(b"HTTP/1.1 200 ") as url, asyncio.timeout(5):
        outlet = Webhook(url, None, ManualClock())
        async with outlet.connected():
            with pytest.raises(TransientError, match="TimeoutError"):
                await outlet.send(event(1))


async def test_an_event_that_is_refused_is_passed_over_and_the_next_one_sent() -> None:
    async with receiver([400, 400, 400, 400, 400]) as (url, got):
        await send_all(Webhook(url, None, ManualClock()), [event(1), event(2)])
    assert [headers["x-saccade-event"] for headers, _ in got][-1] == event(2).id


def test_a_signature_depends_on_time_and_body() -> None:
    assert signature("k", "1", b"x") != signature("k", "2", b"x") != signature("k", "2", b"y")
    assert signature("k", "1", b"x").startswith("sha256=")


def test_home_assistant_finds_a_camera_by_itself() -> None:
    topic, payload = discovery("north/gate 1", "saccade/north/gate 1", "saccade")
    assert topic == "homeassistant/sensor/saccade_north_gate_1/label/config"
    assert json.loads(payload)["state_topic"] == "saccade/north/gate 1/label"


@asynccontextmanager
async def mosquitto(folder: Path) -> AsyncIterator[int]:
    """A real MQTT broker on a free port of loopback."""
    assert MOSQUITTO is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    process = await asyncio.create_subprocess_exec(
        MOSQUITTO, "-c", config, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(10):
            while b"running" not in await process.stderr.readline():
                pass
        yield port
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto (Debian: mosquitto) is not installed")
async def test_mqtt_gets_events_labels_and_the_discovery(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as port:
        outlet = Mqtt(f"mqtt://127.0.0.1:{port}", None, None, prefix="saccade")
        async with aiomqtt.Client("127.0.0.1", port) as listener:
            await listener.subscribe("#", qos=1)
            await send_all(outlet, [event(1), event(2, Kind.ENDED)])
            got: list[tuple[str, str]] = []
            async with asyncio.timeout(10):
                async for message in listener.messages:
                    got.append((str(message.topic), bytes(message.payload).decode()))
                    if len(got) == 5:
                        break
    topics = [topic for topic, _ in got]
    assert topics[0] == "homeassistant/sensor/saccade_gate/label/config"
    assert topics[1:] == ["saccade/gate/event", "saccade/gate/label"] * 2
    assert [decode_event(got[1][1]), got[2][1], got[4][1]] == [event(1), "stop", "none"]


class FakeSink:
    """A producer that refuses one record for good and waits for ever with the first it gets."""

    trouble = "the topic is missing"

    def __init__(self, refused: bytes) -> None:
        self.refused = refused
        self.is_hidden = True
        self.sent: list[bytes] = []

    async def __aenter__(self) -> FakeSink:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send(self, topic: str, value: bytes, *, key: bytes) -> asyncio.Future[object]:
        if self.is_hidden:
            self.is_hidden = False
            await asyncio.Event().wait()
        delivery: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if value == self.refused:
            delivery.set_exception(RecordRefused("too large"))
        else:
            self.sent.append(value)
            delivery.set_result(None)
        return delivery


async def test_a_topic_that_is_missing_or_refuses_an_event_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("page.outlets._TIMEOUT_S", 0.05)
    events = [event(1), event(2), event(3)]
    sink = FakeSink(encode_event(events[1]).encode())
    queue = await send_all(KafkaTopic(lambda: sink, "events"), [*events])  # type: ignore[arg-type,return-value]
    assert [decode_event(each.decode()) for each in sink.sent] == [events[0], events[2]]
    assert queue.marks == {"kafka": "3"}
