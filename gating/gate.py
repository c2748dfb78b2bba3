"""The gate: which frames the edge answers for good and which it is too unsure of.

Pure numpy, called by the edge worker once a batch. Must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gating.entropy import min_entropy_bits


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the edge model says of a batch of B frames.

    `labels` (B,) int64 class indices; `confidences` (B,) float64, the largest probability; `min_entropies`
    (B,) float64 bits; `unsure` (B,) bool, True where the frame is to be offloaded.
    """

    labels: NDArray[np.int64]
    confidences: NDArray[np.float64]
    min_entropies: NDArray[np.float64]
    unsure: NDArray[np.bool_]


def gate(logits: NDArray[np.float32], tau: float) -> Verdicts:
    """Decide every frame of a batch: unsure where H_min >= tau.

    Args:
        logits: (B, C) finite scores of the edge model.
        tau: bits, >= 0; 0 offloads every frame, `inf` none.

    Source: H_min = -log2 max p, eq. 13 of Im et al., arXiv 2404.07217; the threshold is part of the frontier.
    """
    entropies = min_entropy_bits(logits)
    return Verdicts(
        labels=np.argmax(logits, axis=1),
        confidences=np.exp2(-entropies),
        min_entropies=entropies,
        unsure=entropies >= tau,
    )
