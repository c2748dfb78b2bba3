"""How soon the wall of 200 cameras is painted, and how soon an event is out by webhook.

Kafka, Redis and the page's process, beside a writer of frames and labels: 200 cameras, a frame and its label a second
each. A label stands for 20 frames, so that ten events a second begin. The webhook's receiver is this process.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from itertools import count

from devstack.demo.processes import Worker, workers_running
from lab.benchmarks.machine import rss_bytes
from lab.benchmarks.recorded import Shot, frame_record, mixed
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import Testbed, testbed
from lab.benchmarks.wall_browser import FirstLook, wall_browser
from runtime.kafka_sink import Sink
from runtime.redis_store import RedisStore
from schemas.label import AnswerSource, Label, LabelState
from schemas.topics import frames_partition

CAMERAS = [f"camera-{number:03}" for number in range(200)]
STANDS = 20
"""Frames for which a camera's label stays the same."""
PARTS = 10
"""The cameras write in so many groups, spread over the second."""
NAMES = ("stop", "yield", "no entry")
WARM_S = 15.0


class Writer:
    """The site's producer and edge in one. `holds_s`: when each event's rule held, by camera and first frame."""

    def __init__(self, bed: Testbed, shots: list[Shot]) -> None:
        self.holds_s: dict[tuple[str, int], float] = {}
        self._bed = bed
        self._shots = shots

    async def run(self) -> None:
        """Writes until cancelled."""
        begun_s, begun_ns = time.monotonic(), time.time_ns()
        async with self._bed.sink() as sink, RedisStore(self._bed.settings.redis) as store:
            for step in count():
                await asyncio.sleep(max(0.0, begun_s + step / PARTS - time.monotonic()))
                await self._write(sink, store, step // PARTS, step % PARTS, begun_ns)

    async def _write(self, sink: Sink, store: RedisStore, seq: int, part: int, begun_ns: int) -> None:
        topics = self._bed.settings.topics
        captured_ns = begun_ns + (seq * PARTS + part) * 10**9 // PARTS
        labels = []
        for number in range(part, len(CAMERAS), PARTS):
            camera, phase = CAMERAS[number], seq + number // PARTS
            value = frame_record(self._shots[phase % len(self._shots)], camera, seq, captured_ns, live=True)
            partition = frames_partition(camera, topics.partitions)
            await sink.send(topics.frames, value, key=camera.encode(), partition=partition)
            labels.append(labelled(camera, seq, phase // STANDS % len(NAMES), captured_ns))
            if phase % STANDS == 1:  # the label has stood for a second
                self.holds_s[camera, seq - 1] = time.time()
        await store.put(labels)


def labelled(camera: str, seq: int, name: int, captured_ns: int) -> Label:
    """Return a final label of now."""
    by, done = AnswerSource.EDGE, LabelState.FINAL
    return Label("", camera, seq, done, by, name, NAMES[name], 0.9, captured_ns, time.time_ns())


class Receiver:
    """A webhook's receiver; `came_s` is when each event came, by camera and first frame."""

    def __init__(self) -> None:
        self.came_s: dict[tuple[str, int], float] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Every request of a connection is answered with 204."""
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return  # the page has left
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            event = json.loads(await reader.readexactly(int(fields[b"content-length"])))
            if event["kind"] != "ended":
                self.came_s.setdefault((event["camera"], event["first_seq"]), time.time())
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()


async def measure(rounds: int) -> list[Figure]:
    """Return how soon the wall is there, and how soon events are out."""
    shots, receiver = mixed(20, seed=0), Receiver()
    async with testbed("page-wall") as bed, asyncio.TaskGroup() as group:
        writer = Writer(bed, shots)
        listening = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
        hook = f"events.webhook_url=http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        site = ["--kafka", bed.stack.bootstrap_servers, "--redis", bed.stack.redis_url]
        page = Worker(
            *("page", bed.run_dir, ["page", *site, "--set", hook]),
            port_flag="--port",
            ready_path="/api/session",
        )
        writing = group.create_task(writer.run())
        async with workers_running([page]):
            await asyncio.sleep(WARM_S)
            since_s = time.time()
            looks = await asyncio.to_thread(first_looks, f"http://127.0.0.1:{page.port}/", rounds)
            await asyncio.sleep(WARM_S)
            memory = rss_bytes(page.child.pid) / 1e6
            until_s = time.time() - 1.0  # what holds later may not have come before the page is stopped
        writing.cancel()
        listening.close()
    holds = {key: at for key, at in writer.holds_s.items() if since_s < at < until_s}
    late_ms = [1e3 * (receiver.came_s[key] - at) for key, at in holds.items() if key in receiver.came_s]
    return [
        *wall_figures(looks),
        Figure("memory with 200 cameras", memory, "MB"),
        *event_figures(late_ms, len(holds)),
    ]


def first_looks(address: str, rounds: int) -> list[FirstLook]:
    """Return what each first visit saw, after one that does not count: it starts the browser's own processes."""
    with wall_browser() as browser:
        return [browser.open(address) for _ in range(rounds + 1)][1:]


def wall_figures(looks: list[FirstLook]) -> list[Figure]:
    """Return the slowest of each time, with its median."""
    times = {
        "first contentful paint": [each.first_paint_ms for each in looks],
        "all labels in view": [each.labels_ms for each in looks],
        "all pictures in view": [each.pictures_ms for each in looks],
    }
    return [
        Figure(
            *(f"wall of {len(CAMERAS)} cameras: {name}", max(ms), "ms", 1_000),
            at_least=False,
            note=f"the slowest of {len(ms)} first visits; median {statistics.median(ms):.0f}; {looks[0].tiles} in view",
        )
        for name, ms in times.items()
    ]


def event_figures(late_ms: list[float], num_held: int) -> list[Figure]:
    """Return how long after its rule held an event came."""
    return [
        Figure("event until its webhook is called, p50", statistics.median(late_ms), "ms"),
        Figure(
            *("event until its webhook is called, slowest", max(late_ms), "ms", 1_000),
            at_least=False,
            note=f"{len(late_ms)} of {num_held} events came",
        ),
    ]


def main() -> None:
    """Measure, print and write."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments.rounds)), arguments.json)


if __name__ == "__main__":
    main()
