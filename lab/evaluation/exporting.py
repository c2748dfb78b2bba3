"""The edge's model as a folder that runs without torch, held against torch on a user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lab.errors import EvaluationError
from lab.evaluation.corpus import SUFFIXES, UNLABELLED, FileCorpus
from schemas.errors import DecodeError

if TYPE_CHECKING:
    from vit.exported import Exported

MAX_CALIBRATED: Final = 300
MAX_CHECKED: Final = 200
LEAST_IMAGES: Final = 16
_NOISE_IMAGES: Final = 16


def export_edge(model: str, out: Path, data: Path | None, *, int8: bool) -> Exported:
    """`out` holds the model of this name, path or `shipped`, in each format whose library is installed.

    It is held against torch on images from anywhere below `data`, on noise without them. With `int8` two thirds
    of the images calibrate OpenVINO's network, and only the others are held against; where there are too few for
    both, all do both.

    Raises:
        EvaluationError: too few readable images, or int8 without any.
        ModelError: the model is not to be had, or a library is missing.
    """
    from vit.export import export
    from vit.weights import load_model

    if data is None:
        if int8:
            raise EvaluationError("int8 needs images to calibrate on: give --data")
        noise = np.random.default_rng(0).integers(0, 256, (_NOISE_IMAGES, 224, 224, 3), np.uint8)
        return export(load_model(model, role="edge"), out, checked=noise, data="noise")
    crops = readable_crops(data, MAX_CALIBRATED + MAX_CHECKED if int8 else MAX_CHECKED)
    # Neighbouring files are often alike, so calibrated and checked images alternate through all of them.
    is_checked = np.arange(len(crops)) % 5 >= 3
    if not int8 or len(crops) < 2 * LEAST_IMAGES:
        is_checked[:] = True
    calibration = crops[~is_checked] if not is_checked.all() else crops
    return export(
        load_model(model, role="edge"),
        out,
        checked=crops[is_checked],
        data=str(data),
        calibration=calibration if int8 else None,
    )


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
            f"{data}: {len(crops)} readable images (.jpg, .png, .webp), {LEAST_IMAGES} are needed"
        )
    return np.stack(crops)
