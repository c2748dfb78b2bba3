"""The right to number a camera's frames: one live producer, and no number used twice.

Three things guard it. A lock on the state file keeps out a second process of this machine, a lease in Redis
one of another machine, and the first number lies above every number that file, Redis or Kafka know of (a
whole block above, where another producer may have reserved numbers that neither has seen yet). While Redis is
away nobody new can take the camera, so its holder goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Final, ParamSpec, Protocol, Self, TypeVar

from producers.sequence import Sequence, SequenceFile, producer_id
from producers.trouble import Trouble
from runtime.clock import Clock
from runtime.log import get_logger
from schemas.errors import LeaseError, TransientError
from schemas.redis_keys import CAMERA_LEASE_TTL_S

_log = get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DISK_RETRY_S: Final = 1.0
RENEW_INTERVAL_S: Final = CAMERA_LEASE_TTL_S / 3
TAKE_OVER_WAIT_S: Final = CAMERA_LEASE_TTL_S + 2.0
"""A killed producer leaves its lease behind: a successor with another state folder waits until it must have
run out. With the same folder it has the same name and goes on at once; the file's lock keeps them apart."""

MAX_KNOWN_SEQ: Final = 2**62
"""The highest number of Redis or Kafka above which a camera's numbering continues; higher ones are ignored.

No camera ever counts so far: a higher number comes from a bug or a stranger. It is half of the range because
continuing must stay possible: above a record with the last number of all there is none left, which would end the
camera for good; above this one half of the range is.
"""


class CameraStore(Protocol):
    """The part of `runtime.stores.SiteStores` that ownership needs; all raise `TransientError`."""

    async def hold_camera(self, camera: str, owner: str) -> bool:
        """Take or renew the camera's lease; False while another owner holds it."""

    async def release_camera(self, camera: str, owner: str) -> None:
        """Give the lease back if `owner` holds it."""

    async def newest_seq(self, camera: str) -> int | None:
        """The highest number that Redis knows of the camera."""

    async def time_ns(self) -> int:
        """The server's clock; asked for a sign of life."""


