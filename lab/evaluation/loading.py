"""The models and images that a request names; torch is loaded with the first model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.corpus import Corpus, folder_corpus, scene_corpus, table_corpus
from lab.evaluation.models import (
    LAST,
    LAYER_ROLLOUT,
    ROLLOUT,
    Attended,
    AttentiveModel,
    Logits,
    ModelFacts,
    PatchModel,
)
from lab.evaluation.schemes import PLAIN_RESTORERS, Restorers
from lab.progress import Progress
from schemas.geometry import Attention, Positions
from vit.preprocess import Pixels

if TYPE_CHECKING:
    from vit.model import Model


_MAPS_AT_ONCE: Final = 4
_LAST_LAYERS: Final = 6


class FullModel(AttentiveModel, PatchModel, Protocol):
    """A model that can stand on either side."""


class VitModel:
    """A loaded model as edge and as server, with all cores of this machine, on its GPU where it has one.

    Args:
        model: what `load_model` returned.
        dtype: "auto" (the fastest exact one), "float32" or "bfloat16".
    """

    def __init__(self, model: Model, dtype: str = "auto") -> None:
        from vit.edge_forward import EdgeForward
        from vit.hardware import best_device, dtype_named
        from vit.packed_forward import PackedForward
        from vit.process import available_threads

        device = best_device()
        chosen = dtype_named(dtype, device)
        self._model = model
        self._edge = EdgeForward(model, chosen, threads=available_threads(), device=device)
        self._server = PackedForward(model, device, chosen)
        shape, name = model.architecture, str(chosen).removeprefix("torch.")
        self._facts = ModelFacts(
            name=model.name,
            identity=f"{model.weights_hash}:{name}",
            weights_hash=model.weights_hash,
            classes=model.classes,
            classes_hash=model.classes_hash,
            embed_dim=shape.embed_dim,
            depth=shape.depth,
            num_parameters=sum(each.numel() for each in model.vit.parameters()),
            dtype=name,
        )

    @property
    def facts(self) -> ModelFacts:
        """What the report says of it."""
        return self._facts

    def attend(self, crops: NDArray[np.uint8], sources: Sequence[str]) -> Attended:
        """Return what it makes of B crops; rollouts need a second, slower pass."""
        output = self._edge(crops)
        attention = {LAST: output.attention}
        if {ROLLOUT, LAYER_ROLLOUT} & set(sources):
            attention |= self._rollouts(crops)
        return Attended(output.logits, attention, output.embedding)

    def classify(self, patches: Sequence[Pixels], positions: Sequence[Positions]) -> Logits:
        """Return (B, C) logits of B sets of patches."""
        return self._server(patches, positions)

    def _rollouts(self, crops: NDArray[np.uint8]) -> dict[str, Attention]:
        """Return both rollouts (B, 196); few images at once, as the maps of all layers are large."""
        from lab.research.rollout import attention_maps, mean_head_rollout, rollout

        every, last = [], []
        for first in range(0, len(crops), _MAPS_AT_ONCE):
            for maps in attention_maps(self._model, crops[first : first + _MAPS_AT_ONCE]):
                every.append(rollout(maps))
                last.append(mean_head_rollout(maps[-_LAST_LAYERS:].mean(axis=1)))
        return {ROLLOUT: np.stack(every), LAYER_ROLLOUT: np.stack(last)}


def load_models(edge: str, servers: Sequence[str], dtype: str) -> list[FullModel]:
    """Return the edge's model and the servers'; a server of the edge's very weights is the same object.

    Raises:
        ModelError: a model cannot be loaded, or the class lists differ.
    """
    from vit.classes import same_classes
    from vit.weights import load_model

    small = load_model(edge, role="edge")
    models: list[FullModel] = [VitModel(small, dtype)]
    for name in servers:
        large = load_model(name, role="server")
        same_classes(small.classes, large.classes)
        equal = large.weights_hash == small.weights_hash
        models.append(models[0] if equal else VitModel(large, dtype))
    return models


def load_restorers(
    super_resolution: Path | None, masked_autoencoder: Path | None
) -> tuple[Restorers, str | None, str | None]:
    """Return all restorers, and the names of the up-sampler and filler that weights were given for.

    Raises:
        ModelError: a file does not hold such a network.
    """
    upsample, fill = dict(PLAIN_RESTORERS.upsample), dict(PLAIN_RESTORERS.fill)
    upsampler = filler = None
    if super_resolution is not None:
        from lab.research.restoration import SuperResolution  # (pulls in torch)

        network = SuperResolution(super_resolution)
        upsampler = f"real_esrgan_{network.identity}"
        upsample[upsampler] = network
    if masked_autoencoder is not None:
        from lab.research.restoration import MaskedAutoencoder

        painter = MaskedAutoencoder(masked_autoencoder)
        filler = f"mae_{painter.identity}"
        fill[filler] = painter
    return Restorers(upsample, fill), upsampler, filler


def load_corpus(
    *,
    data: Path | None,
    labels: Path | None,
    scenes: int | None,
    seed: int,
    limit: int | None,
    classes: tuple[str, ...],
    progress: Progress,
) -> Corpus:
    """Return the images of a request: files by folder or table, or rendered test scenes.

    Raises:
        EvaluationError: they are missing or do not match the model's classes.
    """
    if data is None:
        assert scenes is not None
        return scene_corpus(min(scenes, limit or scenes), seed, classes, progress)
    if labels is not None:
        return table_corpus(data, labels, classes, limit)
    return folder_corpus(data, classes, limit)
