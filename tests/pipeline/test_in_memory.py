"""Whole edge and server workers on topics and a store in memory: order, back-pressure, drain, cancel, sites."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devstack.in_memory import FrameId, MemorySite
from devstack.selftest import rendered_frames, selftest
from devstack.settings import Settings, load_settings
from edge_workers.worker import run_edge
from imaging.decode import decode_image
from runtime.codec_threads import CodecThreads
from schemas.frame import Frame
from schemas.label import AnswerSource, Label, LabelState
from schemas.offload import Offload, bitmap_of, encode_offload
from vit.backends import EdgeOutput
from vit.preprocess import Pixels

TIMEOUT_S = 60.0


@pytest.fixture(scope="session")
def frames() -> list[Frame]:
    """Twelve frames each of three cameras, in turn."""
    return rendered_frames(num_cameras=3, frames_a_camera=12)


@pytest.fixture(scope="session")
def tau(tiny_model: Path, frames: list[Frame]) -> float:
    """The min-entropy that the tiny model exceeds on half of these frames."""
    from edge_workers.engine import EdgeEngine
    from edge_workers.settings import EdgeSettings
    from gating.entropy import min_entropy_bits
    from vit.preprocess import resize_crop

    engine = EdgeEngine(EdgeSettings(model=str(tiny_model), threads=1, dtype="float32"))
    crops = [resize_crop(decode_image(each.image, each.encoding, 10**6)) for each in frames]
    logits = np.concatenate([engine.classify(crop[None]).logits for crop in crops])
    return float(np.median(min_entropy_bits(logits)))


@pytest.fixture
def settings(tiny_model: Path, tau: float) -> Settings:
    return memory_settings(tiny_model, tau)


def memory_settings(model: Path, tau: float, site: str = "", **edge: Any) -> Settings:
    sections = {"model": str(model), "threads": 1, "dtype": "float32"}
    times = {"tau": tau, "max_latency_ms": 600_000, "max_frame_age_s": 600, "batch_frames": 4}
    return load_settings(None, {"site": site, "edge": {**sections, **times, **edge}, "server": sections}, {})


async def stories(site: MemorySite) -> dict[FrameId, list[Label]]:
    found: dict[FrameId, list[Label]] = defaultdict(list)
    for camera in await site.store.cameras():
        async for label in site.store.history(camera):
            found[label.camera, label.seq].append(label)
    return found


def committed(site: MemorySite, group_id: str) -> int:
    return sum(site.broker.committed[group_id].values())


async def check_promises(site: MemorySite) -> None:
    """Every frame has its last word, offloaded ones the server's; no final label changed; all is committed."""
    labels = await site.settled(TIMEOUT_S)
    for frame, story in (await stories(site)).items():
        states = [label.state for label in story]
        assert states in ([LabelState.FINAL], [LabelState.PROVISIONAL, LabelState.FINAL]), frame
        assert (story[-1].source is AnswerSource.SERVER) == (len(story) == 2)
        assert story[-1] == labels[frame]


async def test_every_frame_gets_its_final_label_and_everything_is_committed(
    settings: Settings, frames: list[Frame]
) -> None:
    site = MemorySite(settings)
    async with site.running():
        site.put(frames)
        await check_promises(site)
    assert committed(site, settings.edge.group_id) == len(frames)
    assert 0 < committed(site, settings.server.group_id) == site.num_offloads() < len(frames)
    assert site.refusals() == {}


async def test_the_frames_of_a_camera_are_answered_in_their_order(
    settings: Settings, frames: list[Frame]
) -> None:
    site = MemorySite(settings)
    site.put(frames)
    async with site.running():
        await site.settled(TIMEOUT_S)
    for camera in await site.store.cameras():
        firsts = list(dict.fromkeys([label.seq async for label in site.store.history(camera)]))
        assert firsts == sorted(firsts)


