import asyncio
from functools import partial

import pytest

from runtime.dead_letters import DeadLetters
from runtime.intake import Delivery
from runtime.kafka_connection import Record, RecordRefused
from schemas.dead_letter import dead_letter_from_headers, replay_headers
from schemas.errors import TransientError

RECORD = Record("frames", 3, 17, 0, b"camera", b"payload")


class FakeSink:
    """Acknowledges at once, or fails as often as it is told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.sent: list[tuple[str, bytes, list[tuple[str, bytes]]]] = []
        self.keys: list[bytes | None] = []

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
        self.keys.append(key)
        if self.failures:
            delivery.set_exception(self.failures.pop(0))
        else:
            delivery.set_result(None)
        return delivery


async def written(sink: FakeSink, number: int = 1, record: Record = RECORD) -> list[int]:
    letters = DeadLetters(sink)
    done: list[int] = []

    def end(index: int, _: Record, is_done: bool) -> None:
        done.append(index if is_done else -1)

    for index in range(number):
        delivery = Delivery(record, partial(end, index))
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


async def test_a_letter_that_nobody_takes_holds_back_its_offset_for_a_while_only() -> None:
    class Silent(FakeSink):
        async def send(self, *_: object, **__: object) -> asyncio.Future[object]:
            return asyncio.get_running_loop().create_future()

    class Full(FakeSink):
        async def send(self, *_: object, **__: object) -> asyncio.Future[object]:
            await asyncio.Event().wait()
            raise AssertionError

    done: list[bool] = []
    for sink in (Silent(), Full()):
        letters = DeadLetters(sink, write_patience_s=0.05)
        for _ in range(3):
            await letters.put(Delivery(RECORD, lambda _, is_done: done.append(is_done)), "version", "v is 9")
        letters.close()
        async with asyncio.timeout(10.0):
            await letters.run()
    assert done == 6 * [True]


async def test_a_stub_is_small_whatever_the_record_was() -> None:
    sink = FakeSink(RecordRefused("too large"))
    huge = Record("frames", 3, 17, 0, b"k" * 5_000_000, b"payload", (("h", b"x" * 100_000),))
    assert await written(sink, record=huge) == [0]
    _, value, headers = sink.sent[1]
    assert (value, sink.keys) == (b"", [huge.key, None])
    assert sum(len(name) + len(text) for name, text in headers) < 2_000


async def test_where_not_even_a_stub_is_taken_the_record_ends_as_a_line_in_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sink = FakeSink(RecordRefused("too large"), RecordRefused("its time is wrong"))
    assert await written(sink) == [0]
    assert "leaves no dead letter" in capsys.readouterr().out


async def test_a_sink_that_is_closed_leaves_the_record_to_come_again() -> None:
    with pytest.raises(TransientError, match="closed"):
        await written(FakeSink(TransientError("closed")))


async def test_what_no_client_can_parse_is_a_stub_that_says_why() -> None:
    sink = FakeSink()
    stands = Record("frames", 3, 17, 0, None, b"", (), "zstd: more than 1000 bytes")
    assert await written(sink, record=stands) == [0]
    letter = dead_letter_from_headers(sink.sent[0][2])
    assert (letter.reason, letter.error, letter.stub) == ("unreadable", "zstd: more than 1000 bytes", True)


async def test_a_record_that_was_sent_again_says_how_often() -> None:
    sink = FakeSink()
    again = Record("frames", 3, 40, 0, b"camera", b"payload", tuple(replay_headers(1)))
    await written(sink, record=again)
    assert dead_letter_from_headers(sink.sent[0][2]).replays == 2


async def test_letters_that_cannot_be_written_for_long_hold_nobody_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    letters, done = DeadLetters(FakeSink(), patience_s=0.01), []
    for index in range(300):
        await letters.put(Delivery(RECORD, lambda *_, index=index: done.append(index)), "version", "v is 9")
    assert done == list(range(256, 300))
    assert capsys.readouterr().out.count("leaves no dead letter") == 44
    letters.close()
    await letters.run()
    assert len(done) == 300
