"""The server's model as a user of timm would run it: whole images, one batch, the same number format."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from imaging.decode import decode_image
from vit.hardware import best_dtype
from vit.packed_forward import PackedForward, normalised
from vit.resize import resize_crop_fast
from vit.weights import load_model

MAX_PIXELS = 1 << 24
_ALL = np.arange(196)


def crop_of(jpeg: bytes) -> np.ndarray:
    """Return the (224, 224, 3) model input, by the same code as the edge worker's."""
    return resize_crop_fast(decode_image(jpeg, "jpeg", MAX_PIXELS))


class Classifier:
    """`engine` is `timm` (its own forward) or `saccade` (this project's kernels on whole images)."""

    def __init__(self, path: str, threads: int, engine: str = "timm") -> None:
        torch.set_num_threads(threads)
        self._model = load_model(path)
        self._packed = PackedForward(self._model) if engine == "saccade" else None
        self._vit = self._model.timm.to(best_dtype())

    @torch.inference_mode()
    def __call__(self, crops: Sequence[np.ndarray]) -> list[int]:
        """Return the class index of each crop."""
        stacked = np.stack(crops)
        if self._packed is not None:
            grid = stacked.reshape(len(crops), 14, 16, 14, 16, 3).swapaxes(2, 3).reshape(-1, 196, 16, 16, 3)
            packed: list[int] = self._packed(list(grid), [_ALL] * len(crops)).argmax(1).tolist()
            return packed
        labels: list[int] = self._vit(normalised(stacked, self._model).to(best_dtype())).argmax(1).tolist()
        return labels
