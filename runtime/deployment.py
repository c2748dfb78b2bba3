"""Follows what is deployed: a new pair is loaded beside the one in use, and taken when the other role is ready for it.

Edge and server workers share this; what loading and taking mean is their own (`Holder`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Any, Final, Protocol, TypeVar

from runtime.health import DEPLOYED_PAIR, Health
from runtime.heartbeat import BEAT_S
from runtime.log import get_logger
from runtime.metrics import ConsumerMetrics
from runtime.stores import ModelBoard
from runtime.waiting import set_within
from schemas.deployment import Deployment, Pair, Role, WorkerModels, starting_pair
from schemas.errors import SaccadeError

T = TypeVar("T")

_ANSWER_S: Final = 1.0
"""So long a beat waits for the boards: what a worker tells the others is gone after `WORKER_MODELS_TTL_S`."""
_log = get_logger(__name__)


class Holder(Protocol):
    """The models of one worker; called on the event loop."""

    def told(self) -> WorkerModels:
        """What it runs now."""
        ...

    async def load(self, pair: Pair) -> None:
        """The pair's model is ready beside the one in use; it may take its time.

        Raises:
            SaccadeError: it cannot be had, or is another one than the pair names. Nothing has changed.
        """
        ...

    def take(self, pair: Pair, workers: Sequence[WorkerModels]) -> str:
        """The loaded model is in use, or the one line that says what is waited for."""
        ...

    def release(self, workers: Sequence[WorkerModels]) -> None:
        """Models that no one can ask for any more are gone. `workers` are all there are."""
        ...


class DeploymentFollower:
    """Keeps one worker at what the first of its boards says, and tells all of them what it runs.

    A pair that cannot be loaded leaves the one in use, and is tried again when another is deployed.

    State: the deployment that is followed, whether it is in force, what stands against it, and the questions that
    the boards have not answered yet.
    """

    def __init__(
        self, boards: Sequence[ModelBoard], holder: Holder, *, health: Health, metrics: ConsumerMetrics
    ) -> None:
        self._boards = boards
        self._holder = holder
        self._health = health
        self._metrics = metrics
        self._followed: Deployment | None = None
        self._is_loaded = False
        self._failed = False
        self._trouble = ""
        self._asked: dict[int, asyncio.Task[Any]] = {}

    async def run(self, until: asyncio.Event) -> None:
        """Follows until `until` is set; a store that does not answer is asked again a second later."""
        async with asyncio.TaskGroup() as group:
            loading: asyncio.Task[None] | None = None
            while True:
                deployment, workers = await self._exchange(group)
                if loading is None or loading.done():
                    if deployment is not None and deployment != self._followed:
                        loading = group.create_task(self._load(deployment), name="load models")
                    else:
                        self._take(workers)
                if await set_within(until, BEAT_S):
                    break
            if loading is not None:
                loading.cancel()
            for question in self._asked.values():
                question.cancel()

    def told(self) -> WorkerModels:
        """What this worker runs, and how it stands to the deployment that it follows."""
        generation = 0 if self._followed is None else self._followed.generation
        return replace(self._holder.told(), generation=generation, trouble=self._trouble, failed=self._failed)

    async def _exchange(
        self, group: asyncio.TaskGroup
    ) -> tuple[Deployment | None, list[WorkerModels] | None]:
        """What is deployed, and what all workers run; None where that is not known of every board."""
        told = self.told()
        self._metrics.model_generation.set(told.generation)
        self._metrics.model_failed.set(told.failed)
        self._health.meets(DEPLOYED_PAIR, not told.trouble, told.trouble)
        exchanges = [partial(_exchange, board, told) for board in self._boards]
        deployment, *answers = await self._answers(group, [partial(_deployed, self._boards[0]), *exchanges])
        if any(answer is None for answer in answers):
            return deployment, None
        return deployment, [each for answer in answers for each in answer]

    async def _answers(
        self, group: asyncio.TaskGroup, questions: Sequence[Callable[[], Coroutine[Any, Any, Any]]]
    ) -> list[Any]:
        """What each question brought within `_ANSWER_S`, so that one silent board does not hold up the others.

        None where there is no answer yet. That question is not asked again but waited for with the next ones: a board
        behind a long link would else never have the time to answer.
        """
        for place, ask in enumerate(questions):
            if place not in self._asked:
                self._asked[place] = group.create_task(ask())
        await asyncio.wait(self._asked.values(), timeout=_ANSWER_S)
        return [
            self._asked.pop(place).result() if self._asked[place].done() else None
            for place in range(len(questions))
        ]

    async def _load(self, deployment: Deployment) -> None:
        self._followed, self._is_loaded, self._failed = deployment, False, False
        self._trouble = f"loads {deployment.pair.folder or 'what it was started with'}"
        try:
            await self._holder.load(deployment.pair)
        except Exception as error:  # noqa: BLE001 - a library raises anything on a bad file; the pair in use works on
            self._failed, self._trouble = True, str(error) or type(error).__name__
            _log.error(
                "a deployed pair cannot be taken", generation=deployment.generation, error=self._trouble
            )
        else:
            self._is_loaded = True

    def _take(self, workers: Sequence[WorkerModels] | None) -> None:
        if workers is None:
            return
        if self._is_loaded and self._followed is not None:
            self._trouble = self._holder.take(self._followed.pair, workers)
        self._holder.release(workers)


async def open_first(
    board: ModelBoard, role: Role, open_pair: Callable[[Pair], Awaitable[T]]
) -> tuple[Pair, T]:
    """What a worker begins with: the deployed pair, or what its settings name where there is none or it cannot be had.

    The follower goes on from there.
    """
    try:
        pair = starting_pair(await board.deployment(), role, await board.read_models())
    except SaccadeError as error:
        _log.warning("what is deployed is not known yet", error=str(error))
        pair = Pair("")
    if pair.folder:
        try:
            return pair, await open_pair(pair)
        except Exception as error:  # noqa: BLE001 - a library raises anything on a bad file; the settings' model works
            _log.error("a deployed pair cannot be taken", folder=pair.folder, error=str(error))
    return Pair(""), await open_pair(Pair(""))


def worker_name() -> str:
    """A name for this worker among those of a site, other than that of any before it."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{token_hex(2)}"


async def _exchange(board: ModelBoard, told: WorkerModels) -> list[WorkerModels] | None:
    """What all workers of a board run, after it was told what this one does; None where it does not answer."""
    try:
        await board.publish_models(told)
        return await board.read_models()
    except SaccadeError as error:  # whatever it is, it is this store's own
        _log.warning("what runs is not told", error=str(error))
        return None


async def _deployed(board: ModelBoard) -> Deployment | None:
    """What a board says that is deployed; None where nothing is, or it does not answer."""
    try:
        return await board.deployment()
    except SaccadeError as error:
        _log.warning("the deployment cannot be read", error=str(error))
        return None
