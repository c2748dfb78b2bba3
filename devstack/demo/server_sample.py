"""The server's model on whole frames: what the pair could reach if every frame were sent whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from runtime.device_thread import DeviceThread
from vit.preprocess import Pixels, to_patches

ALL_POSITIONS = np.arange(196, dtype=np.int64)


class ServerAlone:
    """Classifies whole crops one at a time in a thread of its own; made by :meth:`loaded`."""

    def __init__(self, thread: DeviceThread, model: str) -> None:
        self._thread = thread
        self._model = model

    @classmethod
    @asynccontextmanager
    async def loaded(cls, model: str) -> AsyncIterator[ServerAlone]:
        """Yield a classifier with the model loaded, on one thread."""
        async with DeviceThread("server-alone") as thread:
            server = cls(thread, model)
            await thread.submit(server._load)
            yield server

    def _load(self) -> None:
        from vit.packed_forward import PackedForward
        from vit.weights import load_model

        self._forward = PackedForward(load_model(self._model, role="server"))

    async def classify(self, crop: Pixels) -> int:
        """Return the class index for a (224, 224, 3) uint8 crop with all its patches."""
        return await self._thread.submit(self._classify, crop)

    def _classify(self, crop: Pixels) -> int:
        return int(self._forward([to_patches(crop)], [ALL_POSITIONS])[0].argmax())
