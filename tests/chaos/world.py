"""What chaos breaks: one cluster of brokers, sites with a Redis, edges and a producer each, and servers.

    producer ─► frames.SITE ─► edges ─► relays (counted) ─► offload.SITE ─► servers ─► relay ─► the site's Redis
               └────────────────── one cluster, three brokers ──────────────────┘

Everything that leaves a site passes a relay of its own. All runs on loopback and ends with this process.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from devstack.kafka_broker import ClusterNode, ExtraListener, KafkaBroker, new_cluster_id
from devstack.link.relay import Relay, relay_to
from devstack.locks import Locks
from devstack.redis_server import RedisServer
from devstack.settings import Settings, load_settings
from runtime.connections import KafkaSettings
from runtime.kafka_admin import create_topics, pipeline_topics
from tests.pipeline.processes import ForkedWorker, scenes, toml_of

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
"""What steps the clock of a process that is not ours to change; Debian's package libfaketime."""
BUDGET_BYTES_PER_S = 20_000
CAMERAS_A_SITE = 2
SMALL_DISK_MB = 256


@dataclass(frozen=True)
class Scale:
    """How much of everything there is."""

    brokers: int = 3
    sites: tuple[str, ...] = ("north", "south")
    edges_a_site: int = 2
    servers: int = 2
    fps: float = 2.0
    is_budgeted: bool = True
    """Without a budget every frame is offloaded."""
    has_small_disks: bool = True
    direct: tuple[str, ...] = ()
    """Sites that nothing strikes and that pass no relay: whoever strikes the others keeps the relays busy too."""


class SmallDisk:
    """A folder on a disk of its own that can be filled; unless `is_wanted` and this user may mount, an ordinary one."""

    def __init__(self, folder: Path, is_wanted: bool) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m", "saccade-chaos", str(folder)]
        self.is_small = (
            is_wanted
            and os.getuid() == 0
            and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        )
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Not a byte is free."""
        with suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))

    def free(self) -> None:
        """There is room again."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """The disk is gone with what it held."""
        if self.is_small:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)


@dataclass
class Place:
    """One site. `uplinks` are its ways to the brokers, one each, `downlink` the servers' way to its Redis."""

    name: str
    redis: RedisServer
    redis_folder: Path
    clock_file: Path
    uplinks: list[Relay]
    downlink: Relay
    settings: Settings
    edges: list[ForkedWorker]
    producer: ForkedWorker

    @property
    def cameras(self) -> list[str]:
        """The ids of its cameras."""
        return [f"{self.name}/cam{number}" for number in range(CAMERAS_A_SITE)]

    def uplink_bytes(self) -> float:
        """What has left the site so far."""
        return sum(relay.wire_bytes() for relay in self.uplinks)


@dataclass
class World:
    """All that runs."""

    folder: Path
    brokers: list[KafkaBroker]
    broker_folders: list[Path]
    disks: dict[str, SmallDisk]
    places: dict[str, Place]
    servers: list[ForkedWorker]

    @property
    def kafka(self) -> KafkaSettings:
        """All brokers, by the listener that passes no relay."""
        return KafkaSettings(bootstrap_servers=",".join(each.bootstrap_servers for each in self.brokers))

    @property
    def workers(self) -> dict[str, ForkedWorker]:
        """Every process of the product, by role, site and number."""
        found = {f"server {number}": worker for number, worker in enumerate(self.servers)}
        for name, place in self.places.items():
            found |= {f"edge {name} {number}": worker for number, worker in enumerate(place.edges)}
            found[f"producer {name}"] = place.producer
        return found

    def clock_of(self, name: str) -> Path:
        """The file that steps the clock of one of `workers`."""
        return (self.folder / name.replace(" ", "-")).with_suffix(".clock")

    async def restart_broker_with_an_empty_disk(self, index: int) -> None:
        """In place of a broker that is dead there is a new one, which has lost everything."""
        for each in self.broker_folders[index].iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        await self.brokers[index].start()


def redis_environment(clock_file: Path) -> dict[str, str]:
    """Variables under which a process's UTC time can be stepped by a file, and nothing else of its time."""
    if FAKETIME is None:
        return {}
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock_file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@asynccontextmanager
async def world_of(folder: Path, model: Path, scale: Scale) -> AsyncIterator[World]:
    """Everything runs and has its topics; nothing of it is left afterwards."""
    async with AsyncExitStack() as stack:
        locks = Locks()
        stack.callback(locks.release)
        disks = {
            name: SmallDisk(folder / f"disk-{name}", scale.has_small_disks) for name in ("broker", "redis")
        }
        for disk in disks.values():
            stack.callback(disk.close)
        brokers, uplinks, folders = await _brokers(folder, locks, scale, disks, stack)
        servers_of_kafka = ",".join(each.bootstrap_servers for each in brokers)
        shared = {
            "kafka": {"bootstrap_servers": servers_of_kafka},
            "topics": {"partitions": 4, "replication_factor": scale.brokers},
        }
        places = {}
        for name in scale.sites:
            redis_folder = (
                disks["redis"].folder / "data" if name == scale.sites[-1] else folder / f"redis-{name}"
            )
            places[name] = await _place(
                folder, name, redis_folder, uplinks[name], locks, shared, model, scale, stack
            )
        servers = _servers(folder, locks, shared, places, model, scale)
        world = World(folder, brokers, folders, disks, places, servers)
        stack.push_async_callback(_killed, world)
        async with asyncio.TaskGroup() as group:
            for broker in brokers:
                group.create_task(broker.start())
            for place in places.values():
                group.create_task(place.redis.start())
        for place in places.values():
            await create_topics(
                world.kafka, pipeline_topics(place.settings), replication_factor=scale.brokers
            )
        async with asyncio.TaskGroup() as group:
            for worker in world.workers.values():
                group.create_task(worker.start())
        yield world