class CameraOwnership:
    """Holds one camera between `async with`; gives its sequence numbers. Used by that camera's tasks only."""

    def __init__(
        self,
        camera: str,
        *,
        state_dir: Path,
        block: int,
        store: CameraStore,
        newest_in_kafka: Callable[[str], Awaitable[int | None]],
        clock: Clock,
        renew_interval_s: float = RENEW_INTERVAL_S,
        take_over_wait_s: float,
        tell: Callable[[Trouble, str], None] | None = None,
    ) -> None:
        self._camera = camera
        self._owner = ""
        self._state_dir = state_dir
        self._block = block
        self._store = store
        self._newest_in_kafka = newest_in_kafka
        self._clock = clock
        self._renew_interval_s = renew_interval_s
        self._take_over_wait_s = take_over_wait_s
        self._tell = tell
        self._file: SequenceFile | None = None
        self._bound = 0
        """Below it, by this machine's file, all numbers may be used."""
        self._sequence: Sequence | None = None
        self._held_s = 0.0

    async def __aenter__(self) -> Self:
        """The camera is ours.

        Waits for as long as Redis does not answer or the disk is full.

        Raises:
            LeaseError: another live producer publishes it.
            SettingsError: the state file cannot be read or written.
        """
        self._file = await self._with_disk(SequenceFile, self._state_dir, self._camera)
        try:
            self._owner = await self._with_disk(producer_id, self._state_dir)
            bound = await asyncio.to_thread(self._file.bound)
            self._bound = bound or 0
            await self._take_lease()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._store.release_camera(self._camera, self._owner)
        except TransientError as away:
            _log.info("lease left to run out", camera=self._camera, why=str(away))
        finally:
            # Last: a successor with this state folder has our name in Redis and may not come before.
            if self._file is not None:
                self._file.close()

    async def next(self) -> int:
        """Return a number above all before it and all that were used; its block is on disk.

        The first one waits for as long as Redis or Kafka do not tell which was the newest.

        Raises:
            LeaseError: this process stood still for so long that another producer has taken the camera.
            SettingsError: the disk refuses a new block for good; a full disk is waited for.
        """
        assert self._file is not None
        if self._sequence is None:
            self._sequence = Sequence(await self._known_first(), block=self._block)
        if self._clock.monotonic_s() - self._held_s > CAMERA_LEASE_TTL_S:
            await self._renew()
        bound = self._sequence.wanted_bound
        if bound is not None:
            await self._with_disk(self._file.reserve, bound)
            self._sequence.reserved(bound)
        return self._sequence.next()

    async def keep(self) -> None:
        """Renew the lease for ever.

        Raises:
            LeaseError: another producer has taken the camera (after Redis lost the lease).
        """
        while True:
            await asyncio.sleep(self._renew_interval_s)
            await self._renew()

    async def _renew(self) -> None:
        asked_s = self._clock.monotonic_s()
        try:
            held = await self._store.hold_camera(self._camera, self._owner)
        except TransientError as away:
            _log.warning("lease not renewed", camera=self._camera, why=str(away))
        else:
            if not held:
                raise LeaseError(f"camera {self._camera}: another producer has taken it over")
        # While Redis is away nobody can take over, and asking for every number would only hold frames up.
        self._held_s = asked_s

    async def _take_lease(self) -> None:
        refused_since_s: float | None = None
        told = False
        while True:
            asked_s = self._clock.monotonic_s()
            try:
                if await self._store.hold_camera(self._camera, self._owner):
                    self._held_s = asked_s
                    return
                why = "another producer holds it, perhaps a dead one"
                refused_since_s = asked_s if refused_since_s is None else refused_since_s
                if asked_s - refused_since_s >= self._take_over_wait_s:
                    raise LeaseError(f"camera {self._camera}: another live producer publishes it")
            except TransientError as away:
                # Without Redis nobody can know whether the camera is free.
                why, refused_since_s = str(away), None
            if not told:
                _log.warning("waiting for the camera", camera=self._camera, why=why)
                told = True
            await asyncio.sleep(min(1.0, self._renew_interval_s))

    async def _known_first(self) -> int:
        """Return the first number, as soon as Redis and Kafka tell what was used."""
        told = False
        while True:
            try:
                return await self._first_number()
            except TransientError as away:
                if not told:
                    _log.warning("waiting for the first number", camera=self._camera, why=str(away))
                    told = True
            await asyncio.sleep(min(1.0, self._renew_interval_s))

    async def _first_number(self) -> int:
        """Return a number above all that file, Redis and Kafka know of.

        Each of them alone can be behind. Another machine may have published the camera since the file was written;
        its frames have no label in Redis while the edge is down; and it had reserved up to a block more than Kafka
        holds. Redis and Kafka are not believed above `MAX_KNOWN_SEQ`; the file, which only we write, is.
        """
        in_redis = await self._store.newest_seq(self._camera)
        in_kafka = await self._newest_in_kafka(self._camera)
        known = [n for n in (in_redis, in_kafka) if n is not None]
        if (highest := max(known, default=0)) > MAX_KNOWN_SEQ:
            warn_of_ignored(self._camera, highest)
        above = [n + 1 + self._block for n in known if self._bound <= n <= MAX_KNOWN_SEQ]
        return max([self._bound, *above])

    async def _with_disk(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the blocking action on the state folder does, again and again while the disk is full."""
        told = False
        while True:
            try:
                return await asyncio.to_thread(action, *args, **kwargs)
            except TransientError as full:
                if not told:
                    _log.warning("waiting for the disk", camera=self._camera, why=str(full))
                    if self._tell is not None:
                        self._tell(Trouble.DISK_FULL, str(full))
                    told = True
            await asyncio.sleep(DISK_RETRY_S)


def warn_of_ignored(camera: str, seq: int) -> None:
    """Log that the camera does not continue above `seq`, which is higher than `MAX_KNOWN_SEQ`."""
    _log.warning("number ignored", camera=camera, seq=seq, highest_believed=MAX_KNOWN_SEQ)
