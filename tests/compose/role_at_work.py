"""One role's work in a copy of its image; a process of its own. Prints the names of the modules that it took.

    python -I -S role_at_work.py IMAGE LIBRARIES ROLE LACKING ARGUMENT

IMAGE is the folder with the image's files, LIBRARIES the folder of installed libraries, LACKING the names that cannot
be imported of them, as the image does not install them. ARGUMENT is the role's own.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

FRAMES = 3


class Refusal:
    """A finder that lacks what the image lacks."""

    def __init__(self, lacking: frozenset[str]) -> None:
        self._lacking = lacking

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None, so that the others look for it; `ModuleNotFoundError` for a library that is lacking."""
        del target
        if path is None and name in self._lacking:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)
        return None


def load_all(room: str) -> None:
    """Every module of a room can be imported."""
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(package.__path__, f"{room}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


async def publish(_: str) -> None:
    """A rendered camera and a folder of images are in the frames topic."""
    from PIL import Image

    from producers.camera import CameraSpec
    from producers.publish import FramePublisher
    from producers.settings import ProducerProgramSettings
    from producers.worker import ProducerPorts, ProducerWorker
    from runtime.clock import SystemClock
    from runtime.codec_threads import CodecThreads
    from runtime.health import KAFKA_ACCEPTS, REDIS_ANSWERS, Health
    from runtime.memory_kafka import MemoryBroker, MemorySink
    from runtime.memory_store import MemoryStore
    from runtime.metrics import Metrics
    from saccade.settings import load_settings

    async def flushed(_: float) -> bool:
        return True

    async def nothing(_: str) -> None:
        return None

    with tempfile.TemporaryDirectory() as folder, CodecThreads(1) as threads:
        for name in ("a.jpg", "b.png"):
            Image.new("RGB", (64, 48), (200, 90, 30)).save(Path(folder) / name)
        producer = {"state_dir": folder, "fps": 0}
        settings = load_settings(ProducerProgramSettings, None, {"producer": producer}, {})
        broker, clock = MemoryBroker(), SystemClock()
        ports = ProducerPorts(
            publisher=FramePublisher(MemorySink(broker), topic="frames"),
            flush=flushed,
            in_flight_bytes=lambda: 0,
            trouble=lambda: None,
            store=MemoryStore(settings.redis),
            newest_in_kafka=nothing,
            threads=threads,
            metrics=Metrics("producer"),
            health=Health(clock, 30, [REDIS_ANSWERS, KAFKA_ACCEPTS]),
            clock=clock,
        )
        cameras = [
            CameraSpec.parse("rendered=scenes:9000011", limit=FRAMES),
            CameraSpec.parse(f"images={folder}"),
        ]
        await ProducerWorker(settings.site, settings.producer, cameras, ports).run(asyncio.Event())
    num_records = len(broker.records("frames"))
    assert num_records == FRAMES + 2, num_records


def frame(seq: int) -> Any:
    """A grey JPEG of one camera."""
    import numpy as np
    import simplejpeg

    from schemas.frame import Frame

    image = simplejpeg.encode_jpeg(np.full((48, 64, 3), 40 * seq, np.uint8))
    return Frame("", "camera", seq, time.time_ns(), 64, 48, "jpeg", image, live=False)


async def until_labelled(store: Any, work: Coroutine[None, None, None], stop: asyncio.Event) -> None:
    """The worker has labelled every frame, and has drained."""

    async def watch() -> None:
        seen: set[int] = set()
        async for label in await store.watch():
            seen.add(label.seq)
            if len(seen) == FRAMES:
                stop.set()
                return

    async with asyncio.timeout(60.0), asyncio.TaskGroup() as group:
        group.create_task(watch())
        group.create_task(work)


async def classify(model: str) -> None:
    """Frames are labelled and, as the edge is sure of none, offloaded."""
    from edge_workers.settings import EdgeProgramSettings
    from edge_workers.worker import EdgePorts, run_edge
    from runtime.memory_kafka import MemoryBroker, MemorySink, MemorySource
    from runtime.memory_store import MemoryStore
    from saccade.settings import load_settings
    from schemas.frame import encode_frame

    edge = {"model": model, "threads": 1, "tau": 0, "max_latency_ms": 60_000, "max_frame_age_s": 600}
    settings = load_settings(EdgeProgramSettings, None, {"edge": edge}, {})
    broker, store, stop = MemoryBroker(), MemoryStore(settings.redis), asyncio.Event()
    for seq in range(FRAMES):
        broker.append(settings.topics.frames, 0, encode_frame(frame(seq)))

    async def ports(_: object, stack: AsyncExitStack) -> EdgePorts:
        source = MemorySource(broker, [settings.topics.frames], group_id=settings.edge.group_id)
        letters, offload = [await stack.enter_async_context(MemorySink(broker)) for _ in range(2)]
        return EdgePorts(source, store, letters, offload)

    await until_labelled(store, run_edge(settings, stop, ports), stop)
    num_offloads = len(broker.records(settings.offload_topic))
    assert num_offloads == FRAMES, num_offloads


async def answer(model: str) -> None:
    """Offloaded frames get their labels."""
    import numpy as np

    from runtime.clock import Clock
    from runtime.memory_kafka import MemoryBroker, MemorySink, MemorySource
    from runtime.memory_store import MemoryStore
    from runtime.site_clock import SiteClock
    from saccade.settings import load_settings
    from schemas.offload import Offload, bitmap_of, encode_offload
    from server_workers.settings import ServerProgramSettings
    from server_workers.sites import SiteRedis, Sites
    from server_workers.worker import ServerPorts, run_server
    from vit.classes import classes_hash
    from vit.codecs import encode_patches
    from vit.weights import load_model

    server = {"model": model, "threads": 1}
    settings = load_settings(ServerProgramSettings, None, {"server": server}, {})
    broker, store, stop = MemoryBroker(), MemoryStore(settings.redis), asyncio.Event()
    kept = np.arange(20)
    patches = encode_patches("webp", 75, np.zeros((224, 224, 3), np.uint8), kept)
    identity = classes_hash(load_model(model).classes)
    for seq in range(FRAMES):
        record = Offload(
            "camera", seq, time.time_ns(), 0, bitmap_of(kept), "webp", 75, patches, ((0, 0.5),), identity
        )
        broker.append(settings.offload_topic, 0, encode_offload(record))

    async def ports(_: object, clock: Clock, stack: AsyncExitStack) -> ServerPorts:
        source = MemorySource(broker, [settings.offload_topic], group_id=settings.server.group_id)
        letters = await stack.enter_async_context(MemorySink(broker))
        site_clock, now_s = SiteClock(), clock.monotonic_s()
        site_clock.learn(clock.time_ns(), now_s, now_s)
        return ServerPorts(source, Sites(SiteRedis("default", store, site_clock), {}), letters)

    await until_labelled(store, run_server(settings, stop, ports), stop)


async def show(_: str) -> None:
    """The page's own files are there."""
    from page.app import STATIC

    assert (Path(STATIC) / "index.html").is_file()


WORK: dict[str, tuple[tuple[str, ...], Callable[[str], Coroutine[None, None, None]]]] = {
    "producer": (("producers", "imaging", "lab.scenes"), publish),
    "edge": (("imaging", "gating", "uplink", "edge_workers", "vit.codecs"), classify),
    "server": (("gating", "server_workers", "vit.codecs"), answer),
    "page": (("page",), show),
}
"""Role → the rooms whose modules must all load, and its work."""


def main() -> None:
    """The role has worked; its modules are printed."""
    image, libraries, role, lacking, argument = sys.argv[1:]
    sys.path[:] = [image, *sys.path, libraries]
    sys.meta_path.insert(0, Refusal(frozenset(json.loads(lacking))))
    rooms = {path.name for path in Path(image).iterdir() if path.is_dir()}
    own_rooms, work = WORK[role]
    for room in ("schemas", "runtime", "saccade", *own_rooms):
        load_all(room)
    asyncio.run(work(argument))
    print(json.dumps(sorted(name for name in sys.modules if name.partition(".")[0] in rooms)))  # noqa: T201


if __name__ == "__main__":
    main()
