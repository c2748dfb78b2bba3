"""Freshly rendered scenes as a corpus."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from lab.evaluation.errors import EvaluationError
from lab.evaluation.memory_corpus import MemoryCorpus
from lab.evaluation.reporter import Reporter
from lab.scenes.classes import CLASSES, IGNORE
from lab.scenes.seeds import CALIBRATION_SEEDS, TEST_SEEDS
from lab.scenes.views import render_view
from vit.preprocess import Pixels, resize_crop

SEEDS_A_RUN: Final = 1_000_000
"""Scene seeds that belong to one `--seed`; two runs of different seeds share no scene."""


def scene_corpus(
    num_scenes: int, seed: int, classes: tuple[str, ...], reporter: Reporter, *, calibration: bool = False
) -> MemoryCorpus:
    """Return `num_scenes` scenes of the test seeds, or of the calibration seeds, with clear truth.

    Scenes that are neither object nor empty are skipped.

    Raises:
        EvaluationError: the model's classes are not the scenes' classes, or the seed leaves its range.
    """
    if classes != CLASSES:
        raise EvaluationError(
            f"rendered scenes show {len(CLASSES)} classes ({CLASSES[1]}, ...), the model knows "
            f"{len(classes)} others ({classes[0]}, ...); use --edge-model shipped --server-model shipped, or "
            "--data with images of the model's classes"
        )
    pool = CALIBRATION_SEEDS if calibration else TEST_SEEDS
    most = len(pool) // SEEDS_A_RUN
    if not 0 <= seed < most or not 1 <= num_scenes <= SEEDS_A_RUN // 2:
        raise EvaluationError(
            f"scenes {num_scenes} at seed {seed}: need 1 to {SEEDS_A_RUN // 2} scenes and a seed below {most}"
        )
    reporter.start("render scenes", num_scenes)
    names, labels, crops = [], [], []
    for scene_seed, label, crop in _scored(pool[seed * SEEDS_A_RUN : (seed + 1) * SEEDS_A_RUN]):
        names.append(f"scene-{scene_seed}")
        labels.append(label)
        crops.append(crop)
        reporter.advance()
        if len(names) == num_scenes:
            break
    kind = "calibration" if calibration else "test"
    description = f"{num_scenes} rendered scenes, {kind} seeds, seed {seed}"
    return MemoryCorpus(description, tuple(names), np.asarray(labels, dtype=np.int64), tuple(crops))


def _scored(seeds: range) -> Iterator[tuple[int, int, Pixels]]:
    for seed in seeds:
        view = render_view(seed)
        if view.truth != IGNORE:
            yield seed, view.truth, resize_crop(view.image)
