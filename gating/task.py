"""What a model's outputs mean: its answers, how much to doubt them, and when two of them say the same.

The gate, the workers and the trace ask a `Task` and never the outputs themselves. Classification is the only
one so far. Pure numpy. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from gating.entropy import SCORES, FloatArray, Score, softmax

NUM_LEADING: Final = 3
"""An answer names so many classes at most."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The leading classes of one frame, most probable first, with their probabilities; at least one."""

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]

    @property
    def label(self) -> int:
        """The most probable class."""
        return self.classes[0]

    @property
    def confidence(self) -> float:
        """Its probability, in [0, 1]."""
        return self.probabilities[0]


class Task(Protocol):
    """How the outputs of a model are read; `outputs` hold one row a frame, all finite."""

    @property
    def scores(self) -> Mapping[str, Score]:
        """The doubts that a gate may threshold, by name."""
        ...

    def decode(self, outputs: FloatArray) -> list[Answer]:
        """The answer of each row."""
        ...

    def agree(self, edge: Answer, server: Answer) -> bool:
        """Whether the server's answer leaves the edge's standing."""
        ...


class Classification:
    """One class a frame; outputs are logits (B, C)."""

    scores: Mapping[str, Score] = SCORES

    def decode(self, outputs: FloatArray) -> list[Answer]:
        """The `NUM_LEADING` most probable classes of each row; of equals the lower index comes first."""
        left = softmax(outputs)
        rows = np.arange(len(left))
        classes, probabilities = [], []
        # Three passes cost less than a sort of 1,000 classes.
        for _ in range(min(NUM_LEADING, left.shape[1])):
            best = left.argmax(axis=1)
            classes.append(best.tolist())
            probabilities.append(left[rows, best].tolist())
            left[rows, best] = -1.0
        return [
            Answer(*answer)
            for answer in zip(zip(*classes, strict=True), zip(*probabilities, strict=True), strict=True)
        ]

    def agree(self, edge: Answer, server: Answer) -> bool:
        """The same class leads."""
        return edge.label == server.label


CLASSIFICATION: Final = Classification()
