"""The edge's model in int8 from a user's own images, and how well it agrees with the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.errors import EvaluationError
from lab.evaluation.corpus import SUFFIXES, UNLABELLED, FileCorpus
from schemas.errors import DecodeError

MAX_CALIBRATED: Final = 300
MAX_CHECKED: Final = 200
LEAST_IMAGES: Final = 16
_BATCH: Final = 8


@dataclass(frozen=True, slots=True)
class Quantised:
    """The file, and on how many of the `checked` images its answer is that of the model itself.

    The checked images are others than the calibrated ones; where there were too few for both, none is.
    """

    path: Path
    calibrated: int
    checked: int
    agreeing: int


def quantise_edge(data: Path, model: str, out: Path) -> Quantised:
    """`out` holds the int8 form of the edge's model, calibrated on images from anywhere below `data`.

    Raises:
        EvaluationError: too few readable images. ModelError: the model or the extra `openvino` is missing.
    """
    from vit.edge_forward import EdgeForward
    from vit.openvino_network import OpenVinoEdgeForward, quantise
    from vit.weights import load_model

    loaded = load_model(model, role="edge")
    crops = readable_crops(data, MAX_CALIBRATED + MAX_CHECKED)
    # Neighbouring files are often alike, so calibrated and checked images alternate through all of them.
    is_checked = np.arange(len(crops)) % 5 >= 3
    if len(crops) < 2 * LEAST_IMAGES:
        is_checked[:] = False
    path = quantise(loaded, crops[~is_checked], out)
    held_out = crops[is_checked]
    itself, small = EdgeForward(loaded), OpenVinoEdgeForward(loaded, quantised=path)
    agreeing = 0
    for start in range(0, len(held_out), _BATCH):
        part = held_out[start : start + _BATCH]
        agreeing += int((itself(part).logits.argmax(1) == small(part).logits.argmax(1)).sum())
    return Quantised(path, int((~is_checked).sum()), len(held_out), agreeing)


def readable_crops(data: Path, limit: int) -> NDArray[np.uint8]:
    """Return (N, 224, 224, 3) uint8 model inputs of up to `limit` images, evenly spread over the files.

    Raises:
        EvaluationError: fewer than `LEAST_IMAGES` can be read.
    """
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in SUFFIXES)
    chosen: Sequence[Path] = (
        [paths[idx * len(paths) // limit] for idx in range(limit)] if len(paths) > limit else paths
    )
    names = [str(path.relative_to(data)) for path in chosen]
    corpus = FileCorpus(str(data), names, np.full(len(chosen), UNLABELLED), chosen)
    crops = []
    for idx in range(len(chosen)):
        try:
            crops.append(corpus.crop(idx))
        except DecodeError:
            continue
    if len(crops) < LEAST_IMAGES:
        raise EvaluationError(
            f"{data}: {len(crops)} readable images (.jpg, .png, .webp), int8 needs {LEAST_IMAGES} to calibrate"
        )
    return np.stack(crops)
