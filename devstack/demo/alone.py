"""Both models on whole frames, each alone: what the edge says without a server, and what the pair could reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import numpy as np

from runtime.device_thread import DeviceThread
from schemas.geometry import NUM_PATCHES
from vit.preprocess import Pixels, to_patches

ALL_POSITIONS = np.arange(NUM_PATCHES, dtype=np.int64)


class AloneLabels(NamedTuple):
    """The class index that each model gives a whole frame."""

    edge: int
    server: int


class ModelsAlone:
    """Classifies whole crops one at a time in a thread of its own; made by :meth:`loaded`."""

    def __init__(self, thread: DeviceThread, edge: str, server: str) -> None:
        self._thread = thread
        self._models = edge, server

    @classmethod
    @asynccontextmanager
    async def loaded(cls, edge: str, server: str) -> AsyncIterator[ModelsAlone]:
        """Yield a classifier with both models loaded, on one thread."""
        async with DeviceThread("models-alone") as thread:
            alone = cls(thread, edge, server)
            await thread.submit(alone._load)
            yield alone

    def _load(self) -> None:
        from vit.edge_forward import EdgeForward
        from vit.packed_forward import PackedForward
        from vit.weights import load_model

        edge, server = self._models
        self._edge = EdgeForward(load_model(edge, role="edge"))
        self._server = PackedForward(load_model(server, role="server"))

    async def classify(self, crop: Pixels) -> AloneLabels:
        """Return what each model says of a (224, 224, 3) uint8 crop with all its patches."""
        return await self._thread.submit(self._classify, crop)

    def _classify(self, crop: Pixels) -> AloneLabels:
        return AloneLabels(
            edge=int(self._edge(crop[None]).logits[0].argmax()),
            server=int(self._server([to_patches(crop)], [ALL_POSITIONS])[0].argmax()),
        )
