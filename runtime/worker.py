"""The life of a worker that belongs to a consumer group: connect, join, work, drain, settle, commit, close.

    connect -> join -> read -> stages, one after the other -> settled -> committed -> left
    `- cut short by a stop -'  `------------- drained within the limit -------------'

A role says what it reads and what its stages are (`Stages`); edge and server workers live in the same way. What
is remote may be away at the start: each step is tried again until it answers, and health tells why not yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import stamina

from runtime.dead_letters import DeadLetters
from runtime.health import GROUP_JOINED, Health
from runtime.heartbeat import Heartbeat, Member
from runtime.intake import Intake
from runtime.lifecycle import cut_short_by
from schemas.errors import TransientError

JOIN_TIMEOUT_S = 90.0
"""A member of the group may take a whole rebalance timeout to hand over, and another one to be missed."""
_FINAL_COMMIT_S = 2.0
_WAIT_MIN_S = 0.2
_WAIT_MAX_S = 5.0
T = TypeVar("T")

Work = Coroutine[Any, Any, None]


class GroupMember(Member, Protocol):
    """A source that is in its group while its context lasts; after a failed entry it may be entered again."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Stages(Protocol):
    """A role's work. Each coroutine that it gives is awaited in a task of that name."""

    @property
    def intake(self) -> Intake:
        """What it has taken from its source."""
        ...

    @property
    def letters(self) -> DeadLetters:
        """Where it leaves refused records."""
        ...

    @property
    def heartbeat(self) -> Heartbeat:
        """What tells its progress."""
        ...

    async def read(self) -> None:
        """Takes records until cancelled."""
        ...

    def end(self) -> None:
        """Reading is over, maybe before it began: what waits is released, the stages end one after another."""
        ...

    def stages(self) -> Mapping[str, Work]:
        """What works on records that were read; each ends by itself after `end`."""
        ...

    def beside(self, settled: asyncio.Event) -> Mapping[str, Work]:
        """What goes on beside the stages; each ends by itself once `settled` is set, or what it serves is."""
        ...

    async def settle(self) -> None:
        """What the stages have handed over has ended, or has had its time to."""
        ...


async def answered(
    attempt: Callable[[], Awaitable[T]], *, health: Health, condition: str, timeout_s: float | None = None
) -> T:
    """What `attempt` returned, tried until something remote answers; `health` tells why not yet.

    Args:
        timeout_s: an attempt that takes longer counts as one without an answer.
    """
    async for each in stamina.retry_context(
        on=TransientError, attempts=None, timeout=None, wait_initial=_WAIT_MIN_S, wait_max=_WAIT_MAX_S
    ):
        with each:
            try:
                async with asyncio.timeout(timeout_s) as limit:
                    return await attempt()
            except TransientError as error:
                health.meets(condition, False, str(error))
                raise
            except TimeoutError:
                if not limit.expired():
                    raise
                why = f"no answer within {timeout_s:.0f} s"
                health.meets(condition, False, why)
                raise TransientError(f"{condition}: {why}") from None
    raise AssertionError("an endless retry has ended")


async def run_worker(
    connect: Callable[[AsyncExitStack], Awaitable[tuple[GroupMember, Stages]]],
    stop: asyncio.Event,
    *,
    health: Health,
    commit_interval_s: float,
) -> None:
    """A worker until `stop` is set, and then until what it has begun is finished.

    Args:
        connect: what the worker talks to, entered into the stack; the source, which has not joined, and the
            stages that listen to it. Cancelled when `stop` is set.

    Raises:
        SaccadeError: this process's own settings do not allow to start, or a stage failed.
        StoppedEarly: `stop` was set before the work began.
    """
    async with AsyncExitStack() as stack:
        async with cut_short_by(stop):
            source, work = await connect(stack)
            await answered(
                lambda: stack.enter_async_context(source),
                health=health,
                condition=GROUP_JOINED,
                timeout_s=JOIN_TIMEOUT_S,
            )
        await run_stages(work, stop, health=health, commit_interval_s=commit_interval_s)


async def run_stages(work: Stages, stop: asyncio.Event, *, health: Health, commit_interval_s: float) -> None:
    """Works until `stop` is set, then finishes what has begun; what has not begun is left in Kafka.

    Cancelled, it commits what is finished and leaves the rest to be read again.
    """
    settled = asyncio.Event()
    is_lost = False

    def reading_ended(reading: asyncio.Task[None]) -> None:
        nonlocal is_lost
        # A task group takes a cancelled task for one that it is well with, wherever the cancellation came from.
        is_lost = reading.cancelled() and not stop.is_set()
        work.end()
        stop.set()

    try:
        async with asyncio.TaskGroup() as group:
            for name, task in work.beside(settled).items():
                group.create_task(task, name=name)
            group.create_task(work.letters.run(), name="letters")
            group.create_task(work.intake.commit_until(settled, commit_interval_s), name="commit")
            group.create_task(work.heartbeat.run(settled), name="heartbeat")
            stages = [group.create_task(task, name=name) for name, task in work.stages().items()]
            reading = group.create_task(work.read(), name="read")
            reading.add_done_callback(reading_ended)
            health.running()
            await stop.wait()
            if is_lost:
                raise RuntimeError("the reader was cancelled, and nobody had asked the worker to stop")
            health.stopping()
            reading.cancel()
            await asyncio.wait(stages)
            await work.settle()
            work.letters.close()
            await work.intake.drained()
            settled.set()
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FINAL_COMMIT_S):
                await work.intake.commit()
