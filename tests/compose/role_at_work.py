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
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

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
    from producers.publish import Publisher
    from producers.settings import ProducerProgramSettings
    from producers.worker import ProducerPorts, ProducerWorker
    from runtime.clock import SystemClock
    from runtime.health import REDIS_ANSWERS, Health
    from runtime.memory_kafka import MemoryBroker, MemorySink
    from runtime.memory_store import MemoryStore
    from runtime.metrics import Metrics
    from saccade.settings import load_settings

    async def flushed(_: float) -> bool:
        return True

    async def nothing(_: str) -> None:
        return None

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        for name in ("a.jpg", "b.png"):
            Image.new("RGB", (64, 48), (200, 90, 30)).save(Path(folder) / name)
        producer = {"state_dir": folder, "fps": 0}
        settings = load_settings(ProducerProgramSettings, None, {"producer": producer}, {})
        broker, clock = MemoryBroker(), SystemClock()
        ports = ProducerPorts(
            publisher=Publisher(MemorySink(broker), topic="frames", num_partitions=broker.num_partitions),
            flush=flushed,
            in_flight_bytes=lambda: 0,
            store=MemoryStore(settings.redis),
            newest_in_kafka=nothing,
            pool=pool,
            metrics=Metrics("producer"),
            health=Health(clock, 30, [REDIS_ANSWERS]),
            clock=clock,
        )
        cameras = [
            CameraSpec.parse("rendered=scenes:9000011", limit=FRAMES),
            CameraSpec.parse(f"images={folder}"),
        ]
        await ProducerWorker(settings.site, settings.producer, cameras, ports).run(asyncio.Event())
    num_records = len(broker.records("frames"))
    assert num_records == FRAMES + 2, num_records


async def show(_: str) -> None:
    """The page's own files are there."""
    from page.app import STATIC

    assert (Path(STATIC) / "index.html").is_file()


WORK: dict[str, tuple[tuple[str, ...], Callable[[str], Coroutine[None, None, None]]]] = {
    "producer": (("producers", "imaging", "lab.scenes"), publish),
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
