from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import simplejpeg

from edge_workers.metrics import FrameMetrics
from edge_workers.offer import Offerer, cheaper, encode
from edge_workers.prepare import prepare
from edge_workers.task import FrameTask
from gating.select import select
from runtime.channel import Channel
from runtime.clock import ManualClock
from runtime.codec_threads import CodecThreads
from runtime.metrics import Metrics
from runtime.site_clock import SiteClock
from schemas.offload import decode_offload, positions_of
from schemas.operating_point import OperatingPoint
from uplink.task import Delivered, DeliveryResult, Dropped, OffloadTask
from vit.codecs import CODECS, decode_patches
from vit.preprocess import resize_crop

S = 1_000_000_000
POINT = OperatingPoint(tau=0.5, delta=0.9, codec="webp", quality=80)

Make = Callable[..., FrameTask]
Offer = Callable[..., Any]


def encoded(task: FrameTask, max_record_bytes: int = 1 << 20) -> FrameTask:
    encode(task, max_record_bytes=max_record_bytes)
    return task


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_the_record_holds_the_selected_patches_and_the_edges_answer(codec: str, asking_task: Make) -> None:
    task = asking_task(7, replace(POINT, codec=codec), site="site", camera="site/c", captured_ns=123)
    data = encoded(task).data
    assert data is not None
    record = decode_offload(data, max_offload_bytes=1 << 20)
    positions = positions_of(record.bitmap)
    assert positions.tolist() == select(task.outputs.attention, task.point).tolist()
    assert decode_patches(codec, record.patches, positions).shape == (task.num_patches, 16, 16, 3)
    assert (record.site, record.camera, record.seq, record.captured_ns) == ("site", "site/c", 7, 123)
    assert (record.leading[0], record.quality) == ((4, 0.4), 80)
    assert 0 <= task.label.deadline_ns - record.deadline_ns < 1_000_000
    assert record.is_of_classes("abcdef01" + "0" * 56)


