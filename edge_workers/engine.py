"""The edge's model, behind numpy arrays: built, warmed up and called on the device thread only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from edge_workers.settings import EdgeSettings
from schemas.errors import ModelError
from schemas.geometry import CROP_SIDE
from vit.edge_forward import EdgeForward, EdgeOutput
from vit.hardware import available_threads
from vit.model import Model
from vit.openvino_edge import Crops, OpenVinoEdgeForward
from vit.preprocess import Pixels
from vit.resize import one_thread, resize_crop_fast
from vit.weights import load_model


class EdgeEngine:
    """Label scores and class attention of batches of crops.

    Raises:
        ModelError: the model cannot be loaded, its backend is not installed, or it answers with scores that
            are no numbers.
    """

    def __init__(self, settings: EdgeSettings) -> None:
        model = load_model(settings.model, role="edge")
        self._forward = _forward(settings, model)
        self.name: str = model.name
        self.classes: tuple[str, ...] = model.classes
        self.classes_hash: str = model.classes_hash
        self.weights_hash: str = model.weights_hash
        self._warm_up(settings.batch_frames)

    def _warm_up(self, max_batch: int) -> None:
        # Each batch size builds its own kernels on first use; no camera should wait for that.
        for size in range(1, max_batch + 1):
            scores = self._forward(np.zeros((size, CROP_SIDE, CROP_SIDE, 3), np.uint8)).logits
            if not np.isfinite(scores).all():
                raise ModelError(f"model {self.name}: the scores of a black image are no numbers")

    def classify(self, crops: NDArray[np.uint8]) -> EdgeOutput:
        """Scores (B, C) float32 and attention over patches (B, 196) float32 of (B, 224, 224, 3) crops."""
        return self._forward(crops)

    @staticmethod
    def resize_crop(image: Pixels) -> Pixels:
        """The (224, 224, 3) uint8 crop of a (height, width, 3) uint8 image. For the codec threads."""
        return resize_crop_fast(image)

    @staticmethod
    def in_codec_thread() -> None:
        """The calling thread computes alone: the codec threads share the cores with the model's."""
        one_thread()


def _forward(settings: EdgeSettings, model: Model) -> Callable[[Crops], EdgeOutput]:
    """The model on the backend of the settings.

    Raises:
        ModelError: the backend is not installed, or the quantised model is another one's.
    """
    dtype = None if settings.dtype == "auto" else getattr(torch, settings.dtype)
    threads = settings.threads or available_threads()
    if settings.backend == "torch":
        return EdgeForward(model, dtype, threads=threads)
    quantised = settings.quantised if settings.backend == "openvino_int8" else None
    return OpenVinoEdgeForward(model, dtype, quantised=quantised, threads=threads)
