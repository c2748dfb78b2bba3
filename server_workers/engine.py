"""The server's model, behind numpy arrays: built, warmed up and called on the device thread only."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.geometry import NUM_PATCHES, PATCH_SIDE
from server_workers.settings import ServerSettings
from vit.hardware import available_threads, best_device
from vit.packed_forward import PackedForward, PendingLogits
from vit.weights import load_model

_WARM_PATCHES = (NUM_PATCHES // 2, NUM_PATCHES)


class ServerEngine:
    """Label scores of token sets of any lengths. `tokens_per_s` is what the warm-up measured.

    Raises:
        ModelError: the model cannot be loaded, or answers with scores that are no numbers.
    """

    def __init__(self, settings: ServerSettings) -> None:
        model = load_model(settings.model, role="server")
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise ModelError("server.device = cuda: torch finds no CUDA device; use auto or cpu")
        self._forward = PackedForward(
            model,
            best_device() if settings.device == "auto" else settings.device,
            None if settings.dtype == "auto" else getattr(torch, settings.dtype),
            threads=settings.threads or available_threads(),
        )
        self.name: str = model.name
        self.classes: tuple[str, ...] = model.classes
        self.classes_hash: str = model.classes_hash
        self.weights_hash: str = model.weights_hash
        # While a GPU computes one batch the next is packed and copied; a CPU does one thing after the other.
        self.batches_in_flight = 1 if self._forward.device.type == "cpu" else 2
        self.tokens_per_s = self._warm_up()

    def _warm_up(self) -> float:
        # No frame that comes alone should wait for them.
        self._forward.build_kernels()
        # Twice: the first call builds kernels and shows nothing of the speed.
        for _ in range(2):
            began_s = time.perf_counter()
            scores = self.classify(
                [np.zeros((count, PATCH_SIDE, PATCH_SIDE, 3), np.uint8) for count in _WARM_PATCHES],
                [np.arange(count) for count in _WARM_PATCHES],
            )
            seconds = time.perf_counter() - began_s
        if not np.isfinite(scores).all():
            raise ModelError(f"model {self.name}: the scores of a black image are no numbers")
        return (sum(_WARM_PATCHES) + len(_WARM_PATCHES)) / seconds

    def classify(
        self, patches: Sequence[NDArray[np.uint8]], positions: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.float32]:
        """Scores (B, C) float32 of B sets: patches (k_i, 16, 16, 3) uint8 at ascending positions (k_i,)."""
        return self._forward(list(patches), list(positions))

    def submit(
        self, patches: Sequence[NDArray[np.uint8]], positions: Sequence[NDArray[np.int64]]
    ) -> PendingLogits:
        """`classify` begun: its `result` may be waited for on another thread while more is submitted."""
        return self._forward.submit(list(patches), list(positions))
