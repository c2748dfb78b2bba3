"""The server's model, behind numpy arrays: built, warmed up and called on the device thread only."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from schemas.geometry import NUM_PATCHES, PATCH_SIDE
from server_workers.settings import ServerSettings
from vit.backends import BackendChoice, Patches, PositionSets, check_finite, open_server
from vit.process import available_threads

_WARM_PATCHES = (NUM_PATCHES // 2, NUM_PATCHES)


class ServerEngine:
    """Label scores of token sets of any lengths. `tokens_per_s` is what the warm-up measured.

    `submit` begins what `classify` does: its `result` may be waited for on another thread while more is submitted.

    Raises:
        SettingsError: no such backend.
        ModelError: the model cannot be loaded, its backend is not installed, or it answers with scores that
            are no numbers.
    """

    def __init__(self, settings: ServerSettings) -> None:
        model = open_server(
            settings.backend,
            BackendChoice(
                settings.model,
                dtype=settings.dtype,
                device=settings.device,
                threads=settings.threads or available_threads(),
            ),
        )
        self.identity = model.identity
        self.name: str = model.identity.name
        self.batches_in_flight = model.batches_in_flight
        self.submit = model.submit
        # No frame that comes alone should wait for kernels.
        model.warm_up()
        self.tokens_per_s = self._measure()

    def _measure(self) -> float:
        # Twice: the first call builds kernels and shows nothing of the speed.
        for _ in range(2):
            began_s = time.perf_counter()
            scores = self.classify(
                [np.zeros((count, PATCH_SIDE, PATCH_SIDE, 3), np.uint8) for count in _WARM_PATCHES],
                [np.arange(count) for count in _WARM_PATCHES],
            )
            seconds = time.perf_counter() - began_s
        check_finite(self.name, scores)
        return (sum(_WARM_PATCHES) + len(_WARM_PATCHES)) / seconds

    def classify(self, patches: Patches, positions: PositionSets) -> NDArray[np.float32]:
        """Scores (B, C) float32 of B sets: patches (k_i, 16, 16, 3) uint8 at ascending positions (k_i,)."""
        return self.submit(patches, positions).result()
