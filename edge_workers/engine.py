"""The edge's model, behind numpy arrays: built, warmed up and called on the device thread only."""

from __future__ import annotations

import numpy as np

from edge_workers.settings import EdgeSettings
from schemas.geometry import CROP_SIDE
from vit.backends import BackendChoice, check_finite, open_edge
from vit.process import available_threads


class EdgeEngine:
    """Label scores, class attention and embeddings of batches of crops.

    `classify` returns what the model says of (B, 224, 224, 3) crops.
    `resize_crop` makes the (224, 224, 3) uint8 crop of a (height, width, 3) uint8 image, and `in_codec_thread`
    is called first in each thread that does so: both by the codec threads.

    Raises:
        SettingsError: no such backend.
        ModelError: the model cannot be loaded, its backend is not installed, or it answers with scores that
            are no numbers.
    """

    def __init__(self, settings: EdgeSettings) -> None:
        model = open_edge(
            settings.backend,
            BackendChoice(
                settings.model,
                dtype=settings.dtype,
                threads=settings.threads or available_threads(),
            ),
        )
        self.identity = model.identity
        self.name: str = model.identity.name
        self.resize_crop = model.resize_crop
        self.in_codec_thread = model.in_codec_thread
        self.classify = model.forward
        self._warm_up(settings.batch_frames)

    def _warm_up(self, max_batch: int) -> None:
        # The first call of all builds most; a batch size that is new later costs some ten milliseconds once.
        for size in (1, max_batch):
            check_finite(self.name, self.classify(np.zeros((size, CROP_SIDE, CROP_SIDE, 3), np.uint8)).logits)