def test_a_record_above_the_limit_is_encoded_cheaper_until_it_fits(asking_task: Make) -> None:
    free = encoded(asking_task(0, POINT)).data
    assert free is not None
    for limit in (len(free) - 1, len(free) // 4, 1000):
        task = encoded(asking_task(0, POINT), limit)
        assert task.data is not None
        assert len(task.data) <= limit
        assert task.record.quality < 80


def test_a_record_that_nothing_makes_small_enough_has_no_data(asking_task: Make) -> None:
    assert encoded(asking_task(0, POINT), 100).data is None


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_cheaper_points_begin_at_the_point_itself_and_end(codec: str) -> None:
    points = list(cheaper(OperatingPoint(tau=1.0, delta=1.0, codec=codec, quality=100)))
    assert points[0].codec == codec
    assert len(points) < 12
    lossy = [point for point in points if not CODECS[point.codec].lossless]
    assert all(one.quality >= two.quality for one, two in pairwise(lossy))
    assert all(point.tau == 1.0 for point in points)


class FakeUplink:
    """Ends every record as it is told."""

    def __init__(self, result: DeliveryResult | None, max_record_bytes: int | None = None) -> None:
        self.result = result
        self.max_record_bytes = max_record_bytes
        self.offered: list[OffloadTask] = []
        self.futures: list[asyncio.Future[DeliveryResult]] = []

    def enqueue(self, task: OffloadTask) -> asyncio.Future[DeliveryResult]:
        self.offered.append(task)
        future: asyncio.Future[DeliveryResult] = asyncio.get_running_loop().create_future()
        if self.result is not None:
            future.set_result(self.result)
        self.futures.append(future)
        return future


@pytest.fixture
def offer(asking_task: Make) -> Offer:
    """Offers frames of these numbers to the uplink; returns the metrics."""

    async def run(
        uplink: FakeUplink, *seqs: int, repeated: int = -1, still: int = -1, image: bytes = b""
    ) -> Metrics:
        metrics, site_clock = Metrics("test"), SiteClock()
        site_clock.learn(990 * S, 50.0, 50.0)
        tasks = [asking_task(seq, POINT, image=image) for seq in seqs]
        for task in tasks:
            task.repeated = task.frame.seq == repeated
            if task.frame.seq == still:
                task.outputs = tasks[0].outputs
                del task.crop
        channel: Channel[list[FrameTask]] = Channel(4)
        await channel.put(tasks)
        channel.close()
        stand_in: Any = uplink
        with CodecThreads(2) as threads:
            offerer = Offerer(
                stand_in,
                threads,
                site_clock=site_clock,
                max_offload_bytes=200_000,
                prepare=partial(prepare, max_frame_pixels=1 << 20, resize_crop=resize_crop),
                asking=channel,
                unasked=lambda _: None,
                tracer=None,
                metrics=FrameMetrics(metrics, "frames", ManualClock()),
            )
            await offerer.run()
        await asyncio.sleep(0)
        return metrics

    return run


async def test_a_record_is_offered_with_its_uncertainty_and_local_deadline(offer: Offer, ends: Any) -> None:
    uplink = FakeUplink(None)
    await offer(uplink, *range(3))
    assert [decode_offload(task.value, max_offload_bytes=1 << 20).seq for task in uplink.offered] == [0, 1, 2]
    task = uplink.offered[2]
    assert (task.score, task.camera, task.num_bytes) == (1.3, "c", len(task.value))
    assert task.deadline_s == pytest.approx(60.0)
    assert ends.acked == []
    uplink.futures[1].set_result(Delivered(10))
    await asyncio.sleep(0)
    assert ends.acked == [1]


@pytest.mark.parametrize("result", [Delivered(5), Dropped("expired"), Dropped("no_tokens")])
async def test_acknowledged_or_given_up_the_offset_is_finished(
    offer: Offer, ends: Any, result: DeliveryResult
) -> None:
    metrics = await offer(FakeUplink(result), 7)
    assert (ends.acked, ends.released) == ([7], [])
    assert metrics.registry.get_sample_value("saccade_patches_kept_count") == 1


async def test_what_a_stop_kept_from_being_sent_is_left_to_be_read_again(offer: Offer, ends: Any) -> None:
    await offer(FakeUplink(Dropped("stopped")), 7)
    assert (ends.acked, ends.released) == ([], [7])


async def test_a_record_that_no_encoding_makes_small_enough_is_given_up_without_an_offer(
    offer: Offer, ends: Any
) -> None:
    uplink = FakeUplink(Delivered(1), max_record_bytes=50)
    await offer(uplink, 7)
    assert (uplink.offered, ends.acked) == ([], [7])


async def test_a_still_frame_that_asks_is_decoded_first(offer: Offer) -> None:
    image = bytes(simplejpeg.encode_jpeg(np.full((300, 300, 3), 77, np.uint8), colorspace="RGB"))
    uplink = FakeUplink(Delivered(1))
    await offer(uplink, 4, 5, still=5, image=image)
    record = decode_offload(uplink.offered[1].value, max_offload_bytes=1 << 20)
    patches = decode_patches(record.codec, record.patches, positions_of(record.bitmap))
    assert (record.seq, round(float(patches.mean()))) == (5, 77)


async def test_a_still_frame_that_does_not_decode_when_it_asks_keeps_its_label(
    offer: Offer, ends: Any
) -> None:
    uplink = FakeUplink(Delivered(1))
    await offer(uplink, 4, 5, still=5, image=b"junk")
    assert (len(uplink.offered), sorted(ends.acked)) == (1, [4, 5])


async def test_repeated_bytes_are_told(offer: Offer) -> None:
    metrics = await offer(FakeUplink(Delivered(123)), 1, 2, repeated=2)
    assert metrics.registry.get_sample_value("saccade_offload_repeated_bytes_total") == 123
