"""Traces on their way: in order, never waited for, and lost rather than in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from runtime.traces import TracePart, TraceWriter
from schemas.errors import SaccadeError, TransientError


class FakeStore:
    def __init__(self) -> None:
        self.written: list[int] = []
        self.refusals = 0
        self.error: SaccadeError = TransientError("away")

    async def put_traces(self, parts: Sequence[TracePart]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise self.error
        self.written += [part.seq for part in parts]


async def run_to_the_end(writer: TraceWriter) -> None:
    over = asyncio.Event()
    over.set()
    await writer.run(over)


def part(seq: int) -> TracePart:
    return TracePart("c", seq, "edge", "{}")


async def test_parts_are_written_in_order_until_the_end() -> None:
    store = FakeStore()
    writer = TraceWriter(store)
    for seq in range(300):
        writer.put(part(seq))
    await run_to_the_end(writer)
    assert store.written == list(range(300))


async def test_what_redis_does_not_take_and_what_finds_no_room_is_lost_without_a_wait() -> None:
    store = FakeStore()
    writer = TraceWriter(store)
    for seq in range(5_000):
        writer.put(part(seq))
    store.refusals = 1
    await run_to_the_end(writer)
    assert 0 < len(store.written) < 5_000
    assert store.written == sorted(store.written)
    assert 0 not in store.written
    writer.put(part(1))


async def test_a_refusal_that_does_not_pass_costs_the_traces_and_not_the_writer() -> None:
    store = FakeStore()
    store.refusals, store.error = 1, SaccadeError("WRONGTYPE of a key that somebody else wrote")
    writer = TraceWriter(store)
    for seq in range(300):
        writer.put(part(seq))
    await run_to_the_end(writer)
    assert store.written[-1] == 299
    assert 0 not in store.written
