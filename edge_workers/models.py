"""The edge's model in use, and the one that is to follow it: a swap happens between two batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_workers.settings import EdgeSettings
from runtime.deployment import worker_name
from runtime.device_thread import DeviceThread
from runtime.log import get_logger
from schemas.deployment import Pair, Role, WorkerModels, may_switch
from schemas.frontier import Frontier, load_frontier
from uplink.curve import check_models
from uplink.shell import Uplink
from vit.backends import Identity

if TYPE_CHECKING:
    from edge_workers.engine import EdgeEngine

FRONTIER = "frontier.json"
"""A pair's calibration, in its folder where it has one."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready, and the calibration of its pair, where it brings one."""

    engine: EdgeEngine
    frontier: Frontier | None


OpenEngine = Callable[[EdgeSettings], "EdgeEngine"]


def load(open_engine: OpenEngine, settings: EdgeSettings, pair: Pair) -> Loaded:
    """The pair's model, opened as the worker's settings say, checked and warm. Takes seconds.

    Raises:
        ModelError: it cannot be loaded, or is not what the pair says.
        DecodeError: the pair's frontier cannot be read. FrontierRefusedError: it is another pair's.
    """
    engine = open_engine(settings.model_copy(update={"model": pair.folder}) if pair.folder else settings)
    pair.check(Role.EDGE, engine.identity.weights_hash, engine.identity.classes_hash)
    return Loaded(engine, frontier_of(pair, engine.identity))


def frontier_of(pair: Pair, identity: Identity) -> Frontier | None:
    """The calibration in the pair's folder, None without one; raises as `load` does."""
    path = Path(pair.folder) / FRONTIER
    if not pair.folder or not path.exists():
        return None
    frontier = load_frontier(path)
    check_models(frontier, edge_hash=identity.weights_hash, classes_hash=identity.classes_hash)
    return frontier


class EdgeModels:
    """Owns the engine that `infer` asks; a batch is answered by one model, and its frames name it.

    State: the engine in use, and the one that was loaded for the deployed pair, None once it is in use.
    """

    def __init__(
        self,
        first: Loaded,
        load_pair: Callable[[Pair], Loaded],
        uplink: Uplink,
    ) -> None:
        self.engine = first.engine
        self._load = load_pair
        self._uplink = uplink
        self._worker = worker_name()
        self._loaded: Loaded | None = None
        if first.frontier is not None:
            uplink.use(first.frontier)

    def told(self) -> WorkerModels:
        """What is in use."""
        engine = self.engine
        return WorkerModels(
            self._worker, Role.EDGE, engine.name, engine.identity.weights_hash, engine.identity.classes_hash
        )

    async def load(self, pair: Pair) -> None:
        """The pair's model waits beside the one in use; raises as `load` does."""
        self._loaded = None
        identity = self.engine.identity
        if pair.edge_hash and pair.edge_hash == identity.weights_hash:
            # The model is there, but it may have been calibrated since.
            pair.check(Role.EDGE, identity.weights_hash, identity.classes_hash)
            async with DeviceThread("edge-load") as thread:  # the folder's disk may not answer either
                self._loaded = Loaded(self.engine, await thread.submit(frontier_of, pair, identity))
            return
        async with DeviceThread("edge-load") as thread:
            self._loaded = await thread.submit(self._load, pair)

    def take(self, pair: Pair, workers: Sequence[WorkerModels]) -> str:
        """The loaded model answers the next batch, if every server holds its partner; else what is waited for."""
        if self._loaded is None:
            return ""
        if not may_switch(pair, workers):
            return "waits until every server holds the pair"
        loaded, self._loaded = self._loaded, None
        if loaded.engine is self.engine:
            # Another belief begins with a new calibration, as it does with a new model.
            loaded.engine.identity = replace(loaded.engine.identity)
        self.engine = loaded.engine
        self._uplink.use(loaded.frontier)
        _log.info("edge model swapped", model=loaded.engine.name, calibrated=loaded.frontier is not None)
        return ""

    def release(self, workers: Sequence[WorkerModels]) -> None:
        """Nothing: what is not in use is gone."""
