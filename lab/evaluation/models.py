"""What the measurements ask of a model: numpy in, numpy out. The real ones come from `vit`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.geometry import Attention, Positions
from vit.preprocess import Pixels

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a report says of a model; `identity` changes whenever its answers may (weights and dtype)."""

    name: str
    identity: str
    weights_hash: str
    classes: tuple[str, ...]
    classes_hash: str
    embed_dim: int
    depth: int
    num_parameters: int
    dtype: str


class AttentiveModel(Protocol):
    """A model that classifies whole crops and tells where it looked."""

    @property
    def facts(self) -> ModelFacts:
        """What the report says of it."""
        ...

    def attend(
        self, crops: NDArray[np.uint8], sources: Sequence[str]
    ) -> tuple[Logits, Mapping[str, Attention]]:
        """Return (B, C) logits and (B, 196) attention by source ("last", "rollout", "layer_rollout").

        Args:
            crops: (B, 224, 224, 3) uint8.
            sources: which attentions to return.
        """
        ...


class PatchModel(Protocol):
    """A model that classifies sets of patches."""

    @property
    def facts(self) -> ModelFacts:
        """What the report says of it."""
        ...

    def classify(self, patches: Sequence[Pixels], positions: Sequence[Positions]) -> Logits:
        """Return (B, C) logits of B sets of (k_i, 16, 16, 3) patches at their ascending positions."""
        ...


LAST = "last"
ROLLOUT = "rollout"
LAYER_ROLLOUT = "layer_rollout"
