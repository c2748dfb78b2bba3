import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from devstack.settings import Settings
from edge_workers.intake import FrameReader
from edge_workers.metrics import FrameMetrics
from edge_workers.task import Refusal
from runtime.clock import ManualClock
from runtime.dead_letters import DeadLetters
from runtime.intake import RebalanceCallback
from runtime.kafka_connection import Record
from runtime.metrics import Metrics
from runtime.offsets import TopicPartition
from schemas.frame import Frame, decode_frame, encode_frame
from schemas.label import LabelState

S = 1_000_000_000


class FakeSource:
    """Hands out what the test puts in, of partitions that are not paused; then waits for more."""

    drain_s = 1.0

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.paused: set[TopicPartition] = set()
        self.more = asyncio.Event()

    def listen(self, *, on_assigned: RebalanceCallback, on_revoked: RebalanceCallback) -> None:
        self.assign, self.revoke = on_assigned, on_revoked

    must_wait = False

    async def getmany(self, max_records: int, timeout_s: float) -> list[Record]:
        taken = [each for each in self.records if (each.topic, each.partition) not in self.paused]
        taken = taken[:max_records]
        self.records = [each for each in self.records if each not in taken]
        if not taken and timeout_s > 0:
            self.more.clear()
            await self.more.wait()
        return taken

    def assignment(self) -> set[TopicPartition]:
        return {("frames", 0), ("frames", 1)}

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused -= set(partitions)
        self.more.set()

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...


class NoSink:
    async def send(self, *_: Any, **__: Any) -> asyncio.Future[object]:
        raise AssertionError("nothing is refused here")


class Bench:
    """A reader with everything around it faked, and a clock that stands still."""

    def __init__(self, **edge: Any) -> None:
        settings = Settings()
        settings = settings.model_copy(update={"edge": settings.edge.model_copy(update=edge)})
        self.clock = ManualClock()
        self.letters = DeadLetters(NoSink())
        frame_metrics = FrameMetrics(Metrics("test"), "frames", self.clock)
        self.source = FakeSource()
        self.reader = FrameReader(self.source, settings, self.clock, self.letters, frame_metrics)
        self._offsets = {0: 0, 1: 0}

    def give(self, partition: int, number: int, *, live: bool, camera: str = "c") -> None:
        for _ in range(number):
            offset = self._offsets[partition]
            self._offsets[partition] += 1
            frame = Frame("", camera, offset, self.clock.time_ns(), 1, 1, "jpeg", b"x" * 1000, live=live)
            self.source.records.append(Record("frames", partition, offset, 0, None, encode_frame(frame)))
        self.source.more.set()

    async def settle(self) -> None:
        """Everything that can happen without time has happened."""
        for _ in range(50):
            await asyncio.sleep(0)

    def waiting(self) -> int:
        return len(self.reader.backlog)


@pytest.fixture
async def start() -> Any:
    tasks = []

    async def starting(bench: Bench) -> asyncio.Task[None]:
        await bench.source.assign({("frames", 0), ("frames", 1)})
        task = asyncio.create_task(bench.reader.run())
        tasks.append(task)
        await bench.settle()
        return task

    yield starting
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_files_of_one_partition_leave_room_for_the_cameras_of_another(start: Any) -> None:
    bench = Bench(batch_frames=2)
    await start(bench)
    bench.give(0, 200, live=False, camera="file")
    await bench.settle()
    held = bench.waiting()
    assert bench.source.paused == {("frames", 0)}
    bench.give(1, 5, live=True, camera="live")
    await bench.settle()
    assert bench.waiting() == held + 5
    while bench.source.records or bench.waiting():
        assert bench.reader.next_tasks(2)
        await bench.settle()
    assert bench.source.paused == set()


