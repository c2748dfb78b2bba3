"""Producers on a real broker and a real Redis."""
# ruff: noqa: ASYNC110 - neither broker nor endpoint tells when it has what a test waits for

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from devstack import EmbeddedStack
from devstack.demo.probe import get
from devstack.demo.processes import free_port as free_port_number
from devstack.link.relay import relay_to
from devstack.settings import Settings, load_settings
from producers.camera import CameraSpec
from producers.camera_stats import ProducerSummary
from producers.run import run_producers
from runtime.kafka_admin import create_topics, read_all
from runtime.kafka_sink import Sink
from runtime.redis_store import RedisStore
from schemas.errors import SettingsError, StackError
from schemas.frame import Frame, decode_frame, encode_frame
from schemas.limits import MAX_SEQ
from schemas.topics import frames_partition, frames_specs

pytestmark = pytest.mark.stack
PARTITIONS = 4


@pytest.fixture
def tree(stack: EmbeddedStack, unique: Callable[[str], str], tmp_path: Path) -> dict[str, Any]:
    """Overrides of the settings for one test: own topic, own site, own state folder."""
    return {
        "site": unique("site"),
        "kafka": {"bootstrap_servers": stack.bootstrap_servers},
        "redis": {"url": stack.redis_url},
        "topics": {"frames": unique("frames"), "partitions": PARTITIONS},
        "producer": {"state_dir": str(tmp_path / "state"), "fps": 0, "sequence_block": 100},
        "metrics": {"port": "off"},
    }


async def made(tree: dict[str, Any], **producer: object) -> Settings:
    """The settings, and their topic exists."""
    settings = load_settings(None, {**tree, "producer": {**tree["producer"], **producer}}, environ={})
    await create_topics(settings.kafka, [spec_of(settings)])
    return settings


def spec_of(settings: Settings) -> Any:
    return frames_specs(
        name=settings.topics.frames,
        partitions=PARTITIONS,
        max_frame_bytes=settings.producer.max_frame_bytes,
        disk_bytes=settings.topics.frames_disk_bytes,
    )[0]


async def frames_of(settings: Settings) -> dict[str, list[Frame]]:
    """Every frame in the topic by camera, in order; each lies in its camera's partition under its key."""
    found: dict[str, list[Frame]] = defaultdict(list)
    async for record in read_all(settings.kafka, settings.topics.frames):
        frame = decode_frame(record.value, max_frame_bytes=10**7, max_frame_pixels=10**8)
        assert record.key == frame.camera.encode()
        assert record.partition == frames_partition(frame.camera, PARTITIONS)
        found[frame.camera].append(frame)
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with ten small photos, the files' names in order."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        suffix = ("jpg", "png")[number % 2]
        Image.new("RGB", (40 + number, 30), (number * 20, 0, 0)).save(folder / f"{number}.{suffix}")
    return folder


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until_published(settings: Settings, camera: str, count: int) -> None:
    """Return once the topic holds that many frames of the camera."""
    while len((await frames_of(settings))[camera]) < count:
        await asyncio.sleep(0.1)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def run(settings: Settings, *cameras: CameraSpec) -> ProducerSummary:
    async with asyncio.timeout(60):
        return await run_producers(settings, cameras, stop=asyncio.Event())


async def test_photos_clips_and_streams_arrive_whole_in_order_and_counted(
    tree: dict[str, Any], photos: Path, make_clip: Any, loopback_camera: Any
) -> None:
    settings = await made(tree, reconnect_min_s=0.05, reconnect_max_s=0.1, open_timeout_s=2, read_timeout_s=1)
    clip = make_clip("a.mp4", num_frames=30, fps=10)
    place, _ = loopback_camera("rtsp", ["play", "hang", "play"], password="hunter2")
    dead, _ = loopback_camera("rtsp", ["silent"])
    gate = CameraSpec.parse(f"gate=rtsp://admin:hunter2@{place}/live", limit=45)
    stop = asyncio.Event()
    cameras = [
        CameraSpec.parse(f"photos={photos}"),
        CameraSpec.parse(f"clip={clip}", fps=5, limit=5),
        gate,
        CameraSpec.parse(f"dead=rtsp://{dead}/live"),
    ]
    running = asyncio.create_task(run_producers(settings, cameras, stop=stop))
    async with asyncio.timeout(60):
        for name, count in (("photos", 10), ("clip", 5), ("gate", 45)):
            await until_published(settings, f"{settings.site}/{name}", count)
        stop.set()
        summary = await running
    found = await frames_of(settings)
    site = settings.site
    assert {camera: len(frames) for camera, frames in found.items()} == {
        f"{site}/photos": 10,
        f"{site}/clip": 5,
        f"{site}/gate": 45,
    }
    for camera, frames in found.items():
        assert [frame.seq for frame in frames] == list(range(len(frames)))
        assert summary.cameras[camera].published == len(frames)
        assert summary.cameras[camera].error == ""
        assert {frame.live for frame in frames} == {camera.endswith("/gate")}
    assert [frame.image for frame in found[f"{site}/photos"]] == [path.read_bytes() for path in files(photos)]
    assert [frame.encoding for frame in found[f"{site}/photos"]] == ["jpeg", "png"] * 5
    levels = [
        Image.open(io.BytesIO(frame.image)).convert("L").getpixel((5, 5)) for frame in found[f"{site}/clip"]
    ]
    assert levels == pytest.approx([0, 16, 32, 48, 64], abs=3)  # 10 frames/s thinned to 5
    assert summary.cameras[f"{site}/gate"].reconnects >= 2
    assert summary.cameras[f"{site}/dead"].published == 0
    assert "hunter2" not in str(summary)