async def test_while_the_store_is_away_reading_stops_and_nothing_is_lost(
    tiny_model: Path, tau: float, frames: list[Frame]
) -> None:
    settings = memory_settings(tiny_model, tau, batch_frames=1, max_waiting_frames=4)
    site = MemorySite(settings)
    site.put(frames[:3])
    async with site.running():
        await site.settled(TIMEOUT_S)
        site.store.away = True
        # A worker holds what it has read; as records are polled by 64, more than that must come to see it rest.
        many = [replace(frame, seq=frame.seq + 100 * (turn + 1)) for turn in range(3) for frame in frames]
        site.put(many)
        lag = await lag_at_rest(site)
        assert lag > 0
        site.store.away = False
        await check_promises(site)
    assert committed(site, settings.edge.group_id) == 3 + len(many)


async def lag_at_rest(site: MemorySite) -> int:
    """Records that wait in the topic once the worker takes no more."""
    (member,) = site.broker.group(site.settings.edge.group_id).members
    async with asyncio.timeout(TIMEOUT_S):
        while not member.is_paused:  # noqa: ASYNC110 - a worker tells nobody when it rests
            await asyncio.sleep(0.01)
    return await member.lag()


async def test_what_a_stopped_worker_had_not_begun_is_done_by_the_next_and_nothing_twice(
    settings: Settings, frames: list[Frame]
) -> None:
    site = MemorySite(settings)
    site.put(frames)
    async with site.server():
        async with site.edge() as stop:
            first = await site.store.watch()
            await anext(first)
            await first.aclose()
            stop.set()
        done = committed(site, settings.edge.group_id)
        labelled = len(await site.labels())
        assert done == labelled
        assert done > 0
        async with site.edge():
            await check_promises(site)
    assert committed(site, settings.edge.group_id) == len(frames)
    assert committed(site, settings.server.group_id) == site.num_offloads()


async def test_a_cancelled_worker_loses_no_frame(settings: Settings, frames: list[Frame]) -> None:
    site = MemorySite(settings)
    async with site.server():
        working = asyncio.create_task(run_edge(site.settings, asyncio.Event(), site.edge_ports))
        first = await site.store.watch()
        site.put(frames)
        await anext(first)
        await first.aclose()
        working.cancel()
        await asyncio.wait([working])
        assert working.cancelled()
        assert site.broker.group(settings.edge.group_id).members == []
        async with site.edge():
            await check_promises(site)
    assert committed(site, settings.edge.group_id) == len(frames)


async def test_members_that_come_and_go_share_the_frames(settings: Settings, frames: list[Frame]) -> None:
    site = MemorySite(settings)
    async with site.running(edges=1, servers=2):
        site.put(frames[:12])
        async with site.edge():
            site.put(frames[12:24])
            await site.settled(TIMEOUT_S)
        site.put(frames[24:])
        await check_promises(site)
    assert committed(site, settings.edge.group_id) == len(frames)


async def test_a_broker_that_goes_away_is_waited_for(settings: Settings, frames: list[Frame]) -> None:
    site = MemorySite(settings)
    async with site.running():
        site.put(frames[:9])
        await site.settled(TIMEOUT_S)
        site.broker.away = True
        site.put(frames[9:])
        await asyncio.sleep(0)
        site.broker.away = False
        await check_promises(site)


async def test_a_site_speaks_for_itself_only(tiny_model: Path, tau: float, frames: list[Frame]) -> None:
    site = MemorySite(memory_settings(tiny_model, tau, site="north"))
    own = [replace(frame, site="north", camera=f"north/{frame.camera}") for frame in frames[:9]]
    foreign = replace(frames[0], site="south", camera="south/cam0")
    record = Offload("south/cam0", 1, 0, 0, bitmap_of(np.arange(3)), "raw", 0, b"", ((0, 0.5),), "00000000")
    async with site.running():
        site.put([*own, foreign])
        site.frames.discard((foreign.camera, foreign.seq))
        site.broker.append(site.settings.offload_topic, 0, encode_offload(record))
        await check_promises(site)
    assert site.refusals() == {"foreign_site": 2}
    assert await site.store.cameras() == sorted({frame.camera for frame in own})