async def test_with_two_batches_waiting_single_records_are_left_to_come_together(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_workers.intake._REST_S", 60.0)  # longer than a busy machine takes to get there
    bench = Bench(batch_frames=2)
    await start(bench)
    bench.give(0, 3, live=True)
    await bench.settle()
    bench.give(0, 1, live=True)
    await bench.settle()
    assert bench.waiting() == 4
    bench.give(0, 1, live=True)
    await bench.settle()
    assert len(bench.source.records) == 1
    assert len(bench.reader.next_tasks(2)) == 2
    await bench.settle()
    assert bench.source.records == []
    assert bench.waiting() == 3


async def test_reading_stops_while_the_backlog_is_full_and_goes_on_when_frames_leave(start: Any) -> None:
    bench = Bench(max_waiting_frames=10, batch_frames=100)
    await start(bench)
    bench.give(0, 200, live=False)
    await bench.settle()
    assert bench.source.paused == {("frames", 0), ("frames", 1)}
    left = len(bench.source.records)
    assert left > 0
    bench.reader.next_tasks(200)
    await bench.settle()
    assert len(bench.source.records) < left


async def test_a_full_backlog_sheds_old_live_frames_as_dropped_for_overload(start: Any) -> None:
    bench = Bench(max_waiting_frames=10, max_latency_ms=1000)
    bench.give(0, 12, live=True)
    bench.clock.advance(5.0)
    await start(bench)
    refused = bench.reader.next_tasks(0)
    assert [(task.frame.seq, task.refusal) for task in refused] == [
        (seq, Refusal(LabelState.DROPPED, "overload")) for seq in range(3)
    ]
    assert bench.waiting() == 9


async def test_a_full_backlog_of_frames_that_are_not_behind_sheds_none(start: Any) -> None:
    bench = Bench(max_waiting_frames=10, max_latency_ms=1000)
    bench.give(0, 12, live=True)
    await start(bench)
    assert bench.reader.next_tasks(0) == []
    assert bench.waiting() == 12
    assert bench.source.paused


async def test_frames_that_grew_too_old_while_waiting_are_refused(start: Any) -> None:
    bench = Bench()
    await start(bench)
    bench.give(0, 3, live=True)
    bench.give(1, 2, live=False)
    await bench.settle()
    bench.clock.advance(31.0)
    refused = bench.reader.next_tasks(0)
    assert [task.refusal for task in refused] == [Refusal(LabelState.DROPPED, "too_old")] * 3
    assert bench.waiting() == 2


async def test_a_revoke_and_the_end_leave_what_waits_to_others(start: Any) -> None:
    bench = Bench()
    task = await start(bench)
    bench.give(0, 3, live=True)
    bench.give(1, 2, live=True)
    await bench.settle()
    await bench.source.revoke({("frames", 0)})
    assert bench.waiting() == 2
    task.cancel()
    await asyncio.wait([task])
    bench.reader.end()
    assert (bench.waiting(), bench.reader.intake.num_open, bench.reader.over) == (0, 0, True)


async def test_a_refused_frame_whose_camera_and_number_can_be_read_goes_to_its_label(start: Any) -> None:
    bench = Bench()
    await start(bench)
    bench.give(0, 1, live=True)
    sound = decode_frame(bench.source.records[0].value, max_frame_bytes=2000, max_frame_pixels=1)
    bad = [replace(sound, seq=5, width=50_000, height=50_000), replace(sound, seq=6, encoding="bmp")]
    for offset, frame in enumerate(bad, start=1):
        bench.source.records.append(Record("frames", 0, offset, 0, None, encode_frame(frame)))
    bench.source.more.set()
    await bench.settle()
    tasks = bench.reader.next_tasks(10)
    refused = [(task.frame.seq, task.refusal.state) for task in tasks if task.refusal is not None]
    assert refused == [(5, LabelState.UNDECODABLE), (6, LabelState.UNDECODABLE)]
    assert [task.frame.seq for task in tasks if task.refusal is None] == [0]
    assert all(task.refusal.error for task in tasks if task.refusal is not None)


async def test_a_flood_of_refused_frames_makes_reading_rest(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_workers.intake._MAX_REFUSED", 2)
    bench = Bench()
    bench.give(0, 1, live=True)
    sound = decode_frame(bench.source.records.pop().value, max_frame_bytes=2000, max_frame_pixels=1)
    bad = encode_frame(replace(sound, encoding="bmp"))
    bench.source.records += [Record("frames", 0, offset, 0, None, bad) for offset in range(200)]
    await start(bench)
    assert bench.source.paused
    left = len(bench.source.records)
    assert left > 0
    while bench.source.records:
        assert bench.reader.next_tasks(10)
        await bench.settle()


async def test_a_frame_of_another_site_is_a_dead_letter_without_a_label(start: Any) -> None:
    bench = Bench()
    await start(bench)
    frame = Frame("south", "south/c", 1, 0, 1, 1, "jpeg", b"x")
    bench.source.records.append(Record("frames", 0, 0, 0, None, encode_frame(frame)))
    bench.source.more.set()
    await bench.settle()
    assert bench.reader.next_tasks(10) == []
    (refused,) = bench.letters._waiting.take_ready(10)
    assert refused.letter.reason == "foreign_site"
