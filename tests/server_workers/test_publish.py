import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest

from runtime.clock import ManualClock
from runtime.intake import Delivery
from runtime.kafka_connection import Record
from schemas.errors import SaccadeError, TransientError
from schemas.label import AnswerSource, Label, LabelState
from schemas.win_rule import PutResult
from server_workers.publish import LabelQueue
from server_workers.task import AnswerTask


class FakeWriter:
    """Redis that is away for as many writes as it is told, and moves the clock at each."""

    def __init__(self, clock: ManualClock, away: float = 0, result: PutResult = PutResult.WRITTEN) -> None:
        self.clock = clock
        self.away = away
        self.result = result
        self.writes: list[int] = []
        self.error: type[SaccadeError] = TransientError

    async def write_once(self, labels: Sequence[Label]) -> list[PutResult]:
        self.writes.append(len(labels))
        if len(self.writes) <= self.away:
            self.clock.advance(1.0)
            raise self.error("away")
        return [self.result] * len(labels)


class Seen:
    """Stands in for the tally, and notes which offsets are free."""

    def __init__(self) -> None:
        self.finished: list[int] = []
        self.outcomes: list[str] = []

    def settle(self, record: Record, is_done: bool) -> None:
        assert is_done
        self.finished.append(record.offset)

    def settled(self, site: str, outcome: str) -> None:
        self.outcomes.append(outcome)


def final(seen: Seen, offset: int, deadline_s: float = math.inf) -> AnswerTask:
    label = Label("s", "s/c", offset, LabelState.FINAL, AnswerSource.SERVER, 1, "one", 0.9, 0, 0)
    task = AnswerTask(Delivery(Record("offload", 0, offset, 0, None, b""), seen.settle), 0.0)
    task.label, task.deadline_s = label, deadline_s
    return task


def queue(writer: FakeWriter, seen: Any, give_up_s: float | None = None) -> LabelQueue:
    return LabelQueue(writer, seen, writer.clock, grace_s=1.0, give_up_s=give_up_s)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server_workers.publish._WAIT_MIN_S", 0.0)


async def run(labels: LabelQueue, *tasks: AnswerTask) -> None:
    await labels.put(tasks)
    labels.close()
    await labels.run()


async def test_many_labels_are_one_write_and_then_their_offsets_are_free() -> None:
    writer, seen = FakeWriter(ManualClock()), Seen()
    await run(queue(writer, seen), *(final(seen, offset) for offset in range(5)))
    assert writer.writes == [5]
    assert seen.finished == [0, 1, 2, 3, 4]
    assert set(seen.outcomes) == {"final"}


@pytest.mark.parametrize(
    ("result", "outcome"),
    [(PutResult.ALREADY_FINAL, "repeated"), (PutResult.LATE, "late"), (PutResult.UNCHANGED, "final")],
)
async def test_a_label_that_redis_does_not_want_is_done_too(result: PutResult, outcome: str) -> None:
    seen = Seen()
    await run(queue(FakeWriter(ManualClock(), result=result), seen), final(seen, 0))
    assert (seen.finished, seen.outcomes) == ([0], [outcome])


async def test_the_only_redis_is_waited_for_until_each_labels_deadline_and_grace() -> None:
    writer, seen = FakeWriter(ManualClock(), away=5), Seen()
    await run(
        queue(writer, seen), final(seen, 0, deadline_s=1.5), final(seen, 1, deadline_s=100.0), final(seen, 2)
    )
    assert seen.outcomes == ["lost", "final", "final"]
    assert seen.finished == [0, 1, 2]


@pytest.mark.parametrize("error", [TransientError, SaccadeError])
async def test_where_others_are_served_too_a_redis_that_takes_nothing_loses_what_waits_for_it(
    error: type[SaccadeError],
) -> None:
    writer, seen = FakeWriter(ManualClock(), away=math.inf), Seen()
    writer.error = error
    await run(queue(writer, seen, give_up_s=3.5), final(seen, 0), final(seen, 1))
    assert seen.outcomes == ["lost", "lost"]
    assert len(writer.writes) == 4


async def test_a_full_queue_holds_up_nobody_where_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server_workers.publish._MAX_QUEUED", 3)
    seen = Seen()
    labels = queue(FakeWriter(ManualClock()), seen, give_up_s=1.0)
    await labels.put([final(seen, offset) for offset in range(5)])
    assert (seen.finished, seen.outcomes) == ([3, 4], ["lost", "lost"])


async def test_a_full_queue_of_the_only_redis_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server_workers.publish._MAX_QUEUED", 3)
    seen = Seen()
    labels = queue(FakeWriter(ManualClock()), seen)
    putting = asyncio.create_task(labels.put([final(seen, offset) for offset in range(5)]))
    await asyncio.sleep(0)
    assert not putting.done()
    running = asyncio.create_task(labels.run())
    await putting
    labels.close()
    await running
    assert seen.finished == [0, 1, 2, 3, 4]
