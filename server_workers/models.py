"""The server's models: the newest answers, and an older one as long as records of its class list may come."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from runtime.clock import Clock
from runtime.deployment import worker_name
from runtime.device_thread import DeviceThread
from runtime.log import get_logger
from schemas.deployment import Pair, Role, WorkerModels, unneeded
from schemas.offload import Offload
from server_workers.settings import ServerSettings

if TYPE_CHECKING:
    from server_workers.engine import ServerEngine

LINGER_S = 60.0
"""Records of a class list may still come so long after the deadline of the last one: from an edge that nobody hears of,
or through a broker that is behind."""
_LONGEST_WANTED_S = 3_600.0
"""Whatever a record's deadline: one that is centuries away is no reason to hold a model for good."""
_log = get_logger(__name__)


OpenEngine = Callable[[ServerSettings], "ServerEngine"]


def load(open_engine: OpenEngine, settings: ServerSettings, pair: Pair) -> ServerEngine:
    """The pair's model, opened as the worker's settings say, checked and warm. Takes seconds.

    Raises:
        ModelError: it cannot be loaded, or is not what the pair says.
    """
    engine = open_engine(settings.model_copy(update={"model": pair.folder}) if pair.folder else settings)
    pair.check(Role.SERVER, engine.identity.weights_hash, engine.identity.classes_hash)
    return engine


class ServerModels:
    """Owns the engines; a record is answered by the newest one of its class list.

    State: the engines, newest first, and until when records of each class list are worth an answer. `of` may be
    called on any thread, all else on the event loop's.
    """

    def __init__(
        self,
        first: ServerEngine,
        load_pair: Callable[[Pair], ServerEngine],
        clock: Clock,
    ) -> None:
        self._engines: tuple[ServerEngine, ...] = (first,)
        self._load = load_pair
        self._worker = worker_name()
        self._clock = clock
        self._wanted_until_s: dict[str, float] = {}

    @property
    def newest(self) -> ServerEngine:
        """The engine of the pair that was deployed last."""
        return self._engines[0]

    def of(self, record: Offload, deadline_s: float) -> ServerEngine | None:
        """The engine that answers the record; None where no model has its class list.

        Args:
            record: as it was read.
            deadline_s: of the record, on the local monotonic clock, `inf` for none.
        """
        now_s = self._clock.monotonic_s()
        until_s = max(now_s, deadline_s if math.isfinite(deadline_s) else now_s)
        until_s = min(until_s, now_s + _LONGEST_WANTED_S)
        for engine in self._engines:
            classes = engine.identity.classes_hash
            if record.is_of_classes(classes):
                self._wanted_until_s[classes] = max(until_s, self._wanted_until_s.get(classes, until_s))
                return engine
        return None

    def told(self) -> WorkerModels:
        """What is in use."""
        newest = self.newest
        return WorkerModels(
            self._worker,
            Role.SERVER,
            newest.name,
            newest.identity.weights_hash,
            newest.identity.classes_hash,
            tuple(engine.identity.weights_hash for engine in self._engines),
        )

    async def load(self, pair: Pair) -> None:
        """The pair's model answers the records of its class list, beside those that were there; raises as `load`."""
        held = [each for each in self._engines if each.identity.weights_hash == pair.server_hash]
        if held:
            engine = held[0]
        else:
            async with DeviceThread("server-load") as thread:
                engine = await thread.submit(self._load, pair)
        self._engines = (engine, *(each for each in self._engines if each is not engine))
        _log.info("server model loaded", model=engine.name, holds=len(self._engines))

    def take(self, pair: Pair, workers: Sequence[WorkerModels]) -> str:  # noqa: ARG002 - as every holder
        """Nothing more: a loaded model is in use, and edges come over when all servers have it."""
        return ""

    def release(self, workers: Sequence[WorkerModels]) -> None:
        """Models that no edge uses any more, and of whose classes no record is on its way, are gone."""
        now_s = self._clock.monotonic_s()
        wanted = self._wanted_until_s.copy()  # `of` may add to it on another thread meanwhile
        of_late = {classes for classes, until_s in wanted.items() if now_s - until_s < LINGER_S}
        gone = unneeded(
            [each.identity.classes_hash for each in self._engines], workers, asked_of_late=of_late
        )
        if gone:
            self._engines = tuple(each for place, each in enumerate(self._engines) if place not in gone)
            _log.info("server models released", released=len(gone))
