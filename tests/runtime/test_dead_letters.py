import asyncio

import pytest

from runtime.dead_letters import DeadLetters
from runtime.intake import Delivery
from runtime.kafka import Record, RecordRefused
from schemas.dead_letter import dead_letter_from_headers
from schemas.errors import SaccadeError, TransientError

RECORD = Record("frames", 3, 17, 0, b"camera", b"payload")


class FakeSink:
    """Acknowledges at once, or fails as often as it is told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.sent: list[tuple[str, bytes, list[tuple[str, bytes]]]] = []

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[object]:
        delivery: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.sent.append((topic, value, headers or []))
        if self.failures:
            delivery.set_exception(self.failures.pop(0))
        else:
            delivery.set_result(None)
        return delivery


async def written(sink: FakeSink, number: int = 1) -> list[int]:
    letters, done = DeadLetters(sink), []
    for index in range(number):
        delivery = Delivery(RECORD, lambda _, is_done, index=index: done.append(index if is_done else -1))
        await letters.put(delivery, "version", "v is 9")
    letters.close()
    await letters.run()
    return done


async def test_a_letter_holds_the_value_the_reason_and_the_origin_and_frees_its_offset_after() -> None:
    sink = FakeSink()
    assert await written(sink, 3) == [0, 1, 2]
    topic, value, headers = sink.sent[0]
    letter = dead_letter_from_headers(headers)
    assert (topic, value) == ("frames.dead", b"payload")
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == ("version", "frames", 3, 17)
    assert not letter.stub


async def test_where_the_payload_is_refused_a_stub_without_it_is_written() -> None:
    sink = FakeSink(RecordRefused("too large"))
    assert await written(sink) == [0]
    _, value, headers = sink.sent[1]
    assert value == b""
    assert dead_letter_from_headers(headers).stub


async def test_where_not_even_a_stub_is_taken_the_worker_fails_and_the_offset_stays() -> None:
    with pytest.raises(SaccadeError, match="gone"):
        await written(FakeSink(RecordRefused("too large"), TransientError("gone")))