async def _brokers(
    folder: Path, locks: Locks, scale: Scale, disks: dict[str, SmallDisk], stack: AsyncExitStack
) -> tuple[list[KafkaBroker], dict[str, list[Relay]], list[Path]]:
    """The brokers, not started; each site's relays to them; the folders of their data."""
    numbers = range(1, scale.brokers + 1)
    controllers = {number: locks.take_port() for number in numbers}
    cluster_id = new_cluster_id()
    ports: dict[tuple[int, str], int] = {}
    uplinks: dict[str, list[Relay]] = {site: [] for site in scale.sites}
    brokers, folders = [], []
    for number in numbers:
        listeners = []
        for site in scale.sites:
            relay = await stack.enter_async_context(relay_to(partial(_listener_of, ports, (number, site))))
            uplinks[site].append(relay)
            host, port = relay.address.split(":")
            listeners.append(ExtraListener(host, int(port)))
        data = (
            disks["broker"].folder / "data"
            if number == scale.brokers > 1  # without another one, what is full is lost
            else folder / f"kafka-{number}" / "data"
        )
        node = ClusterNode(number, controllers, cluster_id) if scale.brokers > 1 else None
        broker = KafkaBroker(folder / f"kafka-{number}", data, locks, extra_listeners=listeners, node=node)
        ports |= dict(zip(((number, site) for site in scale.sites), broker.extra_ports, strict=True))
        brokers.append(broker)
        folders.append(data)
    return brokers, uplinks, folders


def _listener_of(ports: dict[tuple[int, str], int], key: tuple[int, str]) -> tuple[str, int]:
    return "127.0.0.1", ports[key]


async def _place(
    folder: Path,
    name: str,
    redis_folder: Path,
    uplinks: list[Relay],
    locks: Locks,
    shared: dict[str, Any],
    model: Path,
    scale: Scale,
    stack: AsyncExitStack,
) -> Place:
    clock_file = folder / f"redis-{name}.clock"
    clock_file.write_text("+0")
    redis = RedisServer(
        folder / f"log-{name}", redis_folder, locks, is_open=True, environment=redis_environment(clock_file)
    )
    downlink = await stack.enter_async_context(relay_to(lambda: ("127.0.0.1", redis.port)))
    tree = {
        **shared,
        "site": name,
        "offload_kafka": shared["kafka"]
        if name in scale.direct
        else {"bootstrap_servers": ",".join(relay.address for relay in uplinks)},
        "topics": {**shared["topics"], "frames": f"frames.{name}"},
        "redis": {"url": redis.url},
        "producer": {"state_dir": str(folder / f"state-{name}")},
        "edge": {"model": str(model), "threads": 1, "dtype": "float32", "group_id": f"edges.{name}"},
    }
    if scale.is_budgeted:
        tree["budget"] = {"rate": f"{8 * BUDGET_BYTES_PER_S // 1000}kbit"}
    else:
        tree["edge"]["tau"] = 0.0
    config = folder / f"{name}.toml"
    config.write_text(toml_of(tree))
    cameras = [
        part
        for number in range(CAMERAS_A_SITE)
        for part in ("--camera", f"cam{number}={scenes(number + CAMERAS_A_SITE * scale.sites.index(name))}")
    ]
    edges = [
        _worker(folder, locks, f"edge {name} {number}", config, "edge")
        for number in range(scale.edges_a_site)
    ]
    producer = _worker(
        folder, locks, f"producer {name}", config, "produce", "--fps", str(scale.fps), *cameras
    )
    settings = load_settings(None, tree, environ={})
    return Place(name, redis, redis_folder, clock_file, uplinks, downlink, settings, edges, producer)


def _servers(
    folder: Path, locks: Locks, shared: dict[str, Any], places: dict[str, Place], model: Path, scale: Scale
) -> list[ForkedWorker]:
    urls = {
        name: place.redis.url if name in scale.direct else f"redis://{place.downlink.address}/0"
        for name, place in places.items()
    }
    tree = {
        **shared,
        "redis": {"url": urls[scale.sites[0]]},
        "server": {
            "model": str(model),
            "threads": 1,
            "dtype": "float32",
            "redis_by_site": json.dumps(urls),
        },
    }
    config = folder / "servers.toml"
    config.write_text(toml_of(tree))
    return [_worker(folder, locks, f"server {number}", config, "serve") for number in range(scale.servers)]


def _worker(folder: Path, locks: Locks, name: str, config: Path, *arguments: str) -> ForkedWorker:
    path = folder / name.replace(" ", "-")
    clock_file = path.with_suffix(".clock")
    clock_file.write_text("0")
    command = [*arguments, "--config", str(config)]
    return ForkedWorker(command, clock_file, path.with_suffix(".log"), locks.take_port())


async def _killed(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        for worker in world.workers.values():
            group.create_task(worker.kill())
    async with asyncio.TaskGroup() as group:
        for broker in world.brokers:
            group.create_task(broker.kill())
        for place in world.places.values():
            group.create_task(place.redis.kill())


async def stopped_for(pids: Sequence[int], seconds: float) -> None:
    """The processes stood still for so long."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
