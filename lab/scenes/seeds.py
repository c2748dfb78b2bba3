"""Keeps training, calibration and test scenes apart: every scene seed lies in exactly one of three ranges."""

from enum import StrEnum
from itertools import pairwise

import numpy as np

TRAIN_SEEDS = range(0, 10**9)
CALIBRATION_SEEDS = range(10**9, 2 * 10**9)
TEST_SEEDS = range(2 * 10**9, 3 * 10**9)


class Split(StrEnum):
    """What a seed may be used for. Each split has its own backgrounds too."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    TEST = "test"


RANGES: dict[Split, range] = {
    Split.TRAIN: TRAIN_SEEDS,
    Split.CALIBRATION: CALIBRATION_SEEDS,
    Split.TEST: TEST_SEEDS,
}


def assert_disjoint(ranges: tuple[range, ...]) -> None:
    """Raise ``ValueError`` unless no seed lies in two of the ranges (each of step 1)."""
    ordered = sorted(ranges, key=lambda seeds: seeds.start)
    for lower, upper in pairwise(ordered):
        if lower.stop > upper.start:
            raise ValueError(f"seed ranges overlap: {lower} and {upper}")


assert_disjoint(tuple(RANGES.values()))


def split_of(seed: int) -> Split:
    """Return the split that owns ``seed``; raise ``ValueError`` outside 0 … 2,999,999,999."""
    for split, seeds in RANGES.items():
        if seed in seeds:
            return split
    raise ValueError(f"scene seed {seed} is outside the allowed range 0 to {TEST_SEEDS.stop - 1}")


def assert_split(seeds: range, split: Split) -> None:
    """Raise ``ValueError`` unless every seed of ``seeds`` belongs to ``split``."""
    allowed = RANGES[split]
    if len(seeds) and not (seeds[0] in allowed and seeds[-1] in allowed):
        raise ValueError(f"seeds {seeds} are not all {split} seeds ({allowed.start} to {allowed.stop - 1})")


def generator(purpose: str, seed: int) -> np.random.Generator:
    """Return a random generator that no other (purpose, seed) shares."""
    return np.random.default_rng([int.from_bytes(purpose.encode()[:8], "big"), seed])
