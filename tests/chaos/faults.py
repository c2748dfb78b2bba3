"""What is done to the pipeline. Each fault returns when its cause is over; a seed decides where it strikes."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import redis.asyncio
import zstandard
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from runtime.kafka_admin import create_topics, pipeline_topics
from schemas.bitmap import bitmap_of
from schemas.errors import TransientError
from schemas.frame import Frame, encode_frame
from schemas.offload import Offload, encode_offload
from schemas.rates import constant
from tests.chaos.auditor import Auditor
from tests.chaos.world import BUDGET_BYTES_PER_S, FAKETIME, Place, World, stopped_for

STEPS_S: Final = (-2.0, 10.0, -7200.0, 7200.0, 5_000_000.0)
"""By so much a clock is wrong: a little, two hours, two months."""
TOPIC, LITERAL, WRITE, DENY = 2, 3, 4, 2
"""Kafka's own numbers for an ACL."""
FORGED_SEQ = 10**9


@dataclass(frozen=True)
class Struck:
    """What a fault has struck. A fault that goes on after it has returned, or whose end is no matter, has `since_s`."""

    site: str | None = None
    since_s: float | None = None


@dataclass
class Faults:
    """Every fault by its name. `rng` decides which site, process or broker it is; each takes some `outage_s`.

    `sites` are those that may be struck, by default all.
    """

    world: World
    auditor: Auditor
    rng: random.Random
    outage_s: float = 3.0
    sites: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    _num_forged: int = 0

    def named(self) -> dict[str, Callable[[], Awaitable[Struck]]]:
        """Those that this machine allows; the others are `left_out`, with the reason."""
        faults: dict[str, Callable[[], Awaitable[Struck]]] = {
            "edge killed": partial(self._killed, "edge"),
            "server killed": partial(self._killed, "server"),
            "producer killed": partial(self._killed, "producer"),
            "edge stood still": partial(self._stood_still, "edge"),
            "server stood still": partial(self._stood_still, "server"),
            "clock of an edge stepped": partial(self._clock, "edge"),
            "clock of a server stepped": partial(self._clock, "server"),
            "clock of a producer stepped": partial(self._clock, "producer"),
            "broker killed": self._broker_killed,
            "broker stopped in order": self._broker_stopped,
            "broker stood still": self._broker_stood_still,
            "redis killed": self._redis_killed,
            "redis out of memory": partial(self._redis_config, "maxmemory", "1", "0"),
            "redis read only": self._redis_replica,
            "redis password changed": self._redis_password,
            "redis rights taken": self._redis_rights,
            "redis misconf": self._redis_misconf,
            "redis busy": self._redis_busy,
            "redis failed over with lost writes": self._redis_lost_writes,
            "uplink silent": partial(self._uplink, "silent"),
            "uplink slow": partial(self._uplink, "slow"),
            "uplink long and lossy": partial(self._uplink, "lossy"),
            "uplink reset": partial(self._uplink, "reset"),
            "site cut off": self._site_cut_off,
            "right to write taken": self._right_taken,
            "offload made anew": self._offload_anew,
            "partitions added": self._partitions_added,
            "poison": self._poison,
            "a stranger's records": self._stranger,
            "rebalances": self._rebalances,
        }
        if len(self.world.brokers) > 1:
            faults["broker lost with its disk"] = self._broker_lost
        if self.world.disks["redis"].is_small:
            faults["disk of redis full"] = self._redis_disk_full
            faults["disk of a broker full"] = self._broker_disk_full
        else:
            self.left_out["disks full"] = "this user may not mount a small disk"
        if FAKETIME is not None:
            faults["clock of redis stepped"] = self._redis_clock
        else:
            self.left_out["clock of redis stepped"] = "libfaketime is missing"
        return faults

    def _any_place(self) -> Place:
        return self.rng.choice([self.world.places[each] for each in self.sites or self.world.places])

    def _any_worker(self, role: str) -> str:
        return self.rng.choice([name for name in self.world.workers if name.startswith(role)])

    def _site_of(self, worker: str) -> str | None:
        """A server serves all sites."""
        return worker.split()[1] if not worker.startswith("server") else None

    async def _killed(self, role: str) -> Struck:
        name = self._any_worker(role)
        await self.world.workers[name].kill()
        await self.world.workers[name].start()
        return Struck(self._site_of(name))

    async def _stood_still(self, role: str) -> Struck:
        name = self._any_worker(role)
        await stopped_for([self.world.workers[name].pid], 3 * self.outage_s)
        return Struck(self._site_of(name))

    async def _clock(self, role: str) -> Struck:
        name = self._any_worker(role)
        clock = self.world.clock_of(name)
        clock.write_text(str(self.rng.choice(STEPS_S)))
        await asyncio.sleep(2 * self.outage_s)
        clock.write_text("0")
        return Struck(self._site_of(name))

    async def _broker_killed(self) -> Struck:
        broker = self.rng.choice(self.world.brokers)
        await broker.kill()
        await broker.start()
        return Struck()

    async def _broker_stopped(self) -> Struck:
        """Its partitions get other leaders, and have it again some seconds after it is back."""
        broker = self.rng.choice(self.world.brokers)
        await broker.stop()
        await broker.start()
        return Struck()

    async def _broker_stood_still(self) -> Struck:
        await stopped_for([self.rng.choice(self.world.brokers).pid], 2 * self.outage_s)
        return Struck()

    async def _broker_lost(self) -> Struck:
        """For good; only then another one comes in its place, which has nothing."""
        index = self.rng.randrange(len(self.world.brokers))
        since_s = time.time()
        await self.world.brokers[index].kill()
        for place in self.world.places.values():
            await self.auditor.recovery_s(place, since_s, 60.0)
        await self.world.restart_broker_with_an_empty_disk(index)
        return Struck(since_s=since_s)

    async def _broker_disk_full(self) -> Struck:
        disk, broker = self.world.disks["broker"], self.world.brokers[-1]
        disk.fill()
        await asyncio.sleep(2 * self.outage_s)
        disk.free()
        await broker.kill()  # it has ended by itself where it met the end of its disk
        await broker.start()
        return Struck()

    async def _redis_killed(self) -> Struck:
        place = self._any_place()
        await place.redis.kill()
        await place.redis.start()
        return Struck(place.name)

    async def _redis_disk_full(self) -> Struck:
        disk, place = self.world.disks["redis"], list(self.world.places.values())[-1]
        disk.fill()
        await asyncio.sleep(self.outage_s)
        disk.free()
        await place.redis.kill()  # with appendfsync always it has ended by itself
        await place.redis.start()
        return Struck(place.name)

    async def _redis_config(self, key: str, bad: str, good: str) -> Struck:
        place = self._any_place()
        async with client_of(place) as client:
            await client.config_set(key, bad)
            await asyncio.sleep(self.outage_s)
            await client.config_set(key, good)
        return Struck(place.name)

    async def _redis_misconf(self) -> Struck:
        """A snapshot that cannot be written makes Redis refuse every write."""
        place = self._any_place()
        snapshot = place.redis_folder / "dump.rdb"
        snapshot.unlink(missing_ok=True)
        snapshot.mkdir()  # a folder in the file's place
        async with client_of(place) as client:
            await client.config_set("save", "3600 1")  # who takes none is not told of one that failed
            await client.bgsave()
            await self._until_snapshot(client, "err")
            await asyncio.sleep(self.outage_s)
            snapshot.rmdir()
            await client.bgsave()
            await self._until_snapshot(client, "ok")
            await client.config_set("save", "")
        return Struck(place.name)

    async def _until_snapshot(self, client: Any, status: str) -> None:
        while (await client.info("persistence"))["rdb_last_bgsave_status"] != status:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)

    async def _redis_password(self) -> Struck:
        place = self._any_place()
        async with client_of(place) as client:
            await client.config_set("requirepass", "other")
            await client.execute_command("AUTH", "other")
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(self.outage_s)
            await client.config_set("requirepass", "")
        return Struck(place.name)

    async def _redis_rights(self) -> Struck:
        place = self._any_place()
        async with client_of(place) as client:
            await client.execute_command("ACL", "SETUSER", "default", "-@write")
            await asyncio.sleep(self.outage_s)
            await client.execute_command("ACL", "SETUSER", "default", "+@all")
        return Struck(place.name)

    async def _redis_replica(self) -> Struck:
        place = self._any_place()
        async with client_of(place) as client:
            await client.execute_command("REPLICAOF", "127.0.0.1", "1")
            await asyncio.sleep(self.outage_s)
            await client.execute_command("REPLICAOF", "NO", "ONE")
        return Struck(place.name)

    async def _redis_busy(self) -> Struck:
        place = self._any_place()
        busy = "local n = 0 while n < 60000000 do n = n + 1 end"
        async with client_of(place) as client:
            began_s = time.monotonic()
            while time.monotonic() - began_s < self.outage_s:
                await client.eval(busy, 0)
        return Struck(place.name)

    async def _redis_lost_writes(self) -> Struck:
        """As after a failover to a replica that was a second behind: the end of the file is gone."""
        place = self._any_place()
        path = place.redis_folder / "appendonly.aof"
        num_bytes, since_s = path.stat().st_size, time.time()
        await asyncio.sleep(1.0)
        await place.redis.kill()
        os.truncate(path, num_bytes)
        self.auditor.excuse(place, since_s - 1.0)
        await place.redis.start()
        self.auditor.read_again(place)
        return Struck(place.name)

    async def _redis_clock(self) -> Struck:
        place = self._any_place()
        place.clock_file.write_text(f"{self.rng.choice(STEPS_S):+.0f}")
        await asyncio.sleep(2 * self.outage_s)
        self.auditor.read_again(place)
        place.clock_file.write_text("+0")
        await asyncio.sleep(1.5)  # until it has looked at the file again
        self.auditor.read_again(place)
        return Struck(place.name)

    async def _uplink(self, how: str) -> Struck:
        place = self._any_place()
        for relay in place.uplinks:
            if how == "silent":
                relay.follow(constant(0.0))
            elif how == "slow":
                relay.follow(constant(BUDGET_BYTES_PER_S / 10))
            elif how == "lossy":
                # One packet in ten is lost and sent again after a time-out; the others take 100 ms.
                relay.held_up_s = lambda: 0.4 if self.rng.random() < 0.1 else 0.1
            else:
                relay.reset()
        if how != "reset":
            await asyncio.sleep(3 * self.outage_s)
        for relay in place.uplinks:
            relay.follow(None)
            relay.held_up_s = lambda: 0.0
        return Struck(place.name)

    async def _site_cut_off(self) -> Struck:
        """Nothing passes between the site and the data centre, in neither direction."""
        place = self._any_place()
        for relay in (*place.uplinks, place.downlink):
            relay.follow(constant(0.0))
        await asyncio.sleep(4 * self.outage_s)
        for relay in (*place.uplinks, place.downlink):
            relay.follow(None)
        return Struck(place.name)

    async def _right_taken(self) -> Struck:
        place = self._any_place()
        topic = self.rng.choice([place.settings.topics.frames, place.settings.offload_topic])
        rule = (TOPIC, topic, LITERAL, "User:ANONYMOUS", "*", WRITE, DENY)
        async with self._admin() as admin:
            await admin._client.send(admin._client.get_random_node(), CreateAclsRequest(*rule))
            await asyncio.sleep(2 * self.outage_s)
            await admin._client.send(admin._client.get_random_node(), DeleteAclsRequest(*rule))
        return Struck(place.name)

    async def _offload_anew(self) -> Struck:
        place = self._any_place()
        async with self._admin() as admin:
            await admin.delete_topics([place.settings.offload_topic])
        await asyncio.sleep(self.outage_s)
        spec = pipeline_topics(place.settings)[2]
        while True:
            try:
                factor = len(self.world.brokers)
                if spec.name in await create_topics(self.world.kafka, [spec], replication_factor=factor):
                    return Struck(place.name)
            except TransientError:
                pass
            await asyncio.sleep(0.1)  # the deletion still goes on

    async def _partitions_added(self) -> Struck:
        place = self._any_place()
        name = self.rng.choice([place.settings.topics.frames, place.settings.offload_topic])
        async with self._admin() as admin:
            (topic,) = await admin.describe_topics([name])
            await admin.create_partitions({name: NewPartitions(len(topic["partitions"]) + 1)})
        return Struck(place.name)

    async def _poison(self) -> Struck:
        """Bytes that are no record, an empty one, a bomb; in both topics."""
        place = self._any_place()
        for topic in (place.settings.topics.frames, place.settings.offload_topic):
            await self._send(topic, b"\xff" * 100)
            await self._send(topic, zstandard.compress(b""))
            # In a thread, as relays and auditor run in this one: a bomb takes its time to be made.
            await asyncio.to_thread(asyncio.run, self._send(topic, bytes(32 << 20), "gzip"))
        return Struck(place.name)

    async def _stranger(self) -> Struck:
        """Records in a site's topics that speak for a camera of another site."""
        place = self._any_place()
        other = self.rng.choice([each for each in self.world.places.values() if each is not place] or [place])
        camera = other.cameras[0] if other is not place else "elsewhere/cam0"
        self._num_forged += 1
        seq = FORGED_SEQ + self._num_forged
        frame = Frame(camera.split("/")[0], camera, seq, 1, 8, 8, "jpeg", b"\xff\xd8", live=False)
        await self._send(place.settings.topics.frames, encode_frame(frame))
        record = Offload(
            camera, seq, 1, 0, bitmap_of(np.arange(1)), "raw", 0, bytes(768), ((0, 0.5),), "00000000"
        )
        await self._send(place.settings.offload_topic, encode_offload(record))
        return Struck(place.name)

    async def _send(self, topic: str, value: bytes, codec: str | None = None) -> None:
        servers = self.world.kafka.bootstrap_servers.split(",")
        async with AIOKafkaProducer(
            bootstrap_servers=servers, acks="all", compression_type=codec, max_request_size=64 << 20
        ) as producer:
            await producer.send_and_wait(topic, value, partition=self.rng.randrange(4))
            self.auditor.num_poison += 1

    async def _rebalances(self) -> Struck:
        """A member that does nothing comes and goes, three times in a row."""
        place = self._any_place()
        for _ in range(3):
            consumer = AIOKafkaConsumer(
                place.settings.topics.frames,
                bootstrap_servers=self.world.kafka.bootstrap_servers.split(","),
                group_id=place.settings.edge.group_id,
                enable_auto_commit=False,
                partition_assignment_strategy=[StickyPartitionAssignor],
                session_timeout_ms=6_000,
            )
            await consumer.start()
            await asyncio.sleep(0.5)
            await consumer.stop()
        return Struck(place.name)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.world.kafka.bootstrap_servers.split(","))
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def client_of(place: Place) -> AsyncIterator[Any]:
    """A client of a site's Redis that may do everything; one connection, so that it stays logged in."""
    client: Any
    async with redis.asyncio.Redis(
        port=place.redis.port, single_connection_client=True, decode_responses=True, socket_timeout=20.0
    ) as client:
        yield client
