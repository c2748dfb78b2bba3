"""Looks at the pipeline from outside, by clients of its own, and judges at the end what it saw.

It reads every frame and every label as they come, counts what leaves each site, and weighs each process. Nothing
that the product says of itself is believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import statistics
import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import redis.asyncio
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from devstack.link.judge import judge
from runtime.kafka_admin import read_all
from schemas import redis_keys
from schemas.errors import DecodeError
from schemas.frame import decode_frame
from schemas.identity import site_of
from schemas.label import AnswerSource, Label, LabelState, label_from_fields
from schemas.rates import constant
from schemas.topics import dead_topic
from tests.chaos.world import BUDGET_BYTES_PER_S, Place, World
from uplink.allowance import burst_bytes

FrameId = tuple[str, int]
ALLOWED = (
    [LabelState.FINAL],
    [LabelState.PROVISIONAL],
    [LabelState.PROVISIONAL, LabelState.FINAL],
    [LabelState.DROPPED],
)
RETRY_S = 0.2
SAMPLE_S = 0.1
WEIGH_S = 2.0
DEAD_LETTERS_S = 30.0
SENT_TWICE_S = 1.0
"""A broker that goes has the library send at once, to another one, what was under way: a second of the budget."""
SETTLED_S = 45.0
"""A process younger than this still grows into what it needs."""


class Told(NamedTuple):
    """A label, when the auditor read it, and its place in its stream.

    Places tell the order: after a Redis that lost writes the auditor may come to a later one first.
    """

    at_s: float
    place: tuple[int, int]
    label: Label


@dataclass
class Seen:
    """A frame in its topic, at the broker's time, and what its site's readers were told of it, each once."""

    appended_s: float
    digest: bytes
    told: list[Told] = field(default_factory=list)


@dataclass
class Auditor:
    """Notes until `run` is cancelled. `excused` are frames whose labels a Redis was made to lose."""

    world: World
    frames: dict[FrameId, Seen] = field(default_factory=dict)
    early: dict[FrameId, list[Told]] = field(default_factory=lambda: defaultdict(list))
    excused: set[FrameId] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)
    num_poison: int = 0
    labelled: asyncio.Event = field(default_factory=asyncio.Event)
    left_bytes: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    rss_mb: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    _answered_s: dict[FrameId, float] = field(default_factory=dict)
    """When a Redis took a server's answer, by its own clock: this process may be busy with a fault."""
    _places_read: dict[str, dict[str, str]] = field(default_factory=dict)

    async def run(self) -> None:
        """Follow everything until cancelled."""
        async with asyncio.TaskGroup() as group:
            for place in self.world.places.values():
                group.create_task(self._follow_frames(place))
                group.create_task(self._follow_labels(place))
                group.create_task(self._count(place))
            group.create_task(self._weigh())

    async def _follow_frames(self, place: Place) -> None:
        while True:
            consumer = AIOKafkaConsumer(
                place.settings.topics.frames,
                bootstrap_servers=self.world.kafka.bootstrap_servers.split(","),
                auto_offset_reset="earliest",
                metadata_max_age_ms=5_000,
            )
            try:
                await consumer.start()
                async for record in consumer:
                    self._frame_came(place, record)
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(RETRY_S)  # and from the beginning: what is known already is recognised
            finally:
                await consumer.stop()

    def _frame_came(self, place: Place, record: Any) -> None:
        try:
            frame = decode_frame(record.value, max_frame_bytes=10**7, max_frame_pixels=10**8)
        except DecodeError:
            return
        if frame.camera not in place.cameras:
            return  # a stranger's, put there by a fault
        digest = hashlib.sha256(record.value).digest()
        key = (frame.camera, frame.seq)
        seen = self.frames.setdefault(key, Seen(record.timestamp / 1000, digest))
        if seen.digest != digest:
            self.findings.append(f"{key}: two frames have this number")
        seen.told += self.early.pop(key, [])
        self.labelled.set()

    async def _follow_labels(self, place: Place) -> None:
        client: Any
        task = asyncio.current_task()
        assert task is not None
        # A cancellation that comes just as redis-py sends is lost in it (`runtime.redis_connection` says why).
        while not task.cancelling():
            try:
                async with redis.asyncio.Redis(
                    port=place.redis.port, decode_responses=True, socket_timeout=3.0
                ) as client:
                    while not task.cancelling():
                        await self._read_labels(place, client)
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(RETRY_S)

    async def _read_labels(self, place: Place, client: Any) -> None:
        at = self._places_read.setdefault(place.name, dict.fromkeys(place.cameras, "0-0"))
        streams = {redis_keys.labels(camera): position for camera, position in at.items()}
        for key, entries in await client.xread(streams, count=500, block=500):
            for position, fields in entries:
                label = label_from_fields(fields)
                if label.source is AnswerSource.SERVER:
                    self._answered_s.setdefault((label.camera, label.seq), _place(position)[0] / 1000)
                self._label_came(place, label, position)
                at[key.removeprefix(redis_keys.labels(""))] = position

    def _label_came(self, place: Place, label: Label, position: str) -> None:
        key = (label.camera, label.seq)
        if label.site != place.name:
            self.findings.append(f"{key}: a label of {label.site} in the Redis of {place.name}")
        told = self.frames[key].told if key in self.frames else self.early[key]
        what = (label.state, label.source, label.label)
        if what not in [(each.state, each.source, each.label) for _, _, each in told]:
            told.append(Told(time.time(), _place(position), label))
            self.labelled.set()

    def read_again(self, place: Place) -> None:
        """The label streams are read from their beginning: a Redis that went back in time numbers them anew."""
        self._places_read.pop(place.name, None)

    def excuse(self, place: Place, since_s: float) -> None:
        """The Redis has lost what it was told since then."""
        for key, seen in self.frames.items():
            if key[0] in place.cameras and any(each.at_s >= since_s for each in seen.told):
                self.excused.add(key)

    async def recovery_s(self, place: Place, since_s: float, timeout_s: float) -> float:
        """Seconds from a moment to the first label of a frame that came after it; `timeout_s` when there is none."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self.labelled.clear()
                    found = [
                        seen.told[0].at_s
                        for (camera, _), seen in self.frames.items()
                        if seen.appended_s > since_s and seen.told and camera in place.cameras
                    ]
                    if found:
                        return min(found) - since_s
                    await self.labelled.wait()
        except TimeoutError:
            return timeout_s

    def longest_silence_s(self, place: Place, from_s: float, to_s: float) -> float:
        """The longest time in [from_s, to_s] in which no frame of the site had its first label."""
        told = [
            seen.told[0].at_s
            for (camera, _), seen in self.frames.items()
            if seen.told and camera in place.cameras
        ]
        moments = [from_s, *sorted(at_s for at_s in told if from_s < at_s < to_s), to_s]
        return max(later - sooner for sooner, later in pairwise(moments))

    def server_latencies_s(self, place: Place, from_s: float, to_s: float) -> list[float]:
        """How long frames of the site that came in [from_s, to_s] waited for the server's answer.

        Where no clock is wrong.
        """
        return [
            self._answered_s[key] - seen.appended_s
            for key, seen in self.frames.items()
            if key[0] in place.cameras and from_s <= seen.appended_s <= to_s and key in self._answered_s
        ]

    async def _count(self, place: Place) -> None:
        while True:
            self.left_bytes[place.name].append((time.monotonic(), place.uplink_bytes()))
            await asyncio.sleep(SAMPLE_S)

    async def _weigh(self) -> None:
        born: dict[int, float] = {}
        while True:
            now_s = time.monotonic()
            for name, worker in self.world.workers.items():
                if worker.running and now_s - born.setdefault(worker.pid, now_s) > SETTLED_S:
                    self.rss_mb[name.split()[0]].append((now_s, rss_mb(worker.pid)))
            await asyncio.sleep(WEIGH_S)

    async def settled(self, timeout_s: float) -> None:
        """Every frame that came has been told of, or time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                while any(not seen.told for seen in self.frames.values()):
                    self.labelled.clear()
                    await self.labelled.wait()
        except TimeoutError:
            return

    async def judge(self) -> list[str]:
        """Everything that should not be; also prints what was counted."""
        found = list(self.findings)
        found += [f"{key}: labelled, but no such frame came" for key in self.early]
        silent = [key for key, seen in self.frames.items() if not seen.told and key not in self.excused]
        found += [f"{key}: no state" for key in silent if not self._was_written(key)]
        for key, seen in self.frames.items():
            labels = [each.label for each in sorted(seen.told, key=attrgetter("place"))]
            if labels and [each.state for each in labels] not in ALLOWED and key not in self.excused:
                found.append(
                    f"{key}: {[(each.state.value, each.source.value, each.label) for each in labels]}"
                )
        for place in self.world.places.values():
            found += await self._foreign(place)
            found += self._over_budget(place)
        num_dead = await self._num_dead_in_time()
        if num_dead < self.num_poison:
            found.append(f"{num_dead} dead letters of {self.num_poison} poisoned records")
        self._tell(num_dead)
        return found

    def _was_written(self, key: FrameId) -> bool:
        """True when a Redis had the label in its file: one whose clock is far ahead forgets it before it is read."""
        place = self.world.places[site_of(key[0])]
        written = f"{redis_keys.label(*key)}\r\n".encode()
        return written in (place.redis_folder / "appendonly.aof").read_bytes()

    def _over_budget(self, place: Place) -> list[str]:
        """By how much a window passed the budget, one burst and what is sent twice, and when that was first so."""
        begin_s = self.left_bytes[place.name][0][0]
        samples = [(at_s - begin_s, total) for at_s, total in self.left_bytes[place.name]]
        budget, bursts = (
            constant(BUDGET_BYTES_PER_S),
            [(-math.inf, burst_bytes(BUDGET_BYTES_PER_S) + SENT_TWICE_S * BUDGET_BYTES_PER_S)],
        )
        verdict = judge(samples, budget, bursts)
        beyond = verdict.worst_excess_bytes + SENT_TWICE_S * BUDGET_BYTES_PER_S
        tell(f"{place.name}: the fullest window is {beyond:.0f} B beyond the budget and one burst")
        if not verdict.windows_over_cap:
            return []
        first = bisect_left(
            range(len(samples)), 1, key=lambda end: judge(samples[: end + 1], budget, bursts).windows_over_cap
        )
        over = (
            f"{verdict.worst_excess_bytes:.0f} B beyond what is allowed, first at {samples[first][0]:.0f} s"
        )
        begin = max(0, first - round(20 / SAMPLE_S))
        totals = [total for _, total in samples[begin :: round(1 / SAMPLE_S)]][:30]
        each_second = " ".join(f"{later - sooner:.0f}" for sooner, later in pairwise(totals))
        return [f"{place.name}: {over}; B in each second from 20 s before on: {each_second}"]

    async def _foreign(self, place: Place) -> list[str]:
        """Keys of labels that this site's Redis should not hold."""
        client: Any
        odd = []
        async with redis.asyncio.Redis(port=place.redis.port, decode_responses=True) as client:
            async for key in client.scan_iter("label:*", count=1000):
                camera, _, seq = key.removeprefix("label:").rpartition(":")
                if camera not in place.cameras or (camera, int(seq)) not in self.frames:
                    odd.append(f"{place.name}: {key} in its Redis")
        return odd

    async def _num_dead_in_time(self) -> int:
        """Dead letters, once there are as many as poisoned records or time is up: servers may be behind."""
        deadline_s = time.monotonic() + DEAD_LETTERS_S
        while True:
            found = sum([await self._num_dead(place) for place in self.world.places.values()])
            if found >= self.num_poison or time.monotonic() > deadline_s:
                return found
            await asyncio.sleep(1.0)

    async def _num_dead(self, place: Place) -> int:
        topics = (place.settings.topics.frames, place.settings.offload_topic)
        return sum(
            [len([None async for _ in read_all(self.world.kafka, dead_topic(each))]) for each in topics]
        )

    def _tell(self, num_dead: int) -> None:
        last = [max(seen.told, key=attrgetter("place")).label for seen in self.frames.values() if seen.told]
        sources = {source.value: sum(each.source is source for each in last) for source in AnswerSource}
        states = {state.value: sum(each.state is state for each in last) for state in LabelState}
        tell(
            f"{len(self.frames)} frames, last words {states} by {sources}, {len(self.excused)} lost with a Redis, "
            f"{num_dead} dead letters of {self.num_poison} poisoned records"
        )
        for name, place in self.world.places.items():
            samples = self.left_bytes[name]
            rate = (samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0])
            tell(f"{place.name}: {rate:.0f} B/s left, {BUDGET_BYTES_PER_S} allowed")
        for role, weights in self.rss_mb.items():
            half_s = (weights[0][0] + weights[-1][0]) / 2
            halves = [[mb for at_s, mb in weights if (at_s > half_s) is later] for later in (False, True)]
            if all(halves):
                first, second = map(statistics.median, halves)
                tell(
                    f"{role}: {first:.0f} MB in the first half, {second:.0f} in the second ({second / first - 1:+.1%})"
                )


def _place(position: str) -> tuple[int, int]:
    """The place in a stream that Redis writes as milliseconds-number."""
    milliseconds, _, number = position.partition("-")
    return int(milliseconds), int(number)


def rss_mb(pid: int) -> float:
    """Resident memory of a process; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def tell(line: str) -> None:
    """A line for whoever runs it with -s."""
    print(line, flush=True)  # noqa: T201
