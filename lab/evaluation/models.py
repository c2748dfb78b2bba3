"""What the measurements ask of a model: numpy in, numpy out. The real ones come from `vit`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.geometry import PATCH_SIDE, Attention, Positions
from vit.preprocess import Pixels

Logits = NDArray[np.float32]
Embedding = NDArray[np.float32]


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


class Attended(NamedTuple):
    """What a model makes of B whole crops.

    `logits` (B, C); `attention` (B, 196) by source; `embedding` (B, D), the final class token before the head.
    """

    logits: Logits
    attention: Mapping[str, Attention]
    embedding: Embedding


class AttentiveModel(Protocol):
    """A model that classifies whole crops and tells where it looked."""

    @property
    def facts(self) -> ModelFacts:
        """What the report says of it."""
        ...

    def attend(self, crops: NDArray[np.uint8], sources: Sequence[str]) -> Attended:
        """Return what it makes of B crops, with attention of each source ("last", "rollout", "layer_rollout").

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


_PATCH_VALUES = PATCH_SIDE * PATCH_SIDE * 3


def transformer_macs(num_tokens: int, embed_dim: int, depth: int) -> int:
    """Return L(12 n D^2 + 2 n^2 D), the blocks' MACs for n tokens at MLP ratio 4.

    Source: eq. 9 of Im et al., arXiv 2404.07217 (they print it as FLOPs; it counts MACs).
    """
    return depth * (12 * num_tokens * embed_dim**2 + 2 * num_tokens**2 * embed_dim)


def forward_macs(num_patches: int, embed_dim: int, depth: int) -> int:
    """Return the MACs of one pass over `num_patches` patches and the class token, patch embedding included.

    DeiT-Base (768, 12) on all 196 patches: 17.57 G; Table I of the paper says 17.58 G with the head.
    """
    if num_patches < 1:
        raise ValueError(f"a pass needs at least 1 patch, got {num_patches}")
    return transformer_macs(num_patches + 1, embed_dim, depth) + num_patches * _PATCH_VALUES * embed_dim


def server_macs(patch_counts: Iterable[int], embed_dim: int, depth: int) -> int:
    """Return the MACs of all server passes, one of each count of patches (zero counts are no pass)."""
    return sum(forward_macs(int(count), embed_dim, depth) for count in patch_counts if count)
