"""All that a site remembers, within one process: the twin of `runtime.redis_store` for tests and the self-test."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Generic, TypeVar

from runtime.connections import RedisSettings
from runtime.stores import Spent, TableChange
from runtime.traces import TracePart, readable_trace
from runtime.waiting import set_within
from schemas import redis_keys
from schemas.answer import ServerAnswer
from schemas.camera_state import CameraState
from schemas.deployment import Deployment, WorkerModels
from schemas.errors import TransientError
from schemas.label import Label
from schemas.server_report import ServerReport
from schemas.trace import Trace
from schemas.win_rule import PutResult, judge

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")

_NS_PER_S = 1_000_000_000


class _Expiring(Generic[K, V]):
    """Values that are gone after their time to live, in the order in which they were set."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._held: dict[K, tuple[V, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """The live value, None without one."""
        value, until_ns = self._held.get(key, (None, 0))
        return value if until_ns > self._now_ns() else None

    def set(self, key: K, value: V, ttl_s: float) -> None:
        """The value lives for so long; the oldest ones that are gone make room."""
        self._held.pop(key, None)
        now_ns = self._now_ns()
        while self._held and next(iter(self._held.values()))[1] <= now_ns:
            del self._held[next(iter(self._held))]
        self._held[key] = (value, now_ns + round(ttl_s * _NS_PER_S))

    def drop(self, key: K) -> None:
        """The value is gone."""
        self._held.pop(key, None)

    def items(self) -> list[tuple[K, V]]:
        """What lives, in the order in which it was set."""
        now_ns = self._now_ns()
        return [(key, value) for key, (value, until_ns) in self._held.items() if until_ns > now_ns]


class MemoryStore:
    """Labels, leases and the board of a site; one event loop only.

    Args:
        settings: how long things live, as for Redis; the connection's part is not used.
        now_ns: the store's clock, UTC.

    While `away`, every method raises `TransientError`.
    """

    def __init__(
        self, settings: RedisSettings | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._settings = settings or RedisSettings()
        self._now_ns = now_ns
        self._began_ns = now_ns()
        self.away = False
        self._labels = _Expiring[tuple[str, int], Label](now_ns)
        self._streams: dict[str, deque[tuple[int, Label]]] = {}
        self._newest = _Expiring[str, Label](now_ns)
        self._num_written = 0
        self._written = asyncio.Event()
        self._traces = _Expiring[tuple[str, int], dict[str, str]](now_ns)
        self._answers: dict[str, deque[tuple[int, ServerAnswer]]] = {}
        self._num_answers = 0
        self._answered = asyncio.Event()
        self._leases = _Expiring[str, str](now_ns)
        self._tables: dict[str, dict[str, str]] = defaultdict(dict)
        self._reports = _Expiring[tuple[str, str], ServerReport](now_ns)
        self._uplinks = _Expiring[tuple[str, str], str](now_ns)
        self._cameras_told = _Expiring[tuple[str, str], CameraState](now_ns)
        self._deployment: Deployment | None = None
        self._models = _Expiring[str, WorkerModels](now_ns)
        self._spent: Counter[tuple[str, int]] = Counter()

    def __repr__(self) -> str:
        return f"<MemoryStore labels={len(self._labels)} written={self._num_written}>"

    async def check_durability(self) -> list[str]:
        """Nothing: what is in memory is known to end with the process."""
        return []

    async def time_ns(self) -> int:
        """The store's clock, ns UTC."""
        self._answer()
        return self._now_ns()

    async def put(self, labels: Sequence[Label]) -> list[PutResult]:
        """Each label was judged by the win rule in turn and, if it won, is there and in its stream."""
        self._answer()
        return [self._put(label) for label in labels]

    async def get(self, camera: str, seq: int) -> Label | None:
        """The label of one frame, None without one."""
        return (await self.get_many([(camera, seq)]))[0]

    async def get_many(self, frames: Sequence[tuple[str, int]]) -> list[Label | None]:
        """The label of each frame (camera, seq), None without one."""
        self._answer()
        return [self._labels.get(frame) for frame in frames]

    async def put_traces(self, parts: Sequence[TracePart]) -> None:
        """Each part stands in its frame's trace, for `TRACE_TTL_S` from the last one."""
        self._answer()
        for each in parts:
            frame = (each.camera, each.seq)
            held = {**(self._traces.get(frame) or {}), each.part: each.text}
            self._traces.set(frame, held, redis_keys.TRACE_TTL_S)

    async def trace(self, camera: str, seq: int) -> Trace:
        """What is kept of one frame's way; parts that are missing or cannot be read are None."""
        self._answer()
        return readable_trace(self._traces.get((camera, seq)) or {})

    async def cameras(self) -> list[str]:
        """The cameras that had a label within `CAMERA_TTL_S`, sorted; the latest `MAX_CAMERAS` of them."""
        self._answer()
        return sorted([camera for camera, _ in self._newest.items()][-redis_keys.MAX_CAMERAS :])

    async def newest_seq(self, camera: str) -> int | None:
        """The highest sequence number that has a label, None for an unknown camera."""
        label = await self.latest(camera)
        return None if label is None else label.seq

    async def latest(self, camera: str) -> Label | None:
        """The label of the camera's newest frame, None for an unknown camera."""
        self._answer()
        return self._newest.get(camera)

    async def history(self, camera: str) -> AsyncIterator[Label]:
        """Every label change that the camera's stream still holds, oldest first."""
        self._answer()
        for _, label in list(self._streams.get(camera, ())):
            yield label

    async def watch(self, camera: str | None = None) -> AsyncGenerator[Label, None]:
        """Every label written after the call, of one camera or all, in order; never ends."""
        self._answer()
        return self._changes(self._num_written, camera)

    async def _changes(self, seen: int, camera: str | None) -> AsyncGenerator[Label, None]:
        while True:
            streams = self._streams.values() if camera is None else [self._streams.get(camera, deque())]
            found = sorted((entry for each in streams for entry in each if entry[0] > seen), key=_number)
            for number, label in found:
                seen = number
                yield label
            if not found:
                written = self._written
                await written.wait()

    async def hold_camera(self, camera: str, owner: str) -> bool:
        """`owner` may number the camera's frames for `CAMERA_LEASE_TTL_S`; False while another may."""
        self._answer()
        if self._leases.get(camera) not in (None, owner):
            return False
        self._leases.set(camera, owner, redis_keys.CAMERA_LEASE_TTL_S)
        return True

    async def release_camera(self, camera: str, owner: str) -> None:
        """The camera is free if `owner` held it."""
        self._answer()
        if self._leases.get(camera) == owner:
            self._leases.drop(camera)

    async def change_uplink_table(self, site: str, change: TableChange[T]) -> T:
        """The site's table of edge workers is what `change` made of it; returns its result."""
        self._answer()
        now_ns = self._now_ns()
        rows, result = change(
            dict(self._tables[site]), now_ns / _NS_PER_S, (now_ns - self._began_ns) / _NS_PER_S
        )
        self._tables[site] = dict(rows)
        return result

    async def publish_reports(self, reports: Sequence[ServerReport]) -> None:
        """Each site reads its report until `SERVER_REPORT_TTL_S` from now or the same server's next one."""
        self._answer()
        for each in reports:
            self._reports.set((each.site, each.server), each, redis_keys.SERVER_REPORT_TTL_S)

    async def read_reports(self, site: str) -> list[ServerReport]:
        """The live servers' latest reports for a site, by name of the server."""
        self._answer()
        return [report for (of, _), report in sorted(self._reports.items()) if of == site]

    async def publish_uplink(self, site: str, worker: str, text: str) -> None:
        """Readers see what this edge worker says of its uplink until `UPLINK_STATE_TTL_S` from now."""
        self._answer()
        self._uplinks.set((site, worker), text, redis_keys.UPLINK_STATE_TTL_S)

    async def read_uplinks(self, site: str) -> dict[str, str]:
        """What each live edge worker of a site last said of its uplink."""
        self._answer()
        return {worker: text for (of, worker), text in sorted(self._uplinks.items()) if of == site}

    async def publish_cameras(self, site: str, states: Sequence[CameraState]) -> None:
        """Readers see how these cameras of a site are until `CAMERA_STATE_TTL_S` from now or the next states."""
        self._answer()
        for state in states:
            self._cameras_told.set((site, state.camera), state, redis_keys.CAMERA_STATE_TTL_S)

    async def read_cameras(self, site: str) -> list[CameraState]:
        """How each camera of a site was when its producer last told, by camera."""
        self._answer()
        return [state for (of, _), state in sorted(self._cameras_told.items()) if of == site]

    async def forget_camera(self, site: str, camera: str) -> None:
        """Nobody is told of the camera any more."""
        self._answer()
        self._cameras_told.drop((site, camera))

    async def add_spent(self, site: str, period_s: float, num_bytes: int) -> Spent:
        """What the site has spent of its volume budget in the present period, `num_bytes` more than before.

        Periods of `period_s` begin at multiples of it since 1970, by the store's clock.
        """
        self._answer()
        at_s = self._now_ns() / _NS_PER_S
        period = int(at_s // period_s)
        self._spent[site, period] += num_bytes
        return Spent(self._spent[site, period], at_s)

    async def deployment(self) -> Deployment | None:
        """What was deployed last; None where nothing was."""
        self._answer()
        return self._deployment

    async def deploy(self, deployment: Deployment) -> None:
        """Every worker reads this deployment from now on."""
        self._answer()
        self._deployment = deployment

    async def publish_models(self, models: WorkerModels) -> None:
        """Readers see what this worker runs until `WORKER_MODELS_TTL_S` from now or its next word."""
        self._answer()
        self._models.set(models.worker, models, redis_keys.WORKER_MODELS_TTL_S)

    async def read_models(self) -> list[WorkerModels]:
        """What each live worker runs, by its name."""
        self._answer()
        return [models for _, models in sorted(self._models.items())]

    async def put_answers(self, site: str, answers: Sequence[ServerAnswer]) -> None:
        """The answers follow the earlier ones; the newest `ANSWERS_MAX_LEN` stay."""
        self._answer()
        kept = self._answers.setdefault(site, deque(maxlen=redis_keys.ANSWERS_MAX_LEN))
        for answer in answers:
            self._num_answers += 1
            kept.append((self._num_answers, answer))
        self._answered.set()

    async def answers_end(self, site: str) -> str:  # noqa: ARG002 - places count all sites
        """The place after the newest answer."""
        self._answer()
        return str(self._num_answers)

    async def answers_after(self, site: str, place: str, wait_s: float) -> tuple[str, list[ServerAnswer]]:
        """The answers after a place, oldest first, and the place after them; waits for the first."""
        found = self._answers_after(site, int(place))
        if not found:
            self._answered.clear()
            await set_within(self._answered, wait_s)
            found = self._answers_after(site, int(place))
        return (str(found[-1][0]) if found else place), [answer for _, answer in found]

    def _answers_after(self, site: str, place: int) -> list[tuple[int, ServerAnswer]]:
        self._answer()
        return [each for each in self._answers.get(site, ()) if each[0] > place]

    def _put(self, label: Label) -> PutResult:
        frame = (label.camera, label.seq)
        grace_ns = self._settings.deadline_grace_ms * 1_000_000
        result = judge(self._labels.get(frame), label, now_ns=self._now_ns(), grace_ns=grace_ns)
        if result is PutResult.WRITTEN:
            self._labels.set(frame, label, self._settings.label_ttl_s)
            self._num_written += 1
            stream = self._streams.setdefault(label.camera, deque(maxlen=self._settings.stream_max_len))
            stream.append((self._num_written, label))
            newest = self._newest.get(label.camera)
            if newest is None or label.seq >= newest.seq:
                newest = label
            self._newest.set(label.camera, newest, redis_keys.CAMERA_TTL_S)
            self._written.set()
            self._written = asyncio.Event()
        return result

    def _answer(self) -> None:
        if self.away:
            raise TransientError("the store in memory is away")


def _number(entry: tuple[int, Label]) -> int:
    return entry[0]
