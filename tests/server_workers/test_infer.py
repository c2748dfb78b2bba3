"""Batches through a fake model: one that fails on some members, and one that fails on all."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetters
from runtime.device_thread import DeviceThread
from runtime.intake import Delivery
from runtime.kafka_connection import Record
from runtime.metrics import Metrics
from runtime.site_clock import SiteClock
from schemas.errors import ModelError
from schemas.offload import Offload, bitmap_of
from server_workers.batcher import Batcher
from server_workers.infer import ServerInference, each_apart
from server_workers.metrics import ServerTally
from server_workers.sites import SiteRedis, Sites
from server_workers.task import AnswerTask, Verdict
from vit.backends import Identity

POISON = 13


@dataclass
class Scores:
    values: NDArray[np.float32]

    def result(self) -> NDArray[np.float32]:
        return self.values


class Engine:
    """Scores the number of patches; refuses a batch that holds a set of 13."""

    identity = Identity("fake", tuple(str(index) for index in range(200)), "0" * 16, "0" * 32)
    batches_in_flight = 1

    def submit(self, patches: Sequence[NDArray[np.uint8]], positions: Sequence[NDArray[np.int64]]) -> Scores:
        return Scores(self.classify(patches, positions))

    def classify(
        self, patches: Sequence[NDArray[np.uint8]], positions: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.float32]:
        if any(len(kept) == POISON for kept in positions):
            raise RuntimeError("cannot compute this")
        return np.stack([np.eye(200, dtype=np.float32)[len(kept)] * 9 for kept in positions])


class Broken(Engine):
    def classify(
        self, patches: Sequence[NDArray[np.uint8]], positions: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.float32]:
        raise RuntimeError("device lost")


class Overlapping(Engine):
    """A device that computes on while the next batch is begun, and fails only when asked for results."""

    batches_in_flight = 2

    def submit(self, patches: Any, positions: Any) -> Scores:
        engine = self

        class Late(Scores):
            def result(self) -> NDArray[np.float32]:
                return engine.classify(patches, positions)

        return Late(np.zeros(0, np.float32))


class NotFinite(Engine):
    def classify(
        self, patches: Sequence[NDArray[np.uint8]], positions: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.float32]:
        scores = np.zeros((len(positions), 200), np.float32)
        scores[[len(kept) == POISON for kept in positions]] = np.nan
        return scores


class Reader:
    """Holds what the inference asks of a reader."""

    def __init__(self) -> None:
        self.finished: list[int] = []
        self.arrived = asyncio.Event()
        self.over = False

    def batch_left(self) -> None: ...

    def settle(self, record: Record, is_done: bool) -> None:
        assert is_done
        self.finished.append(record.offset)


class Answered:
    def __init__(self, expected: int, done: Callable[[], None]) -> None:
        self.tasks: list[AnswerTask] = []
        self.closed = False
        self._expected, self._done = expected, done

    async def put(self, tasks: Sequence[AnswerTask]) -> None:
        self.tasks += tasks
        if len(self.tasks) >= self._expected:
            self._done()

    def close(self) -> None:
        self.closed = True


class Sink:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def send(self, topic: str, value: bytes, **_: Any) -> asyncio.Future[object]:
        self.sent.append(value)
        delivery: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        delivery.set_result(None)
        return delivery


async def infer(engine: Engine, lengths: list[int], num_finals: int) -> tuple[Answered, Sink, Reader]:
    clock = SystemClock()
    reader, sink = Reader(), Sink()

    def stop() -> None:
        reader.over = True
        reader.arrived.set()

    answered = Answered(num_finals, stop)
    site_clock = SiteClock()
    site_clock.learn(clock.time_ns(), clock.monotonic_s(), clock.monotonic_s())
    batcher: Batcher[AnswerTask] = Batcher(
        max_batch_tokens=5000,
        max_batch_s=math.inf,
        max_wait_s=0.0,
        max_waiting_sets=1000,
        max_waiting_tokens=10**6,
        max_set_tokens=197,
    )
    for offset, length in enumerate(lengths):
        positions = np.arange(length)
        record = Offload("c", offset, 0, 0, bitmap_of(positions), "raw", 0, b"", ((0, 0.5),), "00000000")
        delivery = Delivery(Record("offload", 0, offset, 0, None, str(length).encode()), reader.settle)
        task = AnswerTask(delivery, clock.monotonic_s())
        task.record, task.positions, task.engine = record, positions, engine
        task.patches = np.zeros((length, 16, 16, 3), np.uint8)
        batcher.push(task, 0.0)
    letters = DeadLetters(sink)
    async with DeviceThread("device") as device, DeviceThread("results") as results:
        inference = ServerInference(
            device,
            results,
            batcher,
            reader,  # type: ignore[arg-type]
            publisher=answered,  # type: ignore[arg-type]
            sites=Sites(SiteRedis("default", None, site_clock), {}),  # type: ignore[arg-type]
            letters=letters,
            tally=ServerTally(Metrics("test"), "offload"),
            clock=clock,
            batches_in_flight=engine.batches_in_flight,
        )
        async with asyncio.timeout(10):
            async with asyncio.TaskGroup() as group:
                group.create_task(inference.begin())
                group.create_task(inference.collect())
    letters.close()
    await letters.run()
    return answered, sink, reader


async def test_a_label_names_the_best_class_of_its_own_record() -> None:
    answered, _, _ = await infer(Engine(), [5, 180, 42], 3)
    assert {(task.label.seq, task.label.name) for task in answered.tasks} == {
        (0, "5"),
        (1, "180"),
        (2, "42"),
    }
    assert all(task.label.confidence > 0.9 for task in answered.tasks)
    assert answered.closed
    assert {task.verdict for task in answered.tasks} == {Verdict.ANSWERED}


@pytest.mark.parametrize("engine", [Engine(), NotFinite(), Overlapping()])
async def test_a_record_that_the_model_refuses_is_a_dead_letter_and_its_batch_is_labelled(
    engine: Engine,
) -> None:
    answered, sink, reader = await infer(engine, [5, POISON, 42, 7], 3)
    assert sorted(task.label.seq for task in answered.tasks) == [0, 2, 3]
    assert sink.sent == [b"13"]
    assert reader.finished == [1]


async def test_a_device_that_fails_on_everything_ends_the_worker() -> None:
    with pytest.raises(ExceptionGroup) as failure:
        await infer(Broken(), [5] * 30, 30)
    (error,) = failure.value.exceptions
    assert isinstance(error, ModelError)
    assert "9 records in a row: device lost" in str(error)


class Computer:
    """Fails on every batch that holds a bad member."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.num_calls = 0

    async def __call__(self, members: Sequence[int]) -> list[str]:
        self.num_calls += 1
        if self.bad & set(members):
            raise ValueError(f"cannot do {sorted(self.bad & set(members))}")
        return [f"did {member}" for member in members]


async def test_a_good_batch_is_computed_once() -> None:
    compute = Computer(set())
    assert await each_apart(compute, range(8)) == [f"did {member}" for member in range(8)]
    assert compute.num_calls == 1


async def test_one_bad_member_gets_its_error_and_its_neighbours_their_results() -> None:
    compute = Computer({5})
    results = await each_apart(compute, range(16))
    assert str(results[5]) == "cannot do [5]"
    assert [result for result in results if isinstance(result, str)] == [
        f"did {m}" for m in range(16) if m != 5
    ]
    assert compute.num_calls <= 9


@given(st.sets(st.integers(0, 12)), st.integers(1, 12))
async def test_every_member_has_one_outcome_in_its_place(bad: set[int], number: int) -> None:
    results = await each_apart(Computer(bad), range(number))
    assert [isinstance(result, Exception) for result in results] == [m in bad for m in range(number)]


async def test_a_cancelled_batch_is_not_taken_apart() -> None:
    async def cancelled(members: Sequence[int]) -> list[str]:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await each_apart(cancelled, range(4))
