from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.scenes.source import Scenes
from producers.camera import CameraSpec
from producers.metrics import ProducerMetrics
from producers.pacing import PlaySchedule
from producers.publish import FramePublisher
from producers.settings import ProducerSettings
from producers.sources.source import Captured, OpenOptions, RawImage, Session
from producers.sources.stream import StreamUrl
from producers.trouble import CameraError, Trouble
from producers.worker import ProducerPorts, ProducerWorker
from runtime.clock import SystemClock
from runtime.codec_threads import CodecThreads
from runtime.health import KAFKA_ACCEPTS, REDIS_ANSWERS, Health
from runtime.metrics import Metrics
from schemas.camera_state import CameraState
from schemas.errors import SourceError

FILE = Scenes(0, 64, 64, live=False)
LIVE = StreamUrl("rtsp://cam/live", "rtsp://cam/live")
Opener = Callable[[CameraSpec], Session]


class Bench:
    """A worker on stand-ins; `run` starts it with cameras and the opener of their sources."""

    def __init__(self, folder: Path, sink: Any, store: Any) -> None:
        self.sink = sink
        self.stop = asyncio.Event()
        self.threads = CodecThreads(1)
        self.health = Health(SystemClock(), 30, [REDIS_ANSWERS, KAFKA_ACCEPTS])
        self.metrics = Metrics("producer")
        self.settings = ProducerSettings(
            state_dir=folder, reconnect_min_s=0.01, reconnect_max_s=0.02, fps=0, sequence_block=10
        )
        self.store = store
        self.trouble: str | None = None
        self.worker: ProducerWorker

    def run(
        self, cameras: Sequence[CameraSpec], opener: Opener, site: str = "", changes: Any = None
    ) -> asyncio.Task[None]:
        ports = ProducerPorts(
            publisher=FramePublisher(self.sink, topic="frames"),
            flush=self._flushed,
            in_flight_bytes=lambda: 0,
            trouble=lambda: self.trouble,
            store=self.store,
            newest_in_kafka=self._nothing,
            threads=self.threads,
            metrics=self.metrics,
            health=self.health,
            clock=SystemClock(),
        )

        def opened(spec: CameraSpec, options: OpenOptions) -> Session:
            return opener(spec)

        self.worker = ProducerWorker(site, self.settings, cameras, ports, opener=opened)
        return asyncio.create_task(self.worker.run(self.stop, changes))

    async def _flushed(self, timeout_s: float) -> bool:
        return True

    async def _nothing(self, camera: str) -> int | None:
        return None

    async def published(self, camera: str, count: int) -> None:
        """Return once that many frames of the camera are published."""
        async with asyncio.timeout(10):
            while len(self.sink.seqs(camera)) < count:
                self.sink.arrived.clear()
                await self.sink.arrived.wait()


@pytest.fixture
async def bench(tmp_path: Path, sink: Any, store: Any) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, sink, store)
    yield bench
    bench.threads.close()


