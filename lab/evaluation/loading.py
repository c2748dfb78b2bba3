"""The models and images that a request names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lab.evaluation.corpus import Corpus, folder_corpus, table_corpus
from lab.evaluation.models import AttentiveModel, PatchModel
from lab.evaluation.reporter import Reporter
from lab.evaluation.scene_corpus import scene_corpus
from lab.evaluation.treatments import PLAIN_RESTORERS, Restorers


class FullModel(AttentiveModel, PatchModel, Protocol):
    """A model that can stand on either side."""


def load_models(edge: str, servers: Sequence[str], dtype: str) -> list[FullModel]:
    """Return the edge's model and the servers'; a server of the edge's very weights is the same object.

    Raises:
        ModelError: a model cannot be loaded, or the class lists differ.
    """
    from lab.evaluation.vit_models import VitModel
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
        from lab.research.super_resolution import SuperResolution  # (pulls in torch)

        network = SuperResolution(super_resolution)
        upsampler = f"real_esrgan_{network.identity}"
        upsample[upsampler] = network
    if masked_autoencoder is not None:
        from lab.research.masked_autoencoder import MaskedAutoencoder

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
    reporter: Reporter,
) -> Corpus:
    """Return the images of a request: files by folder or table, or rendered test scenes.

    Raises:
        EvaluationError: they are missing or do not match the model's classes.
    """
    if data is None:
        assert scenes is not None
        return scene_corpus(min(scenes, limit or scenes), seed, classes, reporter)
    if labels is not None:
        return table_corpus(data, labels, classes, limit)
    return folder_corpus(data, classes, limit)
