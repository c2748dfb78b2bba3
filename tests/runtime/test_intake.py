import asyncio
from collections.abc import Iterable, Mapping

import pytest

from runtime.intake import Intake
from runtime.kafka import Record
from runtime.offsets import Ticket, TopicPartition
from schemas.errors import TransientError

A: TopicPartition = ("t", 0)
B: TopicPartition = ("t", 1)


class FakeSource:
    """A source that hands out what the test puts in, and remembers what was asked of it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.held: set[TopicPartition] = {A, B}
        self.paused: set[TopicPartition] = set()
        self.commits: list[dict[TopicPartition, int]] = []
        self.committed = asyncio.Event()
        self.fails = False

    async def getmany(self, max_records: int, timeout_s: float) -> list[Record]:
        taken, self.records = self.records[:max_records], self.records[max_records:]
        return taken

    def assignment(self) -> set[TopicPartition]:
        return self.held

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused -= set(partitions)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.fails:
            raise TransientError("no broker")
        self.commits.append(dict(offsets))
        self.committed.set()


def record(partition: int, offset: int) -> Record:
    return Record("t", partition, offset, 0, None, b"")


class Worker:
    """Keeps the tickets that have not begun, as a worker's backlog does."""

    def __init__(self, drain_s: float = 5.0) -> None:
        self.waiting: list[Ticket] = []
        self.intake = Intake(drain_s=drain_s, forget=self.forget)
        self.source = FakeSource()
        self.intake.attach(self.source)

    def forget(self, partitions: frozenset[TopicPartition]) -> list[Ticket]:
        gone = [ticket for ticket in self.waiting if (ticket.topic, ticket.partition) in partitions]
        self.waiting = [ticket for ticket in self.waiting if ticket not in gone]
        return gone

    async def poll(self, *records: Record) -> list[Ticket]:
        self.source.records += records
        return [taken.ticket for taken in await self.intake.poll(100, 0.0)]


@pytest.fixture
async def worker() -> Worker:
    made = Worker()
    await made.intake.on_assigned({A, B})
    return made


async def test_only_what_is_finished_without_a_gap_is_committed(worker: Worker) -> None:
    tickets = await worker.poll(*(record(0, offset) for offset in range(5, 9)))
    worker.intake.finish(tickets[1])
    await worker.intake.commit()
    assert worker.source.commits == []
    worker.intake.finish(tickets[0])
    await worker.intake.commit()
    await worker.intake.commit()
    assert worker.source.commits == [{A: 7}]
    assert worker.intake.num_open == 2


async def test_a_failed_commit_is_made_up_for(worker: Worker) -> None:
    (ticket,) = await worker.poll(record(0, 3))
    worker.intake.finish(ticket)
    worker.source.fails = True
    await worker.intake.commit()
    worker.source.fails = False
    await worker.intake.commit()
    assert worker.source.commits == [{A: 4}]


async def test_a_revoke_forgets_what_waits_drains_what_has_begun_and_commits(worker: Worker) -> None:
    begun, waits = await worker.poll(record(0, 0), record(0, 1))
    worker.waiting = [waits]
    revoking = asyncio.create_task(worker.intake.on_revoked({A}))
    await asyncio.sleep(0)
    assert not revoking.done()
    worker.intake.finish(begun)
    await revoking
    assert worker.source.commits == [{A: 1}]
    assert worker.intake.num_open == 0


async def test_a_revoke_does_not_wait_longer_than_its_limit_and_late_results_move_no_offset() -> None:
    worker = Worker(drain_s=0.01)
    await worker.intake.on_assigned({A})
    (ticket,) = await worker.poll(record(0, 0))
    await worker.intake.on_revoked({A})
    await worker.intake.on_assigned({A})
    (again,) = await worker.poll(record(0, 0))
    worker.intake.finish(ticket)
    await worker.intake.commit()
    assert worker.source.commits == []
    assert worker.intake.num_open == 1
    worker.intake.finish(again)
    await worker.intake.commit()
    assert worker.source.commits == [{A: 1}]


async def test_records_of_a_partition_that_is_not_held_are_left_alone(worker: Worker) -> None:
    await worker.intake.on_revoked({B})
    assert await worker.poll(record(1, 0)) == []
    assert worker.intake.num_open == 0


async def test_pausing_and_resuming_ask_the_source_once_and_only_for_what_is_held(worker: Worker) -> None:
    worker.intake.pause([A])
    worker.intake.pause_all()
    assert worker.source.paused == {A, B} == worker.intake.paused
    worker.source.held = {A}
    worker.intake.resume()
    assert worker.source.paused == {B}
    assert worker.intake.paused == frozenset()


async def test_commits_go_on_at_their_interval_and_a_last_time_at_the_end(worker: Worker) -> None:
    first, second = await worker.poll(record(0, 0), record(0, 1))
    stop = asyncio.Event()
    committing = asyncio.create_task(worker.intake.commit_until(stop, 0.001))
    worker.intake.finish(first)
    await worker.source.committed.wait()
    worker.intake.finish(second)
    stop.set()
    await committing
    assert worker.source.commits[-1] == {A: 2}


async def test_drained_waits_for_the_last_open_record(worker: Worker) -> None:
    first, second = await worker.poll(record(0, 0), record(1, 0))
    draining = asyncio.create_task(worker.intake.drained())
    worker.intake.finish(first)
    await asyncio.sleep(0)
    assert not draining.done()
    worker.intake.abandon([second])
    await draining


async def test_without_a_source_nothing_can_be_read() -> None:
    with pytest.raises(RuntimeError, match="attach"):
        await Intake(drain_s=1.0, forget=lambda _: []).poll(1, 0.0)