async def test_credentials_are_in_no_log_repr_or_summary(
    tree: dict[str, Any],
    closed_port: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = await made(tree, reconnect_min_s=0.01, reconnect_max_s=0.01)
    camera = CameraSpec.parse(f"gate=rtsp://admin:hunter2@127.0.0.1:{closed_port}/live?token=hunter2")
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, stop.set)
    summary = await run_producers(settings, [camera], stop=stop)
    assert summary.cameras[f"{settings.site}/gate"].reconnects > 0
    written = capfd.readouterr()
    assert "camera lost" in written.out + written.err + caplog.text
    for text in (written.out, written.err, caplog.text, repr(camera), str(camera), str(summary)):
        assert "hunter2" not in text


async def test_numbers_resume_above_the_newest_with_and_without_the_state_file(
    tree: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    settings = await made(tree)
    camera = CameraSpec.parse(f"photos={photos}")
    await run(settings, camera)
    await run(settings, camera)
    await run(await made(tree, state_dir=str(tmp_path / "other machine")), camera)
    seqs = [frame.seq for frame in (await frames_of(settings))[f"{settings.site}/photos"]]
    assert seqs == [*range(10), *range(100, 110), *range(210, 220)]


async def test_a_frame_with_the_last_number_of_all_does_not_end_the_numbering(
    tree: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    settings = await made(tree)
    camera = CameraSpec.parse(f"photos={photos}")
    await run(settings, camera)
    name = f"{settings.site}/photos"
    stray = replace((await frames_of(settings))[name][-1], seq=MAX_SEQ)
    async with Sink(settings.kafka, max_request_bytes=10**5, max_in_flight_bytes=10**6) as sink:
        where = frames_partition(name, PARTITIONS)
        await (
            await sink.send(settings.topics.frames, encode_frame(stray), key=name.encode(), partition=where)
        )
    await run(await made(tree, state_dir=str(tmp_path / "other machine")), camera)
    seqs = [frame.seq for frame in (await frames_of(settings))[name]]
    assert seqs == [*range(10), MAX_SEQ, *range(110, 120)]


KILLED = """
import asyncio, sys
from producers.camera import CameraSpec
from producers.run import run_producers
from devstack.settings import load_settings
import json
settings = load_settings(None, json.loads(sys.argv[1]), environ={})
camera = CameraSpec.parse(sys.argv[2], fps=200, loop=True)
asyncio.run(run_producers(settings, [camera], stop=asyncio.Event()))
"""


async def test_a_producer_killed_again_and_again_never_reuses_a_number(
    tree: dict[str, Any], photos: Path
) -> None:
    settings = await made(tree)
    camera = f"{settings.site}/photos"
    for round_ in range(1, 3):
        arguments = [sys.executable, "-c", KILLED, json.dumps(tree), f"photos={photos}"]
        process = await asyncio.create_subprocess_exec(*arguments)
        try:
            async with asyncio.timeout(60):
                await until_published(settings, camera, 40 * round_)
        finally:
            process.kill()
            await process.wait()
    seqs = [frame.seq for frame in (await frames_of(settings))[camera]]
    assert seqs == sorted(set(seqs))


async def test_a_second_live_producer_of_a_camera_is_refused(
    tree: dict[str, Any], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.worker.TAKE_OVER_WAIT_S", 0.0)
    settings = await made(tree)
    async with RedisStore(settings.redis) as store:
        assert await store.hold_camera(f"{settings.site}/photos", "another machine")
    summary = await run(settings, CameraSpec.parse(f"photos={photos}"))
    assert "another live producer" in summary.errors[f"{settings.site}/photos"]
    assert summary.published == 0


async def test_a_topic_that_is_missing_or_too_small_is_told_at_start(
    tree: dict[str, Any], photos: Path
) -> None:
    camera = CameraSpec.parse(f"photos={photos}")
    settings = load_settings(None, tree, environ={})
    with pytest.raises(StackError, match="saccade topics create"):
        await run(settings, camera)
    small = await made(tree, max_frame_bytes=100_000)
    assert (await run(small, camera)).published == 10
    with pytest.raises(SettingsError, match=r"producer\.max_frame_bytes .* max\.message\.bytes is 101536"):
        await run(settings, camera)


async def test_without_kafka_cameras_are_read_and_drop_by_policy_and_publish_as_soon_as_it_answers(
    tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.kafka_admin.ADMIN_START_TIMEOUT_S", 0.5)
    kafka_port = free_port_number()
    settings = await made(
        {**tree, "metrics": {"port": free_port_number()}}, drop="oldest", queue_frames=2, fps=20
    )
    address = f"127.0.0.1:{kafka_port}"
    away = settings.model_copy(
        update={"kafka": settings.kafka.model_copy(update={"bootstrap_servers": address})}
    )
    stop = asyncio.Event()
    running = asyncio.create_task(
        run_producers(away, [CameraSpec.parse("gate=scenes:2900000021?width=64&height=64")], stop=stop)
    )
    gate = f"{settings.site}/gate"
    async with asyncio.timeout(60), RedisStore(settings.redis) as store:
        while not (states := await store.read_cameras(settings.site)) or not states[0].dropped:
            await asyncio.sleep(0.05)
        assert (states[0].state, states[0].published) == ("online", 0)
        assert settings.metrics.port is not None
        status, told = await get(settings.metrics.port, "/readyz")
        assert status == 503
        assert "kafka_accepts" in told
        assert address in told
        async with relay_to(
            lambda: ("127.0.0.1", int(settings.kafka.bootstrap_servers.split(":")[1])), port=kafka_port
        ):
            await until_published(settings, gate, 5)
            stop.set()
            summary = await running
    seqs = [frame.seq for frame in (await frames_of(settings))[gate]]
    assert seqs == list(range(len(seqs)))
    assert summary.published == len(seqs)


async def test_frames_above_the_limit_are_made_smaller_or_counted(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    noise = Image.frombytes("RGB", (640, 480), os.urandom(640 * 480 * 3))
    noise.save(folder / "a.png")
    settings = await made(tree, max_frame_bytes=100_000)
    summary = await run(settings, CameraSpec.parse(f"large={folder}"))
    assert (summary.published, summary.dropped) == (1, {})
    (frame,) = (await frames_of(settings))[f"{settings.site}/large"]
    assert frame.encoding == "jpeg"
    assert len(frame.image) <= 100_000
    tiny = await made(tree, max_frame_bytes=2_000)
    assert (await run(tiny, CameraSpec.parse(f"large={folder}"))).dropped == {"too_large": 1}


async def http_get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return int(text.split()[1]), text.partition("\r\n\r\n")[2]


async def until_ready(port: int) -> None:
    """Return once /readyz says yes."""
    status = 0
    while status != 200:
        await asyncio.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            status, _ = await http_get(port, "/readyz")


async def test_metrics_health_and_readiness_are_served_while_it_runs(
    tree: dict[str, Any], photos: Path, free_port: int
) -> None:
    tree["metrics"] = {"port": free_port}
    settings = await made(tree)
    stop = asyncio.Event()
    camera = CameraSpec.parse(f"photos={photos}", fps=100, loop=True)
    running = asyncio.create_task(run_producers(settings, [camera], stop=stop))
    async with asyncio.timeout(30):
        await until_ready(free_port)
        assert (await http_get(free_port, "/healthz"))[0] == 200
        name = f'saccade_published_frames_total{{camera="{settings.site}/photos"}}'
        body = ""
        while name not in (body := (await http_get(free_port, "/metrics"))[1]):
            await asyncio.sleep(0.05)
        stop.set()
        summary = await running
    assert f'saccade_camera_connected{{camera="{settings.site}/photos"}} 1.0' in body
    assert summary.published > 0
    assert summary.dropped == {}
