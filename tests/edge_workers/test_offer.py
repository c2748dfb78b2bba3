import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from edge_workers.encode import Unsure
from edge_workers.incoming import Incoming
from edge_workers.offer import Offerer
from edge_workers.tally import EdgeTally
from runtime.channel import Channel
from runtime.intake import Delivery
from runtime.kafka import Record
from runtime.metrics import Metrics
from runtime.site_clock import SiteClock
from schemas.frame import Frame
from schemas.operating_point import OperatingPoint
from schemas.topics import offload_partition
from uplink.shell import GivenUp, Outcome, Pending, Sent

S = 1_000_000_000


class FakeUplink:
    """Ends every record as it is told."""

    def __init__(self, outcome: Outcome | None, max_record_bytes: int | None = None) -> None:
        self.outcome = outcome
        self.max_record_bytes = max_record_bytes
        self.offered: list[Pending] = []
        self.futures: list[asyncio.Future[Outcome]] = []

    def offer(self, pending: Pending) -> asyncio.Future[Outcome]:
        self.offered.append(pending)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self.outcome is not None:
            future.set_result(self.outcome)
        self.futures.append(future)
        return future


class Ends:
    """Notes what becomes of each offset."""

    def __init__(self) -> None:
        self.acked: list[int] = []
        self.released: list[int] = []

    def settle(self, record: Record, is_done: bool) -> None:
        (self.acked if is_done else self.released).append(record.offset)


def unsure(seq: int, ends: Ends, *, repeated: bool) -> Unsure:
    frame = Frame("", "c", seq, 0, 300, 300, "jpeg", b"")
    delivery = Delivery(Record("frames", 0, seq, 0, None, b""), ends.settle)
    return Unsure(
        incoming=Incoming(frame, delivery, 0.0),
        crop=np.zeros((224, 224, 3), np.uint8),
        attention=np.full(196, 1 / 196, np.float32),
        label=0,
        confidence=0.3,
        min_entropy=1.7,
        deadline_ns=1000 * S,
        point=OperatingPoint(tau=0.5, delta=0.5),
        repeated=repeated,
    )


async def offer(uplink: FakeUplink, *seqs: int, repeated: int = -1) -> tuple[Ends, Metrics]:
    ends, metrics, site_clock = Ends(), Metrics("test"), SiteClock()
    site_clock.learn(990 * S, 50.0, 50.0)
    channel: Channel[list[Unsure]] = Channel(4)
    await channel.put([unsure(seq, ends, repeated=seq == repeated) for seq in seqs])
    channel.close()
    stand_ins: Any = (uplink,)
    with ThreadPoolExecutor(2) as threads:
        offerer = Offerer(
            *stand_ins,
            threads,
            2,
            site_clock=site_clock,
            tally=EdgeTally(metrics, "frames"),
            classes_hash="hash",
            max_offload_bytes=200_000,
            num_partitions=48,
            unsure=channel,
        )
        await offerer.run()
    await asyncio.sleep(0)
    return ends, metrics


async def test_a_record_is_offered_with_its_partition_uncertainty_and_local_deadline() -> None:
    uplink = FakeUplink(None)
    ends, _ = await offer(uplink, *range(3))
    assert [pending.record.seq for pending in uplink.offered] == [0, 1, 2]
    pending = uplink.offered[2]
    assert pending.partition == offload_partition("c", 2, 48)
    assert (pending.min_entropy, pending.camera) == (1.7, "c")
    assert pending.deadline_monotonic_s == pytest.approx(60.0)
    assert ends.acked == []
    uplink.futures[1].set_result(Sent(10))
    await asyncio.sleep(0)
    assert ends.acked == [1]


@pytest.mark.parametrize("outcome", [Sent(5), GivenUp("expired"), GivenUp("no_tokens")])
async def test_acknowledged_or_given_up_the_offset_is_finished(outcome: Outcome) -> None:
    ends, metrics = await offer(FakeUplink(outcome), 7)
    assert (ends.acked, ends.released) == ([7], [])
    assert metrics.registry.get_sample_value("saccade_patches_kept_count") == 1


async def test_what_a_stop_kept_from_being_sent_is_left_to_be_read_again() -> None:
    ends, _ = await offer(FakeUplink(GivenUp("stopped")), 7)
    assert (ends.acked, ends.released) == ([], [7])


async def test_a_record_that_no_encoding_makes_small_enough_is_given_up_without_an_offer() -> None:
    uplink = FakeUplink(Sent(1), max_record_bytes=50)
    ends, _ = await offer(uplink, 7)
    assert (uplink.offered, ends.acked) == ([], [7])


async def test_repeated_bytes_are_told() -> None:
    _, metrics = await offer(FakeUplink(Sent(123)), 1, 2, repeated=2)
    assert metrics.registry.get_sample_value("saccade_offload_repeated_bytes_total") == 123