async def test_a_file_is_published_whole_numbered_in_order_with_its_truth(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    await bench.run([CameraSpec("cam", FILE)], lambda _: memory_source(pictures(25)), site="yard")
    frames = bench.sink.frames
    assert [frame.seq for frame in frames] == list(range(25))
    assert [frame.truth for frame in frames] == list(range(25))
    assert {(frame.site, frame.camera, frame.encoding, frame.live) for frame in frames} == {
        ("yard", "yard/cam", "jpeg", False)
    }
    stamps = [frame.captured_ns for frame in frames]
    assert stamps == sorted(stamps)
    summary = bench.worker.stats["yard/cam"].summary()
    assert (summary.captured, summary.published, summary.dropped, summary.error) == (25, 25, {}, "")


async def test_the_limit_counts_published_frames(bench: Bench, memory_source: Any, pictures: Any) -> None:
    camera = CameraSpec("cam", FILE, loop=True, limit=7)
    await bench.run([camera], lambda _: memory_source(pictures(3)))
    assert [frame.truth for frame in bench.sink.frames] == [0, 1, 2, 0, 1, 2, 0]
    summary = bench.worker.stats["cam"].summary()
    assert (summary.published, summary.dropped) == (7, {})


async def test_numbers_go_on_where_the_last_run_may_have_ended(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    for _ in range(2):
        await bench.run([CameraSpec("cam", FILE)], lambda _: memory_source(pictures(3)))
    assert bench.sink.seqs("cam") == [0, 1, 2, 10, 11, 12]


async def test_a_lost_camera_comes_back_again_and_again_until_it_gives_frames(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    attempts = 0

    def opener(_: CameraSpec) -> Session:
        nonlocal attempts
        attempts += 1
        if attempts in (1, 2, 4):
            raise SourceError("rtsp://cam/live: Connection refused")
        source: Session = memory_source(pictures(4))
        return source

    await bench.run([CameraSpec("cam", LIVE, limit=8)], opener)
    assert attempts == 5
    assert bench.sink.seqs("cam") == list(range(8))
    assert bench.worker.stats["cam"].summary().reconnects == 4


async def test_a_dead_or_broken_or_hanging_camera_never_touches_the_others(
    bench: Bench, memory_source: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.pipeline.CLOSE_WAIT_S", 0.1)
    hanging = memory_source(pictures(2), wait=1)

    def opener(spec: CameraSpec) -> Session:
        match spec.name:
            case "dead":
                raise SourceError("dead")
            case "buggy":
                raise ZeroDivisionError
            case "hanging":
                source: Session = hanging
            case _:
                source = memory_source(pictures(50))
        return source

    cameras = [CameraSpec("dead", LIVE), CameraSpec("buggy", LIVE), CameraSpec("hanging", FILE)]
    running = bench.run([*cameras, CameraSpec("a", FILE), CameraSpec("b", FILE, loop=True)], opener)
    await bench.published("a", 50)
    await bench.published("b", 200)
    assert not running.done()
    assert bench.sink.seqs("hanging") == [0]
    bench.stop.set()
    await running
    hanging.go.set()
    assert bench.worker.stats["dead"].summary().reconnects >= 1
    assert bench.worker.stats["buggy"].summary().reconnects >= 1


async def test_a_file_that_cannot_be_read_ends_its_camera_with_the_reason(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    def opener(spec: CameraSpec) -> Session:
        if spec.name == "bad":
            raise SourceError("clip.mp4: Invalid data")
        source: Session = memory_source(pictures(3))
        return source

    await bench.run([CameraSpec("bad", FILE), CameraSpec("good", FILE)], opener)
    assert bench.worker.stats["bad"].summary().error == "clip.mp4: Invalid data"
    assert bench.sink.seqs("good") == [0, 1, 2]


async def test_a_camera_of_another_producer_is_refused_and_the_others_run(
    bench: Bench, memory_source: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.worker.TAKE_OVER_WAIT_S", 0.0)
    bench.store.owners["taken"] = "another machine"
    cameras = [CameraSpec("taken", FILE), CameraSpec("free", FILE)]
    await bench.run(cameras, lambda _: memory_source(pictures(3)))
    assert "another live producer" in bench.worker.stats["taken"].summary().error
    assert bench.sink.seqs("taken") == []
    assert bench.sink.seqs("free") == [0, 1, 2]


async def test_stopping_ends_waiting_cameras_and_frees_their_leases(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    bench.sink.room.clear()
    running = bench.run([CameraSpec("cam", FILE, loop=True)], lambda _: memory_source(pictures(3)))
    await bench.sink.asked.wait()
    assert set(bench.store.owners) == {"cam"}
    bench.stop.set()
    await running
    assert bench.store.owners == {}
    assert bench.sink.frames == []


async def test_while_kafka_takes_nothing_a_live_camera_drops_its_oldest_and_memory_stays_bounded(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    bench.sink.room.clear()
    source = memory_source(pictures(100), wait=1)
    running = bench.run([CameraSpec("cam", LIVE, limit=9)], lambda _: source)
    await bench.sink.asked.wait()
    source.go.set()
    await asyncio.to_thread(source.closed.wait)
    bench.sink.room.set()
    await running
    summary = bench.worker.stats["cam"].summary()
    assert [frame.truth for frame in bench.sink.frames] == [0, *range(92, 100)]
    assert summary.dropped == {"queue_full": 91}
    assert summary.captured == 100


async def test_large_pictures_that_wait_are_bounded_by_their_bytes(bench: Bench, memory_source: Any) -> None:
    bench.sink.room.clear()
    pixels = RawImage(np.zeros((1080, 1920, 3), np.uint8))
    small = RawImage(pixels.pixels[:16, :16])
    pictures = [Captured(small if number < 5 else pixels, truth=number) for number in range(10)]
    source = memory_source(pictures, wait=1)
    running = bench.run([CameraSpec("cam", LIVE, limit=5)], lambda _: source)
    await bench.sink.asked.wait()
    source.go.set()
    await asyncio.to_thread(source.closed.wait)
    bench.sink.room.set()
    await running
    summary = bench.worker.stats["cam"].summary()
    assert [frame.truth for frame in bench.sink.frames] == [0, 6, 7, 8, 9]
    assert summary.dropped == {"queue_full": 5}
    assert summary.captured == 10


async def test_pictures_that_cannot_be_made_to_fit_are_counted(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    bench.settings = bench.settings.model_copy(update={"max_frame_bytes": 100})
    await bench.run([CameraSpec("cam", FILE)], lambda _: memory_source(pictures(3)))
    assert bench.worker.stats["cam"].summary().dropped == {"too_large": 3}


async def test_a_producer_whose_frames_kafka_does_not_accept_is_not_ready_and_says_why(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    bench.health.running()
    bench.trouble = "Kafka: sending: TopicAuthorizationFailedError"
    source = memory_source(pictures(1), wait=0)
    running = bench.run([CameraSpec("cam", FILE)], lambda _: source)
    await asyncio.to_thread(source.blocked.wait)
    verdict = bench.health.ready()
    source.go.set()
    await running
    assert not verdict.ok
    assert "TopicAuthorizationFailedError" in str(verdict.causes)


async def test_the_watchdog_hears_of_frames_that_wait_and_of_redis(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    bench.health.running()
    source = memory_source(pictures(1), wait=0)
    running = bench.run([CameraSpec("cam", FILE)], lambda _: source)
    await asyncio.to_thread(source.blocked.wait)
    assert bench.health.ready().ok
    source.go.set()
    await running
    text = bench.metrics.exposition().decode()
    assert 'saccade_published_frames_total{camera="cam"} 1.0' in text
    assert 'saccade_camera_connected{camera="cam"} 0.0' in text


class Edits:
    """Lists of cameras as a file's edits would give them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[list[CameraSpec]] = asyncio.Queue()

    def to(self, *cameras: CameraSpec) -> None:
        self._queue.put_nowait(list(cameras))

    async def __aiter__(self) -> AsyncIterator[Sequence[CameraSpec]]:
        while True:
            yield await self._queue.get()


async def test_cameras_come_change_and_go_while_the_others_are_not_touched(
    bench: Bench, memory_source: Any, pictures: Any
) -> None:
    sessions: list[str] = []

    def opener(spec: CameraSpec) -> Session:
        sessions.append(f"{spec.name}{spec.limit or ''}")
        source: Session = memory_source(pictures(2))
        return source

    edits = Edits()
    stays, goes, changes = (CameraSpec(name, FILE, loop=True) for name in ("stays", "goes", "changes"))
    bench.settings = bench.settings.model_copy(update={"fps": 200.0})
    worker_run = bench.run([stays, goes, changes], opener, changes=edits)
    for name in ("stays", "goes", "changes"):
        await bench.published(name, 3)
    edits.to(stays, CameraSpec("changes", FILE, limit=5), CameraSpec("comes", FILE, loop=True))
    await bench.published("comes", 3)
    async with asyncio.timeout(10):
        while "goes" in bench.store.owners:  # noqa: ASYNC110 - the store tells of no release
            await asyncio.sleep(0.005)
    count = len(bench.sink.seqs("goes"))
    await bench.published("stays", len(bench.sink.seqs("stays")) + 20)
    assert len(bench.sink.seqs("goes")) == count
    assert ("", "goes") not in bench.store.told
    assert "changes5" in sessions
    seqs = bench.sink.seqs("stays")
    assert seqs == list(range(len(seqs)))  # one owner all the time: a new one would leave a gap
    assert bench.sink.seqs("changes") == sorted(set(bench.sink.seqs("changes")))
    bench.stop.set()
    await worker_run
    assert bench.store.owners == {}


async def test_a_cameras_own_site_is_part_of_its_id(bench: Bench, memory_source: Any, pictures: Any) -> None:
    cameras = [CameraSpec("cam", FILE, site="north"), CameraSpec("cam", FILE)]
    await bench.run(cameras, lambda _: memory_source(pictures(2)), site="yard")
    assert {(frame.site, frame.camera) for frame in bench.sink.frames} == {
        ("north", "north/cam"),
        ("yard", "yard/cam"),
    }


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The board hears of the cameras many times a second."""
    monkeypatch.setattr("producers.worker.REPORT_INTERVAL_S", 0.05)


@pytest.mark.usefixtures("often")
async def test_the_board_hears_how_each_camera_is(bench: Bench, memory_source: Any, pictures: Any) -> None:
    def opener(spec: CameraSpec) -> Session:
        if spec.name == "locked":
            raise CameraError(Trouble.LOGIN_REFUSED, "rtsp://cam/live: the camera refuses the login")
        source: Session = memory_source(pictures(3))
        return source

    running = bench.run([CameraSpec("locked", LIVE), CameraSpec("file", FILE)], opener, site="yard")
    await bench.published("yard/file", 3)
    async with asyncio.timeout(10):
        while bench.store.told.get(("yard", "yard/file"), None) is None or (
            bench.store.told["yard", "yard/file"].state != "ended"
        ):
            bench.store.heard.clear()
            await bench.store.heard.wait()
    file, locked = bench.store.told["yard", "yard/file"], bench.store.told["yard", "yard/locked"]
    assert (file.published, file.error, file.restarts) == (3, "", 0)
    assert file.last_frame_ns > 0
    assert (locked.published, locked.error, locked.last_frame_ns) == (0, "login_refused", 0)
    assert locked.message == "rtsp://cam/live: the camera refuses the login"
    assert not file.online(file.told_ns)
    bench.stop.set()
    await running


@pytest.mark.usefixtures("often")
async def test_a_live_camera_that_repeats_itself_is_told_as_frozen_until_it_moves(
    bench: Bench, memory_source: Any
) -> None:
    bench.settings = bench.settings.model_copy(update={"frozen_after_s": 0.05})
    same, other = (np.full((16, 16, 3), level, np.uint8) for level in (7, 8))
    pictures = [Captured(RawImage(same), time_s=number / 10) for number in range(5)]
    source = memory_source(
        [*pictures, Captured(RawImage(other))], pace=PlaySchedule(50, may_drop=False), wait=5
    )
    bench.run([CameraSpec("cam", LIVE)], lambda _: source)

    async def told(state: str) -> CameraState:
        async with asyncio.timeout(10):
            while bench.store.told.get(("", "cam")) is None or bench.store.told["", "cam"].state != state:
                bench.store.heard.clear()
                await bench.store.heard.wait()
        found: CameraState = bench.store.told["", "cam"]
        return found

    frozen = await told("frozen")
    assert (frozen.error, frozen.message) == ("frozen", "cam: the same picture for 0.05 s")
    assert bench.metrics.group(ProducerMetrics).frozen.labels("cam")._value.get() == 1
    source.go.set()
    await bench.published("cam", 6)
    assert bench.metrics.group(ProducerMetrics).frozen.labels("cam")._value.get() == 0
    bench.stop.set()
