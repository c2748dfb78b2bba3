import asyncio
from collections.abc import Iterable, Mapping

import pytest

from runtime.intake import Delivery, Intake, RebalanceCallback
from runtime.kafka_connection import Record
from runtime.offsets import TopicPartition
from schemas.errors import TransientError

A: TopicPartition = ("t", 0)
B: TopicPartition = ("t", 1)


class FakeSource:
    """A source that hands out what the test puts in, and remembers what was asked of it."""

    def __init__(self, drain_s: float) -> None:
        self.drain_s = drain_s
        self.records: list[Record] = []
        self.held: set[TopicPartition] = {A, B}
        self.paused: set[TopicPartition] = set()
        self.commits: list[dict[TopicPartition, int]] = []
        self.committed = asyncio.Event()
        self.fails = False
        self.is_silent = False

    def listen(self, *, on_assigned: RebalanceCallback, on_revoked: RebalanceCallback) -> None:
        self.assign, self.revoke = on_assigned, on_revoked

    must_wait = False

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
        if self.is_silent:
            await asyncio.Event().wait()
        self.commits.append(dict(offsets))
        self.committed.set()


def record(partition: int, offset: int) -> Record:
    return Record("t", partition, offset, 0, None, b"")


class Worker:
    """Keeps the deliveries that have not begun, as a worker's backlog does."""

    def __init__(self, drain_s: float = 5.0, max_drain_s: float | None = None) -> None:
        self.waiting: list[Delivery] = []
        self.source = FakeSource(drain_s)
        self.intake = Intake(self.source, forget=self.forget, max_drain_s=max_drain_s)

    def forget(self, partitions: frozenset[TopicPartition]) -> None:
        for delivery in self.waiting:
            if delivery.partition in partitions:
                delivery.release()
        self.waiting = [delivery for delivery in self.waiting if delivery.partition not in partitions]

    async def poll(self, *records: Record) -> list[Delivery]:
        self.source.records += records
        return await self.intake.poll(100, 0.0)


@pytest.fixture
async def worker() -> Worker:
    made = Worker()
    await made.source.assign({A, B})
    return made


async def test_only_what_is_finished_without_a_gap_is_committed(worker: Worker) -> None:
    deliveries = await worker.poll(*(record(0, offset) for offset in range(5, 9)))
    deliveries[1].ack()
    await worker.intake.commit()
    assert worker.source.commits == []
    deliveries[0].ack()
    await worker.intake.commit()
    await worker.intake.commit()
    assert worker.source.commits == [{A: 7}]
    assert (worker.intake.num_open, worker.intake.num_finished) == (2, 2)


async def test_a_delivery_ends_once(worker: Worker) -> None:
    first, second = await worker.poll(record(0, 0), record(0, 1))
    first.ack()
    second.release()
    for delivery in (first, second):
        with pytest.raises(ValueError, match="ended before"):
            delivery.ack()
        with pytest.raises(ValueError, match="ended before"):
            delivery.release()
    assert (worker.intake.num_open, worker.intake.num_finished) == (0, 1)


async def test_a_failed_commit_is_made_up_for(worker: Worker) -> None:
    (delivery,) = await worker.poll(record(0, 3))
    delivery.ack()
    worker.source.fails = True
    await worker.intake.commit()
    worker.source.fails = False
    await worker.intake.commit()
    assert worker.source.commits == [{A: 4}]


async def test_a_revoke_forgets_what_waits_drains_what_has_begun_and_commits(worker: Worker) -> None:
    begun, waits = await worker.poll(record(0, 0), record(0, 1))
    worker.waiting = [waits]
    revoking = asyncio.ensure_future(worker.source.revoke({A}))
    await asyncio.sleep(0)
    assert not revoking.done()
    begun.ack()
    await revoking
    assert worker.source.commits == [{A: 1}]
    assert worker.intake.num_open == 0


@pytest.mark.parametrize("limits", [(0.01, None), (60.0, 0.01)])
async def test_a_revoke_does_not_wait_longer_than_its_limit_and_late_results_move_no_offset(
    limits: tuple[float, float | None],
) -> None:
    worker = Worker(*limits)
    await worker.source.assign({A})
    (delivery,) = await worker.poll(record(0, 0))
    await worker.source.revoke({A})
    await worker.source.assign({A})
    (again,) = await worker.poll(record(0, 0))
    delivery.ack()
    await worker.intake.commit()
    assert worker.source.commits == []
    assert worker.intake.num_open == 1
    again.ack()
    await worker.intake.commit()
    assert worker.source.commits == [{A: 1}]


async def test_a_revoke_gives_a_silent_broker_less_time_than_the_group_has() -> None:
    worker = Worker(drain_s=1.0)
    await worker.source.assign({A})
    done, _ = await worker.poll(record(0, 0), record(0, 1))
    done.ack()
    worker.source.is_silent = True
    async with asyncio.timeout(1.5 * worker.source.drain_s):
        await worker.source.revoke({A})
    assert await worker.poll(record(0, 0)) == []


async def test_a_log_that_begins_anew_is_read_from_there_and_its_old_results_move_no_offset(
    worker: Worker,
) -> None:
    (old,) = await worker.poll(record(0, 100))
    first, second = await worker.poll(record(0, 0), record(0, 1))
    first.ack()
    await worker.intake.commit()
    old.ack()
    await worker.intake.commit()
    assert worker.source.commits == [{A: 1}]
    second.ack()
    await worker.intake.commit()
    assert worker.source.commits == [{A: 1}, {A: 2}]
    assert worker.intake.num_open == 0


async def test_records_of_a_partition_that_is_not_held_are_left_alone(worker: Worker) -> None:
    await worker.source.revoke({B})
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


async def test_what_is_paused_while_partitions_change_hands_can_be_paused_again(worker: Worker) -> None:
    await worker.source.revoke({A, B})
    worker.intake.pause([A])  # by a reader that does not know yet
    worker.source.paused.clear()  # a new assignment has none
    await worker.source.assign({A, B})
    assert worker.intake.paused == frozenset()
    worker.intake.pause([A])
    assert worker.source.paused == {A}


async def test_commits_go_on_at_their_interval_and_a_last_time_at_the_end(worker: Worker) -> None:
    first, second = await worker.poll(record(0, 0), record(0, 1))
    stop = asyncio.Event()
    committing = asyncio.create_task(worker.intake.commit_until(stop, 0.001))
    first.ack()
    await worker.source.committed.wait()
    second.ack()
    stop.set()
    await committing
    assert worker.source.commits[-1] == {A: 2}


async def test_drained_waits_for_the_last_open_record(worker: Worker) -> None:
    first, second = await worker.poll(record(0, 0), record(1, 0))
    draining = asyncio.create_task(worker.intake.drained())
    first.ack()
    await asyncio.sleep(0)
    assert not draining.done()
    second.release()
    await draining