async def test_a_picture_whose_decoder_hangs_costs_itself_alone(
    settings: Settings, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    hanging = frames[4]

    def decode(image: bytes, *arguments: Any, **options: Any) -> Any:
        if image == hanging.image:
            never.wait()
        return decode_image(image, *arguments, **options)

    monkeypatch.setattr("edge_workers.prepare.decode_image", decode)
    monkeypatch.setattr("edge_workers.worker.CodecThreads", partial(CodecThreads, limit_s=1.0))
    site = MemorySite(settings)
    async with site.running():
        site.put(frames)
        labels = await site.settled(TIMEOUT_S)
    never.set()
    refused = {frame for frame, label in labels.items() if label.state is LabelState.UNDECODABLE}
    assert refused == {(hanging.camera, hanging.seq)}
    assert site.refusals() == {"too_slow": 1}
    assert committed(site, settings.edge.group_id) == len(frames)


async def test_the_self_test_counts_what_it_sees(settings: Settings) -> None:
    counts = await selftest(settings, num_cameras=2, frames_a_camera=6)
    assert counts["frames"] == counts["labels"] == counts["edge"] + counts["server"] == 12
    assert counts["server"] == counts["offloads"] > 0


async def test_a_standing_camera_costs_one_pass_a_second_and_a_change_is_seen_at_once(
    tiny_model: Path, tau: float, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every frame has its label, unsure ones the server's; a replay changes no label and asks nothing anew."""
    from edge_workers.engine import EdgeEngine
    from edge_workers.settings import EdgeSettings

    classified: list[int] = []
    make = EdgeEngine.__init__

    def make_counting(self: EdgeEngine, settings: EdgeSettings) -> None:
        make(self, settings)
        classify = self.classify

        def counted(crops: Pixels) -> EdgeOutput:
            classified.append(len(crops))
            return classify(crops)

        self.classify = counted

    monkeypatch.setattr(EdgeEngine, "__init__", make_counting)
    first, second, *_ = [frame for frame in frames if frame.camera == frames[0].camera]
    start_ns = first.captured_ns
    shown = [
        replace(first if seq < 12 else second, seq=seq, captured_ns=start_ns + seq * 200_000_000)
        for seq in range(20)
    ]
    settings = memory_settings(tiny_model, tau, stillness="on")
    site = MemorySite(settings)
    async with site.running():
        site.put(shown)
        await check_promises(site)
        labels = await site.labels()
        assert sum(classified) == 5
        offloads = site.num_offloads()
        site.put([*shown, replace(second, seq=20, captured_ns=start_ns + 4_000_000_000)])
        after = await site.settled(TIMEOUT_S)
        del after[first.camera, 20]
        assert after == labels
        assert site.num_offloads() <= offloads + 1
    told = await stories(site)
    same_as = [told[first.camera, seq][0].same_as for seq in range(20)]
    assert same_as == [-1, 0, 0, 0, 0, -1, 5, 5, 5, 5, -1, 10, -1, 12, 12, 12, 12, -1, 17, 17]


async def test_a_standing_cameras_frames_are_labelled_whoever_has_its_partition(
    tiny_model: Path, tau: float, frames: list[Frame]
) -> None:
    shown = [
        replace(frames[0], seq=seq, captured_ns=frames[0].captured_ns + seq * 200_000_000)
        for seq in range(36)
    ]
    site = MemorySite(memory_settings(tiny_model, tau, stillness="on"))
    async with site.running():
        site.put(shown[:12])
        async with site.edge():
            site.put(shown[12:24])
            await site.settled(TIMEOUT_S)
        site.put(shown[24:])
        await check_promises(site)
    assert committed(site, site.settings.edge.group_id) == len(shown)
    for (_, seq), story in (await stories(site)).items():
        assert story[0].same_as == -1 or 0 < seq - story[0].same_as < 5
